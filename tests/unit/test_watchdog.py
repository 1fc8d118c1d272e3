"""The watchdog's loop: it looks, and bites once."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from workers.core.errors import StoreUnavailable
from workers.store.threads import Threads
from workers.watchdog import Busy, Watchdog

pytestmark = pytest.mark.fast


class Clock:
    """Passes only when somebody sleeps, and ends the watch after an hour."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        if self.at_s > 3600:
            raise TimeoutError


class Depths:
    """A broker; it is away at first."""

    def __init__(self, clock: Clock, *, away_until_s: float) -> None:
        self._clock, self._away_until_s = clock, away_until_s

    def depth(self, name: str) -> int:
        if self._clock.at_s < self._away_until_s:
            raise StoreUnavailable("away")
        return {"plan": 0}.get(name, 2)


def watchdog(clock: Clock, pool: ThreadPoolExecutor, bites: list[float], **changes: Any) -> Watchdog:
    queue: Any = Depths(clock, away_until_s=300.0)
    settings: dict[str, Any] = {"limit_s": 60.0, "free_slots": lambda: 1, "seen": lambda: 0} | changes
    return Watchdog(
        queue,
        lambda: ["plan", "batch.acme"],
        Threads(pool),
        draining=lambda: False,
        bite=lambda: bites.append(clock.at_s),
        now_s=clock.now_s,
        wall_s=clock.now_s,
        sleep=clock.sleep,
        **settings,
    )


async def test_a_dead_consumer_is_bitten_once_a_minute_after_the_broker_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, bites = Clock(), list[float]()
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.ERROR):
        await watchdog(clock, pool, bites).run()
    assert bites == [360.0]
    assert [(record.levelname, "batch.acme" in record.getMessage()) for record in caplog.records] == [
        ("ERROR", True)
    ]


@pytest.mark.parametrize("changes", [{"free_slots": lambda: 0}, {"seen": iter(range(10_000)).__next__}])
async def test_a_process_that_is_busy_or_hears_messages_is_left_alone(changes: dict[str, Any]) -> None:
    clock, bites = Clock(), list[float]()
    with ThreadPoolExecutor(1) as pool, pytest.raises(TimeoutError):
        await watchdog(clock, pool, bites, **changes).run()
    assert bites == []


async def test_a_limit_of_zero_means_no_watchdog() -> None:
    clock, bites = Clock(), list[float]()
    with ThreadPoolExecutor(1) as pool:
        await watchdog(clock, pool, bites, limit_s=0.0).run()
    assert (bites, clock.at_s) == ([], 0.0)


def test_a_thread_is_busy_as_long_as_it_works_even_if_that_breaks() -> None:
    busy, inside = Busy(), list[int]()

    def breaks() -> None:
        with busy:
            inside.append(len(busy.threads))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        breaks()
    assert (inside, busy.threads) == ([1], set())
