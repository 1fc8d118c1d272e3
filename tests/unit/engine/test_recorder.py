"""The recorder's own rules, over a database that takes everything at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar, cast

from workers.core.messages import Result
from workers.core.tally import Tally
from workers.engine.recorder import FLUSH_RESULTS, Recorder
from workers.engine.work import Held
from workers.store.results import Record, Results
from workers.store.shards import Shards
from workers.store.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")


class Inline(Threads):
    """Runs in the loop itself, and lets others run first."""

    def __init__(self) -> None:
        super().__init__(cast(Executor, None))

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn
        return function(*args, **kwargs)


class Stream:
    """A run whose results keep coming: for each one that is recorded there is a new one."""

    held = Held("b", "default", "b.000001", 1)

    def __init__(self) -> None:
        self.recorder = Recorder(
            cast(Results, self), cast(Shards, self), Inline(), tally_of=lambda _: Tally()
        )
        self.added = 0
        self.recorded: set[int] = set()

    def add(self, count: int) -> None:
        for _ in range(count):
            self.added += 1
            self.recorder.add(self, Result(self.added, "c", "cache"))

    def on_recorded(self, result: Result, line_bytes: int) -> None:
        self.recorded.add(result.line)

    # --- the stores

    def insert(self, records: Sequence[Record]) -> list[Record]:
        self.add(len(records))
        return []

    def save_tallies(self, tallies: Mapping[tuple[str, int], Tally]) -> None:
        pass


async def test_a_flush_returns_although_results_keep_coming() -> None:
    stream = Stream()
    before = 2 * FLUSH_RESULTS + 7
    stream.add(before)
    async with asyncio.timeout(5):
        await stream.recorder.flush()
    assert stream.recorded >= set(range(1, before + 1)), "what was there is recorded"
    assert len(stream.recorded) < stream.added, "what came in meanwhile is not waited for"
