"""The recorder over a real MongoDB: what is added is recorded, what the database refuses ends as an error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.support.apart import apart
from tests.support.batches import Stores, open_stores
from tests.support.servers import TestServers
from workers.core.messages import Result, Usage
from workers.core.tally import Tally
from workers.engine.recorder import FLUSH_RESULTS, Recorder
from workers.engine.work import Held
from workers.store.threads import Threads

pytestmark = pytest.mark.integration
ANSWER = b'{"choices":[]}'


class Run:
    """A running shard as the recorder knows it."""

    def __init__(self) -> None:
        self.held = Held("b", "default", "b.000001", 1)
        self.tally = Tally()

    def on_recorded(self, result: Result, line_bytes: int) -> None:
        self.tally.add(result, line_bytes)


@pytest.fixture
def stores(servers: TestServers) -> Iterator[Stores]:
    own = apart(servers, "recorder")
    stores = open_stores(own)
    own.empty()
    yield stores
    stores.db.client.close()


@pytest.fixture
def threads() -> Iterator[Threads]:
    with ThreadPoolExecutor(2) as executor:
        yield Threads(executor)


def answer(line: int, usage: Usage | None = None, model: str = "m") -> Result:
    return Result(line, f"c{line}", "call", 200, ANSWER, model=model, usage=usage or Usage(1, 1), calls=1)


async def test_everything_added_is_recorded_and_counted_once(stores: Stores, threads: Threads) -> None:
    run = Run()
    told: list[int] = []
    stores.queued("b", 1)
    stores.shards.claim("b.000001", "w", 60.0)
    recorder = Recorder(stores.results, stores.shards, threads, lambda _: run.tally)
    for line in range(1, 2 * FLUSH_RESULTS + 8):
        recorder.add(run, answer(line), on_recorded=partial(told.append, line))
    await recorder.flush()
    assert run.tally.recorded == len(told) == len(set(told)) == 2 * FLUSH_RESULTS + 7
    assert stores.results.tally("b").as_dict() == run.tally.as_dict()
    assert stores.shard("b.000001")["counts"] == run.tally.as_dict()


async def test_results_are_recorded_by_themselves_after_a_moment(stores: Stores, threads: Threads) -> None:
    run, recorded = Run(), asyncio.Event()
    recorder = Recorder(stores.results, stores.shards, threads, lambda _: run.tally)
    task = asyncio.create_task(recorder.run())
    recorder.add(run, answer(1), on_recorded=recorded.set)
    async with asyncio.timeout(5):
        await recorded.wait()
    task.cancel()
    assert stores.results.recorded("b", 1, 1).keys() == {1}


@pytest.mark.parametrize(
    "monster",
    [answer(2, Usage(input_tokens=2**64)), answer(2, model="m" * 17_000_000)],
    ids=["a count no database holds", "a document of 17 MB"],
)
async def test_what_the_database_refuses_for_good_ends_as_unrecordable_beside_recorded_neighbours(
    stores: Stores, threads: Threads, monster: Result
) -> None:
    run = Run()
    recorder = Recorder(stores.results, stores.shards, threads, lambda _: run.tally)
    for result in (answer(1), monster, answer(3)):
        recorder.add(run, result)
    async with asyncio.timeout(10):
        await recorder.flush()
    recorded = stores.results.recorded("b", 1, 3)
    assert recorded.keys() == {1, 2, 3}, "every item has its one result"
    assert recorded[2]["error"]["code"] == "unrecordable" and recorded[2]["calls"] == 1
    assert (run.tally.completed, run.tally.failed, run.tally.calls) == (2, 1, 3)


async def test_over_its_bound_the_buffer_has_no_room_until_it_is_flushed(
    stores: Stores, threads: Threads
) -> None:
    run = Run()
    recorder = Recorder(stores.results, stores.shards, threads, lambda _: run.tally)
    large = b'{"text":"' + b"x" * 900_000 + b'"}'
    line = 0
    while recorder.has_room():
        line += 1
        recorder.add(run, Result(line, "c", "call", 200, large))
    assert 30 < line < 40, "32 MB"
    await recorder.flush()
    assert recorder.has_room() and stores.results.recorded("b", 1, 99).keys() == set(range(1, line + 1))
