"""Results in a real MongoDB: one per item, whole, in input order, and counted as the shards counted them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure

from tests.support.batches import Stores, records
from tests.support.results import results
from workers.core.messages import Attempt, ItemError, Result, Usage
from workers.core.tally import Tally
from workers.store.result_looks import ResultLooks
from workers.store.results import INLINE_BODY_BYTES, body_name, tally_of

pytestmark = pytest.mark.integration


def answer(line: int, body: bytes = b'{"choices":[]}', **more: object) -> Result:
    return Result(line, f"c{line}", "call", 200, body, **more)  # type: ignore[arg-type]


def test_a_result_is_recorded_once_and_the_first_one_wins(stores: Stores) -> None:
    assert stores.results.insert(records("b", [answer(1, b'{"n":1}'), answer(2)])) == []
    assert stores.results.insert(records("b", [answer(1, b'{"n":2}'), answer(3)], fence=2)) == []
    first = stores.results.get("b:000000001")
    assert first is not None and first.body == b'{"n":1}'
    assert stores.results.recorded("b", 1, 9).keys() == {1, 2, 3}


@given(st.data())
@settings(max_examples=15)
def test_a_result_comes_back_as_it_was(stores: Stores, data: st.DataObject) -> None:
    result = data.draw(results(st.just(7)))
    stores.db["batch_results"].delete_many({})
    assert stores.results.insert(records("b", [result])) == []
    assert stores.results.get("b:000000007") == result


def test_a_plain_result_has_nothing_about_tries_and_waits_and_an_endless_one_has_little(
    stores: Stores,
) -> None:
    tries = tuple(Attempt(float(n), "acme", "timeout", None, "retry", 1.0) for n in range(500))
    stores.results.insert(records("b", [answer(1), answer(2, attempts=tries, waited_s={"retry": 500.0})]))
    plain = stores.db["batch_results"].find_one({"_id": "b:000000001"})
    assert plain is not None and not {"attempts", "waited_s"} & plain.keys()
    (_, (endless, shard_id)) = ResultLooks(stores.db, stores.results).page("b", after_line=0, limit=9)
    assert (endless.attempts, endless.waited_s) == ((*tries[:3], *tries[-20:]), {"retry": 500.0})
    assert shard_id == "s"


def test_a_large_body_goes_to_the_object_store_and_comes_back_whole(stores: Stores) -> None:
    large = b'{"text":"' + b"x" * (3 * INLINE_BODY_BYTES) + b'"}'
    stores.results.insert(records("b", [answer(1, large), answer(2)]))
    stores.results.insert(records("b", [answer(1, large)]))
    doc = stores.db["batch_results"].find_one({"_id": "b:000000001"})
    assert doc is not None and doc["body"] is None and doc["body_in_store"]
    assert stores.blobs.get(body_name("b:000000001", large)) == large
    lines = dict(stores.results.lines("b", ok=True))
    assert json.loads(lines[1])["response"]["body"]["text"] == "x" * (3 * INLINE_BODY_BYTES)
    assert len(lines[1]) == doc["line_bytes"]


def test_a_refused_result_comes_back_while_its_neighbours_are_recorded(stores: Stores) -> None:
    # The body of a result is bounded by the object store; here something else grew without end.
    monster = answer(2, model="m" * 17_000_000)
    beyond = answer(4, usage=Usage(input_tokens=2**64))
    refused = stores.results.insert(records("b", [answer(1), monster, answer(3), beyond, answer(5)]))
    assert [record.result.line for record in refused] == [2, 4]
    assert stores.results.recorded("b", 1, 9).keys() == {1, 3, 5}


def test_output_and_error_lines_come_in_input_order(stores: Stores) -> None:
    failed = Result(2, "c2", "call", 400, b'{"error":{}}')
    lost = Result(11, "c11", "none", error=ItemError("timeout", "late"))
    stores.results.insert(records("b", [lost, answer(10), answer(9), failed, answer(1)]))
    stores.results.insert(records("b2", [answer(1)]))
    assert [line for line, _ in stores.results.lines("b", ok=True)] == [1, 9, 10]
    assert [line for line, _ in stores.results.lines("b", ok=True, after_line=1)] == [9, 10]
    assert [line for line, _ in stores.results.lines("b", ok=False)] == [2, 11]


def test_what_is_recorded_is_asked_for_by_lines_and_without_bodies(stores: Stores) -> None:
    stores.results.insert(records("b", [answer(line) for line in range(1, 8)]))
    found = stores.results.recorded("b", 3, 5)
    assert found.keys() == {3, 4, 5}
    assert all("body" not in row for row in found.values())
    assert stores.results.delete_of("b") == 7 and stores.results.recorded("b", 1, 9) == {}


@given(st.lists(results(st.just(1)), max_size=12))
@settings(max_examples=20)
def test_the_databases_sums_are_the_tally_of_the_same_results(stores: Stores, drawn: list[Result]) -> None:
    stores.db["batch_results"].delete_many({})
    rows = records("b", [replace(result, line=line) for line, result in enumerate(drawn, start=1)])
    stores.results.insert(rows)
    expected = Tally()
    for row in rows:
        expected.add(row.result, row.line_bytes)
    assert stores.results.tally("b").as_dict() == pytest.approx(expected.as_dict())
    recorded = stores.results.recorded("b", 1, len(rows) + 1)
    assert tally_of(recorded.values()).as_dict() == pytest.approx(expected.as_dict())


def test_a_batch_without_results_sums_to_nothing(stores: Stores) -> None:
    assert stores.results.tally("nobody") == Tally()
    assert stores.results.insert([]) == []


def test_a_server_without_room_refuses_no_result_for_good(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that is full, in the server's words: for one document of a bulk, and for the whole
    full = {"code": 14031, "errmsg": "available disk space of 1 bytes is less than required minimum"}
    refusals = [
        BulkWriteError({"writeErrors": [{"index": 0, **full}], "writeConcernErrors": []}),
        OperationFailure("OutOfDiskSpace", 14031, full),
    ]

    def refuse(*_: object, **__: object) -> None:
        raise refusals.pop()

    monkeypatch.setattr(stores.results._docs, "insert_many", refuse)
    # Then it is an outage, and the answer is written when there is room.
    for _ in range(2):
        with pytest.raises(ConnectionFailure):
            stores.results.insert(records("full", [answer(1)]))
    monkeypatch.undo()
    assert stores.results.insert(records("full", [answer(1)])) == []
