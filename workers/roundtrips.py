"""How far away the servers are that a worker works with: each is asked something small with every beat.

The API has app/api/dependencies.py. What does not answer is asked again only when its last question has ended, so that
a server that hangs holds up one call of this process and no more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from redis.asyncio import Redis

from workers import metrics
from workers.celery_config import PLAN_QUEUE
from workers.observed import OBSERVED
from workers.queue import Queue
from workers.store.threads import Threads

EVERY_S = 3.0
WITHIN_S = 2.0
Ask = Callable[[], Awaitable[object]]


class RoundTrips:
    """`run` in a loop; `once` for one round. `asks`: a question to each server, by the metric's label."""

    def __init__(self, asks: Mapping[str, Ask]) -> None:
        self._asks = asks
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Ask for ever; cancel to stop."""
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                await self.once()
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def once(self) -> None:
        """Ask all of them at once, and wait no longer than `WITHIN_S`."""
        for name, ask in self._asks.items():
            if name not in self._under_way:
                self._under_way[name] = asyncio.create_task(_timed(name, ask))
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=WITHIN_S)
        for name, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[name]
            else:
                OBSERVED.count(metrics.DEPENDENCY_FAILURES, name)


async def _timed(name: str, ask: Ask) -> None:
    began = time.perf_counter()
    try:
        await ask()
    except Exception:  # noqa: BLE001 - whatever it is, each driver has words of its own for "no answer"
        OBSERVED.count(metrics.DEPENDENCY_FAILURES, name)
        return
    OBSERVED.time(metrics.DEPENDENCY_SECONDS, name, seconds=time.perf_counter() - began)


def questions(
    mongodb: Callable[[], object], control: Redis, cache: Redis, queue: Queue, threads: Threads
) -> dict[str, Ask]:
    """What each server of a worker is asked; `mongodb` asks its own, blocking."""

    async def ping(redis: Redis) -> None:
        pong: Awaitable[object] = redis.ping()
        await pong

    return {
        "mongodb": lambda: threads.call(mongodb),
        "broker": lambda: threads.call(queue.depth, PLAN_QUEUE),
        "control_redis": lambda: ping(control),
        "cache_redis": lambda: ping(cache),
    }
