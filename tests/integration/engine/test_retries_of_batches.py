"""A retry from its plan to its end: it runs the lines that have no success, under their numbers, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.batches import chat_line, records
from tests.support.engine import Engine, open_engine, reply
from tests.support.servers import TestServers
from workers.core.identity import shard_id
from workers.core.messages import HttpResponse, ItemError, Result, unpack_items
from workers.store.result_looks import ResultLooks

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("again")) as opened:
        yield opened


def parent(engine: Engine, lines: list[bytes], *results: Result, **changes: Any) -> str:
    """A batch that has ended with these results."""
    batch_id = engine.stores.batch(lines, **changes)
    engine.stores.results.insert(records(batch_id, results))
    done = {"status": "completed", "in_progress_at": 1.0, "total": len(results)}
    engine.stores.db["batch_jobs"].update_one({"_id": batch_id}, {"$set": done})
    return batch_id


def child(engine: Engine, root_id: str, generation: int = 1, **changes: Any) -> str:
    """A retry of it as the API makes one."""
    root = engine.stores.state(root_id)
    linked = {"parent_id": root_id, "root_id": root_id, "generation": generation, "retry": {}}
    return engine.stores.batch(input_file_id=root["input_file_id"], **{**linked, **changes})


def answer(line: int) -> Result:
    return Result(line, f"c{line}", "call", 200, b'{"choices":[]}')


def late(line: int, code: str = "timeout") -> Result:
    return Result(line, f"c{line}", "call", error=ItemError(code, "late"))


def planned(engine: Engine, batch_id: str) -> list[int]:
    shards = engine.stores.db["batch_shards"].find({"batch_id": batch_id})
    return sorted(item.line for shard in shards for item in unpack_items(shard["items"]))


LINES = [chat_line(f"c{n}", f"again {n}") for n in range(1, 6)]


def test_a_retry_runs_what_failed_and_the_merged_output_is_whole(engine: Engine) -> None:
    """The failed call is not remembered, and an equal request that was answered is not paid again."""
    lines = [chat_line(f"c{n}", f"whole {n}") for n in (1, 2, 3)]

    async def first(number: int) -> HttpResponse:
        return reply(400) if number <= 2 else reply(text="first")

    engine.play(first)
    root_id, shard = engine.plan(lines)
    assert engine.run(shard) == "done"
    failed = [row["_id"] for row in engine.rows(root_id) if not row["ok"]]
    assert len(failed) == 2 and engine.stores.state(root_id)["status"] == "completed"
    # when it is retried by a provider in good health
    engine.play(always := _says("second"))
    child_id = child(engine, root_id)
    assert engine.runtime.plan(child_id) == "2 items"
    assert engine.run(shard_id(child_id, 1)) == "done"
    # then only those were asked again, and each line is there once
    assert engine.provider.seen == 2
    assert engine.stores.state(child_id)["counts"]["completed"] == 2
    assert [row["_id"][-9:] for row in engine.rows(child_id)] == [id_[-9:] for id_ in failed]
    looks = ResultLooks(engine.stores.db, engine.stores.results)
    merged = [json.loads(line) for line in looks.lines([root_id, child_id], ok=True)]
    assert [line["custom_id"] for line in merged] == ["c1", "c2", "c3"]
    assert list(looks.lines([root_id, child_id], ok=False)) == []
    assert engine.stores.state(root_id)["children"] == [child_id]
    # and what is answered is in the cache for the next one
    engine.play(always)
    again = child(engine, parent(engine, lines, late(1), late(2), late(3)))
    assert engine.runtime.plan(again) == "3 items"
    assert engine.run(shard_id(again, 1)) == "done"
    assert (engine.provider.seen, engine.counts(again)["cached"]) == (0, 3)


def _says(text: str) -> Any:
    async def script(_: int) -> HttpResponse:
        return reply(text=text)

    return script


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        ({}, [2, 3, 5]),
        ({"codes": ["timeout"]}, [2]),
        ({"custom_ids": ["c3", "c4"]}, [3]),
        ({"lines": [[1, 3]]}, [2, 3]),
        ({"never_ran": True}, [5]),
    ],
)
def test_the_plan_of_a_retry_takes_the_lines_of_its_filter(
    engine: Engine, wanted: dict[str, Any], lines: list[int]
) -> None:
    rows = (answer(1), late(2), late(3, "http"), answer(4), late(5, "batch_expired"))
    child_id = child(engine, parent(engine, LINES, *rows), retry=wanted)
    assert engine.runtime.plan(child_id) == f"{len(lines)} items"
    assert planned(engine, child_id) == lines
    assert engine.stores.state(child_id)["total"] == len(lines)


def test_a_later_retry_takes_what_no_earlier_one_has_answered_and_reads_nothing_that_came_after(
    engine: Engine,
) -> None:
    root_id = parent(engine, LINES, *map(late, range(1, 6)))
    first = child(engine, root_id, status="completed")
    engine.stores.results.insert(records(first, [answer(1), late(2), answer(3)]))
    second, third = child(engine, root_id, 2), child(engine, root_id, 3)
    engine.stores.results.insert(records(third, [answer(2), answer(4), answer(5)]))
    assert engine.runtime.plan(second) == "3 items"
    assert planned(engine, second) == [2, 4, 5]


def test_a_second_planning_after_a_crash_chooses_the_same_lines(engine: Engine) -> None:
    child_id = child(engine, parent(engine, LINES, answer(1), *map(late, range(2, 6))))
    batch = engine.stores.batches.claim_plan(child_id, "died", 60.0)
    assert batch is not None
    assert engine.runtime.plan(child_id) == "nothing to plan"
    past = {"plan.lease_until": {"$subtract": ["$$NOW", 1000]}}
    engine.stores.db["batch_jobs"].update_one({"_id": child_id}, [{"$set": past}])
    assert engine.runtime.plan(child_id) == "4 items"
    assert planned(engine, child_id) == [2, 3, 4, 5]


@pytest.mark.parametrize("gone", [True, False], ids=["its parent is gone", "all is answered"])
def test_a_retry_that_finds_nothing_to_run_fails_and_runs_nothing(engine: Engine, gone: bool) -> None:
    root_id = parent(engine, LINES, *map(late if gone else answer, range(1, 6)))
    child_id = child(engine, root_id)
    if gone:
        engine.stores.db["batch_jobs"].delete_one({"_id": root_id})
    engine.runtime.plan(child_id)
    state = engine.stores.state(child_id)
    assert (state["status"], state["errors"][0]["code"]) == ("failed", "nothing_to_retry")
    assert planned(engine, child_id) == []
