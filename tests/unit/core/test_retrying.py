"""A batch and its retries read as one: each line once, its first success or its latest failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.hints import hint_of
from workers.core.messages import NEVER_RAN_CODES
from workers.core.retrying import (
    MAX_GENERATIONS,
    InOrder,
    Row,
    Wanted,
    code_of,
    lines_to_retry,
    refusal_of_retry,
    settled,
)

pytestmark = pytest.mark.fast
CODES = ("", "timeout", "http_429", "batch_expired", "invalid_json_line", "duplicate_custom_id")


def row(line: int, generation: int, code: str = "") -> Row:
    status = int(code.removeprefix("http_")) if code.startswith("http_") else None
    return Row(line, not code, code, status, f"c{line}", f"b{generation}:{line:09d}", 100)


# For each line what came of it in each generation; None: it was not taken.
HISTORIES = st.dictionaries(
    st.integers(1, 30),
    st.lists(st.none() | st.sampled_from(CODES), min_size=1, max_size=4).filter(
        lambda h: any(c is not None for c in h)
    ),
    max_size=12,
)


def generations(histories: Mapping[int, list[str | None]]) -> list[list[Row]]:
    deepest = max((len(history) for history in histories.values()), default=1)
    return [
        [
            row(line, n, code)
            for line, history in sorted(histories.items())
            for code in history[n : n + 1]
            if code is not None
        ]
        for n in range(deepest)
    ]


@given(HISTORIES)
def test_a_merge_gives_every_line_once_in_order_by_its_first_success_or_latest_failure(
    histories: dict[int, list[str | None]],
) -> None:
    merged = list(settled(generations(histories)))
    assert [each.line for each in merged] == sorted(histories)
    for each in merged:
        codes = [code for code in histories[each.line] if code is not None]
        expected = "" if "" in codes else codes[-1]
        assert (each.code, each.ok) == (expected, not expected)
        if each.ok:
            assert each.id.startswith(f"b{histories[each.line].index('')}:")


@given(HISTORIES)
def test_answers_and_failures_of_a_merge_share_no_line_and_leave_none_out(
    histories: dict[int, list[str | None]],
) -> None:
    answered = {each.line for each in settled(generations(histories)) if each.ok}
    failed = {each.line for each in settled(generations(histories)) if not each.ok}
    assert answered.isdisjoint(failed)
    assert answered | failed == set(histories)


@given(HISTORIES)
def test_a_retry_takes_exactly_what_has_no_success_but_no_second_custom_id(
    histories: dict[int, list[str | None]],
) -> None:
    taken = list(lines_to_retry(generations(histories), Wanted()))
    latest = {line: [code for code in history if code is not None] for line, history in histories.items()}
    assert taken == sorted(
        line for line, codes in latest.items() if "" not in codes and codes[-1] != "duplicate_custom_id"
    )


@given(HISTORIES)
def test_the_successes_of_a_root_may_be_left_out_of_what_chooses(
    histories: dict[int, list[str | None]],
) -> None:
    """They are most of a batch, and a line that has one is in no later generation."""
    true = {line: h[: h.index("") + 1] if "" in h else h for line, h in histories.items() if h[0] is not None}
    root, *children = generations(true)
    failures = [[each for each in root if not each.ok], *children]
    assert list(lines_to_retry(failures, Wanted())) == list(lines_to_retry([root, *children], Wanted()))


FILTERS = st.builds(
    Wanted,
    codes=st.frozensets(st.sampled_from(CODES[1:]), max_size=2),
    status_codes=st.frozensets(st.sampled_from([429, 500]), max_size=1),
    never_ran=st.sampled_from([None, True, False]),
    custom_ids=st.frozensets(st.sampled_from(["c1", "c2", "c9"]), max_size=2),
    lines=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=2).map(tuple),
)


@given(HISTORIES, FILTERS)
def test_a_filter_only_narrows(histories: dict[int, list[str | None]], wanted: Wanted) -> None:
    everything = list(lines_to_retry(generations(histories), Wanted()))
    some = list(lines_to_retry(generations(histories), wanted))
    assert set(some) <= set(everything)
    assert some == sorted(some)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), [1, 2, 3, 4]),
        (Wanted(codes=frozenset({"timeout"})), [1]),
        (Wanted(codes=frozenset({"timeout"}), status_codes=frozenset({429})), [1, 2]),
        (Wanted(codes=frozenset({"http_429"})), [2]),
        (Wanted(never_ran=True), [3]),
        (Wanted(never_ran=False), [1, 2, 4]),
        (Wanted(codes=frozenset({"timeout"}), never_ran=True), [1, 3]),
        (Wanted(lines=((2, 3),)), [2, 3]),
        (Wanted(lines=((2, 3),), custom_ids=frozenset({"c4"})), [2, 3, 4]),
        (Wanted(lines=((2, 3),), codes=frozenset({"timeout", "batch_expired"})), [3]),
    ],
)
def test_reasons_are_alternatives_and_so_are_places_and_an_item_meets_one_of_each(
    wanted: Wanted, taken: list[int]
) -> None:
    codes = {1: "timeout", 2: "http_429", 3: "batch_expired", 4: "schema_mismatch"}
    rows = [row(line, 0, code) for line, code in codes.items()]
    assert list(lines_to_retry([rows], wanted)) == taken


@given(FILTERS, st.integers(1, 10))
def test_ranges_of_lines_may_come_in_any_order_and_overlap(wanted: Wanted, line: int) -> None:
    said = {"lines": [list(each) for each in wanted.lines] * 2, "custom_ids": ["c0"]}
    assert Wanted.from_doc(said).takes(row(line, 0, "timeout")) == any(
        first <= line <= last for first, last in wanted.lines
    )


class CountedInt(int):
    """A number that counts how often it is compared."""

    compared = 0

    def _counted(self, other: object, result: bool) -> bool:
        CountedInt.compared += 1
        return result

    def __lt__(self, other: int) -> bool:
        return self._counted(other, int(self) < int(other))

    def __le__(self, other: int) -> bool:
        return self._counted(other, int(self) <= int(other))

    def __gt__(self, other: int) -> bool:
        return self._counted(other, int(self) > int(other))

    def __ge__(self, other: int) -> bool:
        return self._counted(other, int(self) >= int(other))


def test_a_line_is_looked_for_among_ten_thousand_ranges_in_a_few_steps() -> None:
    """A million failures and as many ranges as a body may name would else be ten billion comparisons."""
    wanted = Wanted(lines=tuple((10 * n, 10 * n + 1) for n in range(1, 10_001)))
    CountedInt.compared = 0
    assert wanted.takes(row(CountedInt(70_001), 0, "timeout"))
    assert not wanted.takes(row(CountedInt(70_005), 0, "timeout"))
    assert CountedInt.compared < 50


def test_a_filter_reads_what_the_api_has_written_of_it() -> None:
    said = {"codes": ["timeout"], "lines": [[2, 3]], "never_ran": False}
    assert Wanted.from_doc(said) == Wanted(frozenset({"timeout"}), never_ran=False, lines=((2, 3),))
    assert Wanted.from_doc(None) == Wanted()


@given(st.sets(st.integers(1, 50)), st.integers(1, 50))
def test_lines_are_found_in_an_ordered_stream(lines: set[int], last: int) -> None:
    stream = InOrder(sorted(lines))
    assert [line for line in range(1, last + 1) if stream.has(line)] == sorted(n for n in lines if n <= last)


def test_a_stream_of_chosen_lines_is_read_only_as_far_as_asked() -> None:
    read: list[int] = []

    def lines() -> Iterable[int]:
        for line in range(2, 10**6, 2):
            read.append(line)
            yield line

    stream = InOrder(lines())
    assert [stream.has(line) for line in (1, 2, 3)] == [False, True, False]
    assert len(read) <= 2


def batch(status: str = "completed", **more: Any) -> dict[str, Any]:
    known = {"_id": "b0", "status": status, "total": 4, "in_progress_at": 1.0, "counts": {"completed": 1}}
    return known | more


@pytest.mark.parametrize(
    ("lineage", "code"),
    [
        ([batch()], None),
        ([batch(), batch(_id="b1", generation=1, root_id="b0", counts={"completed": 2})], None),
        ([batch(), batch(_id="b1", generation=1, root_id="b0", counts={"completed": 3})], "nothing_to_retry"),
        ([batch(), batch("failed", _id="b1", generation=1, root_id="b0", counts={})], None),
        ([batch(counts={"completed": 4})], "nothing_to_retry"),
        ([batch("in_progress")], "batch_not_finished"),
        ([batch("failed", in_progress_at=None, total=0, counts={})], "nothing_to_retry"),
        ([batch("cancelled", in_progress_at=None, total=0)], "nothing_to_retry"),
        ([batch(), batch("validating", _id="b1", generation=1)], "retry_in_progress"),
        ([batch(), batch("cancelling", _id="b1", generation=1)], "retry_in_progress"),
        ([batch(_id="b1", generation=1, root_id="b0")], "lineage_incomplete"),
        ([batch(), batch(_id="b9", generation=MAX_GENERATIONS)], "too_many_retries"),
    ],
)
def test_a_retry_needs_a_whole_lineage_that_has_ended_and_left_something(
    lineage: list[dict[str, Any]], code: str | None
) -> None:
    refusal = refusal_of_retry("b0", lineage)
    assert (refusal and refusal.code) == code
    if code == "retry_in_progress":
        assert refusal is not None and "b1" in refusal.message


@pytest.mark.parametrize("code", ["timeout", "http_503", "http_599", "rate_limited", *NEVER_RAN_CODES])
def test_what_passes_by_itself_is_said_to_be_worth_a_retry(code: str) -> None:
    status = int(code.removeprefix("http_")) if code.startswith("http_") else None
    assert hint_of(code, status).retryable


@pytest.mark.parametrize(
    "code", ["http_400", "http_401", "context_length_exceeded", "invalid_json_line", "new_code"]
)
def test_what_stays_is_said_to_need_a_change(code: str) -> None:
    assert not hint_of(code, 400).retryable
    assert hint_of(code, 400).text


def test_a_failure_is_called_by_our_code_or_by_the_providers_status() -> None:
    assert (code_of("timeout", None), code_of(None, 429), code_of("schema_mismatch", 200)) == (
        "timeout",
        "http_429",
        "schema_mismatch",
    )
