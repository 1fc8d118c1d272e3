"""Start this process again when its consumer is dead: look at its queues, and end it as a stop would.

core/watch.py decides. The stack's supervisor, or the container's restart policy, starts the process again: it ends
with a code that is not 0, after a drain where that still works and by force where it does not.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from workers.core.errors import StoreUnavailable
from workers.core.watch import Look, Watch, follow
from workers.queue import Queue
from workers.store.threads import Threads

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0


@dataclass(slots=True)
class Busy:
    """How many of the process's threads work on a task: `with busy: ...` in each of them."""

    threads: set[int] = field(default_factory=set)

    def __enter__(self) -> None:
        self.threads.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        self.threads.discard(threading.get_ident())


@dataclass(slots=True)
class Watchdog:
    """One per process: `run` it in the loop.

    Attributes:
        queues: those that this process is to empty, asked at each look.
        limit_s: messages may wait as long; 0: there is no watchdog.
        free_slots, seen, draining: how the process stands, see core/watch.py.
        bite: ends the process; called once at most.
    """

    queue: Queue
    queues: Callable[[], Sequence[str]]
    threads: Threads
    limit_s: float
    free_slots: Callable[[], int]
    seen: Callable[[], int]
    draining: Callable[[], bool]
    bite: Callable[[], None]
    now_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    bitten: bool = False

    async def run(self) -> None:
        """Look until it bites; cancel to stop. Returns at once where there is no watchdog."""
        every_s = min(LOOK_EVERY_S, self.limit_s / 4)
        watch: Watch | None = None
        while self.limit_s > 0 and not self.bitten:
            await self.sleep(every_s)
            watch = follow(watch, await self._look(), longest_gap_s=every_s * 3)
            if queue := watch.starved(self.limit_s):
                log.error(
                    "messages have waited %g s in %s and none reached this process, which is free to take them: "
                    "it starts again",
                    self.limit_s,
                    queue,
                )
                self.bitten = True
                self.bite()

    async def _look(self) -> Look:
        depths = await self.threads.call(self._depths)
        return Look(
            at_s=self.now_s(),
            wall_s=self.wall_s(),
            depths=depths,
            free_slots=self.free_slots(),
            seen=self.seen(),
            draining=self.draining(),
        )

    def _depths(self) -> dict[str, int] | None:
        try:
            return {name: self.queue.depth(name) for name in self.queues()}
        except StoreUnavailable:
            return None
