"""Celery's threads in this process, and the shards that sit on them.

A thread that has brought a shard waits here until the shard has left the process, so that no more come than there are
threads. When others' shards wait while one provider keeps the threads, some of its shards go on without theirs: they
live in the event loop anyhow. Leases, drains and `active` know of no difference (engine/steward.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

WENT_ON = "goes on without its thread"


@dataclass(frozen=True, slots=True)
class _Seat:
    """A thread's place: `told` is what it waits for, done once it has been told anything."""

    shard_id: str
    told: asyncio.Future[str]


class Seats:
    """One per process, in its event loop."""

    def __init__(
        self, threads: int, provider_of: Callable[[str], str | None], recorded_of: Callable[[str], int]
    ) -> None:
        """`threads`: Celery's. `provider_of`: whose a shard in our hands is; None as long as that is not known.
        `recorded_of`: how many of its items have their results.
        """
        self.threads, self._provider_of, self._recorded_of = threads, provider_of, recorded_of
        self._looks: dict[
            str, tuple[int, float]
        ] = {}  # by shard, its results and since when they have been as many
        self._runs: dict[asyncio.Task[str], _Seat] = {}  # the oldest first

    @property
    def taken(self) -> int:
        """Threads that wait here."""
        return sum(not seat.told.done() for seat in self._runs.values())

    @property
    def full(self) -> bool:
        """Whether no thread is free."""
        return self.taken >= self.threads

    @property
    def room(self) -> int:
        """How many more shards may go on without a thread: as many as there are threads, for the memory they take."""
        return max(0, self.threads - (len(self._runs) - self.taken))

    def seated(self) -> dict[str, list[str]]:
        """By provider, the shards that hold a thread, the longest-seated first."""
        found: dict[str, list[str]] = {}
        for seat in self._runs.values():
            provider = self._provider_of(seat.shard_id)
            if provider is not None and not seat.told.done():
                found.setdefault(provider, []).append(seat.shard_id)
        return found

    def idle(self, now: float, longer_than_s: float) -> set[str]:
        """Shards that have a thread and got no answer for so long, as far as looks so far can tell.

        Args:
            now: monotonic seconds.
        """
        seated = [shard_id for shards in self.seated().values() for shard_id in shards]
        looks = {shard_id: (self._recorded_of(shard_id), now) for shard_id in seated}
        for shard_id, look in looks.items():
            before = self._looks.get(shard_id)
            if before is not None and before[0] == look[0]:
                looks[shard_id] = before
        self._looks = looks
        return {shard_id for shard_id, (_, since) in looks.items() if now - since >= longer_than_s}

    async def sit(self, shard_id: str, run: Coroutine[Any, Any, str]) -> str:
        """Wait for what becomes of a shard, or until it shall go on without us. Raises what the run raises."""
        task = asyncio.create_task(run)
        seat = self._runs[task] = _Seat(shard_id, asyncio.get_running_loop().create_future())
        task.add_done_callback(self._over)
        return await seat.told

    def leave(self, shard_ids: Collection[str]) -> None:
        """Let these go on without their threads."""
        for seat in self._runs.values():
            if seat.shard_id in shard_ids and not seat.told.done():
                log.info("shard %s goes on without its thread: others wait for one", seat.shard_id)
                seat.told.set_result(WENT_ON)

    def _over(self, task: asyncio.Task[str]) -> None:
        seat = self._runs.pop(task)
        error = None if task.cancelled() else task.exception()
        if seat.told.done():
            if error is not None:  # its thread has left: nobody else would hear of it
                log.error("the run of shard %s broke", seat.shard_id, exc_info=error)
        elif task.cancelled():
            seat.told.cancel()
        elif error is not None:
            seat.told.set_exception(error)
        else:
            seat.told.set_result(task.result())
