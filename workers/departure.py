"""How a worker process ends: by a drain, by force where that takes too long, and at once where a part of it broke.

runtime.py owns one `Departure`; celery_app.py and the watchdog ask for it. A process that shall start again ends with
`BROKEN_EXIT_CODE`: many supervisors take 0 for "wanted no more".
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from workers.beats import Beats
from workers.engine.steward import Steward

log = logging.getLogger(__name__)

BROKEN_EXIT_CODE = 70
# Beyond the grace for running calls: the last bulk, and the connections' ends.
AFTER_DRAIN_S = 5.0
ORPHAN_DRAIN_S = 4.0


@dataclass(slots=True)
class Departure:
    """One per process; its methods may be called from any thread, and from a signal handler.

    Attributes:
        grace_s: time for running calls to end.
        comes_back: the process shall start again, so that its exit code has to say so.
    """

    steward: Steward
    beats: Beats
    loop: asyncio.AbstractEventLoop
    grace_s: float
    comes_back: bool = False
    _parent: int = field(default_factory=os.getppid)
    _drain: asyncio.Task[None] | None = None
    _is_cut: bool = False

    def drain_soon(self) -> None:
        """Take no new work; running shards give back what they cannot finish.

        Asked again, by whoever has lost patience, it cuts the running calls now, and still gives all back.
        """
        self.loop.call_soon_threadsafe(self._begin)

    def hurry(self) -> None:
        """Cut the running calls now."""
        self.loop.call_soon_threadsafe(self._cut)

    def start_again(self) -> None:
        """End as SIGTERM would, and by force where the thread that hears of signals hangs. In the loop."""
        self.comes_back = True
        limit_s = self.grace_s + AFTER_DRAIN_S
        self.loop.call_later(limit_s, _leave, limit_s)
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGTERM)

    def _begin(self) -> None:
        if self._drain is not None:
            self._cut()
            return
        # An orphan's servers are ending with it: there is nobody left to give anything back to. Whatever is not
        # recorded in this time is left to its lease.
        orphan = os.getppid() != self._parent
        limit_s = ORPHAN_DRAIN_S if orphan else self.grace_s + AFTER_DRAIN_S
        self.loop.call_later(limit_s, _leave, limit_s)
        self.steward.draining = True
        self.beats.slots = 0
        self._drain = self.loop.create_task(self._give_back())

    async def _give_back(self) -> None:
        # No slots any more, so nothing else is dispatched for them; a database that hangs must not hold up the drain.
        await asyncio.gather(self.beats.beat(), self.steward.drain())

    def _cut(self) -> None:
        if self._is_cut:  # Celery says it once for each task, and each time would count their calls again
            return
        self._is_cut = True
        for active in self.steward.active.values():
            if active.run:
                active.run.cut()


def _leave(limit_s: float) -> None:
    log.error("not drained within %g s; the process ends, its leases run out", limit_s)
    os._exit(BROKEN_EXIT_CODE)


async def kept_alive(run: Coroutine[Any, Any, None]) -> None:
    """A background loop that ends with an error takes the process with it: half a worker is worse than none."""
    try:
        await run
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("a part of this worker broke; the process ends, its leases run out")
        os._exit(BROKEN_EXIT_CODE)
