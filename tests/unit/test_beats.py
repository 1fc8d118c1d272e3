"""A process says that it lives whatever else is slow, and hears how many others do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from unittest.mock import Mock

import pytest

from workers.beats import Beats
from workers.store.cache_stats import CacheCounts
from workers.store.threads import Threads

pytestmark = pytest.mark.fast


class Living:
    """Takes beats; three processes live."""

    def __init__(self) -> None:
        self.slots: list[int] = []
        self.heard_thrice, self._loop = asyncio.Event(), asyncio.get_running_loop()

    def seat(self, _: str) -> str:
        return "worker-1"

    def beat(self, _: str, *, slots: int, **__: Any) -> int:
        self.slots.append(slots)
        if len(self.slots) == 3:
            self._loop.call_soon_threadsafe(self.heard_thrice.set)
        return 3


async def hangs() -> None:
    await asyncio.Event().wait()


def beats_over(living: Living, pool: ThreadPoolExecutor, *, limiter: Any) -> Beats:
    cache: Any = Mock(counts=CacheCounts(), flush_counts=hangs)
    recorder: Any = Mock(waiting=0, waiting_bytes=0, oldest_s=lambda _: 0.0)
    shelf, sharing = cast(Any, Mock(held=0)), cast(Any, Mock(owned=0))
    processes: Any = living
    return Beats(
        processes,
        Threads(pool),
        "me",
        "httpx",
        ("sim",),
        {},
        cache,
        sharing,
        shelf,
        recorder,
        limiter,
        slots=8,
    )


async def test_a_cache_that_hangs_does_not_keep_a_process_from_saying_that_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.beats.BEAT_EVERY_S", 0.001)
    living, limiter = Living(), Mock(processes=1)
    with ThreadPoolExecutor(1) as pool:
        beats = beats_over(living, pool, limiter=limiter)
        runs = [asyncio.create_task(run) for run in (beats.run(), beats.count())]
        async with asyncio.timeout(5.0):
            await living.heard_thrice.wait()
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
    # and a limit is shared by all that live, on other machines, too
    assert limiter.processes == 3
