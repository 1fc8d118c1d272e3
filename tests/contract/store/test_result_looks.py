"""Looks at results in a real MongoDB agree with what core/ says of the same rows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.batches import Stores, records
from tests.support.results import results
from workers.core.errors import MissingBytes
from workers.core.messages import ItemError, Result
from workers.core.retrying import Row
from workers.core.wire import item_object, output_line
from workers.store import result_looks
from workers.store.result_looks import ItemFilter, ResultLooks, count_failures, row_of
from workers.store.results import rows_of

pytestmark = pytest.mark.integration


def laid_out(stores: Stores, **batches: list[Result]) -> ResultLooks:
    stores.db["batch_results"].delete_many({})
    for batch_id, rows in batches.items():
        assert stores.results.insert(records(batch_id, rows)) == []
    return ResultLooks(stores.db, stores.results)


ROWS = st.lists(results(st.integers(1, 60)), max_size=5, unique_by=lambda result: result.line)


@given(ROWS)
@settings(max_examples=5)
def test_the_database_counts_failures_as_a_count_of_their_rows_does(
    stores: Stores, rows: list[Result]
) -> None:
    looks = laid_out(stores, b=rows, b2=[Result(1, "other", "call", error=ItemError("timeout", ""))])
    total, kinds = looks.failures(["b"])
    counted = {(kind.code, kind.status): kind for kind in kinds}
    assert total == sum(not row.ok for row in rows)
    docs = stores.db["batch_results"].find(rows_of("b") | {"ok": False}).sort("_id", 1)
    expected = {(kind.code, kind.status): kind for kind in count_failures(map(row_of, docs))}
    assert {key: kind.count for key, kind in counted.items()} == {
        key: kind.count for key, kind in expected.items()
    }
    for key, kind in counted.items():
        assert kind.ids[0] == expected[key].ids[0], "the first one is among the samples of both"
        assert set(kind.samples) <= {result.line for result in rows if not result.ok}


@given(ROWS)
@settings(max_examples=5)
def test_every_item_is_on_the_page_of_its_status_and_its_code_alone(
    stores: Stores, rows: list[Result]
) -> None:
    looks = laid_out(stores, b=rows)
    found: dict[int, list[str]] = {result.line: [] for result in rows}
    for kind in ("completed", "failed", "never_ran"):
        for result, _ in looks.page("b", after_line=0, limit=99, only=ItemFilter(kind)):
            found[result.line].append(kind)
    assert found == {result.line: [item_object(result, None)["status"]] for result in rows}
    for kind_of in looks.failures(["b"])[1]:
        page = looks.page("b", after_line=0, limit=99, only=ItemFilter(code=kind_of.code))
        assert {result.line for result, _ in page} >= set(kind_of.samples)


@given(ROWS, ROWS)
@settings(max_examples=5)
def test_merged_lines_are_those_of_the_batch_that_counts(
    stores: Stores, first: list[Result], second: list[Result]
) -> None:
    failed = {result.line for result in first if not result.ok}
    second = [result for result in second if result.line in failed]  # a retry takes no other line
    looks = laid_out(stores, b=first, b2=second)
    latest = {r.line: ("b", r) for r in first} | {r.line: ("b2", r) for r in second}
    for ok in (True, False):
        expected = [output_line(b, r) for _, (b, r) in sorted(latest.items()) if r.ok is ok]
        assert list(looks.lines(["b", "b2"], ok=ok)) == expected


def test_a_retry_reads_failures_from_the_index_and_no_document(stores: Stores) -> None:
    late = [Result(line, f"c{line}", "call", error=ItemError("timeout", "late")) for line in range(1, 50)]
    looks = laid_out(
        stores, b=[*late, *[Result(line, f"c{line}", "call", 200, b"{}") for line in range(50, 60)]]
    )
    (rows,) = looks.generations(["b"], failures=True)
    assert next(rows) == Row(1, False, "timeout", None, "", "b:000000001", next(rows).size)
    shown = {"ok": 1, "error.code": 1, "status_code": 1, "line_bytes": 1}
    where = {"_id": {"$gt": "b:", "$lt": "b;"}, "ok": False}
    plan = stores.db["batch_results"].find(where, shown).sort("_id", 1).explain()["executionStats"]
    assert (plan["totalDocsExamined"], plan["nReturned"]) == (0, 49)


def test_failures_of_all_batches_made_since_are_counted_by_code_with_their_times(stores: Stores) -> None:
    times_s = (1_795_300_000, 1_795_300_060, 1_795_300_120)
    old, first, last = (f"batch_{at_s * 1000:012x}{'0' * 20}" for at_s in times_s)
    failed = [
        Result(1, "a", "call", status_code=400, body=b"{}"),
        Result(2, "b", "call", status_code=200, body=b"{}"),
    ]
    lost = Result(3, "c", "call", error=ItemError("timeout", "words of a prompt"))
    looks = laid_out(stores, **{old: failed, first: failed, last: [*failed, lost]})
    found = {code: told for code, *told in looks.failures_since(times_s[1])}
    assert found == {"http_400": [2, times_s[1], times_s[2]], "timeout": [1, times_s[2], times_s[2]]}


def test_failures_of_kinds_that_are_not_told_are_counted_all_the_same(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_looks, "MAX_KINDS", 1)
    failed = [Result(n, f"c{n}", "call", error=ItemError(f"code_{min(n, 2)}", "")) for n in range(1, 4)]
    looks = laid_out(stores, b=failed, b2=[])
    for lineage in (["b"], ["b", "b2"]):
        total, kinds = looks.failures(lineage)
        assert (total, [(kind.code, kind.count) for kind in kinds]) == (3, [("code_2", 2)])


def test_a_merged_file_breaks_off_rather_than_leave_out_a_line_that_is_taken_away_meanwhile(
    stores: Stores,
) -> None:
    looks = laid_out(stores, b=[Result(line, f"c{line}", "call", 200, b"{}") for line in range(1, 1_200)])
    lines = looks.lines(["b"], ok=True)
    assert b'"c1"' in next(lines)
    stores.db["batch_results"].delete_one({"_id": "b:000000900"})
    with pytest.raises(MissingBytes):
        list(lines)
