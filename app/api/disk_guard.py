"""Take nothing more in while MongoDB's disk is nearly full: a database that cannot write ends itself.

server.py runs `watch` beside the requests; the handlers of uploads and creates read what it last saw, so no request
waits for a question about the disk. What runs goes on, and intake opens again by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from app.api.errors import NEVER_RETRY, SERVER_ERROR, ApiError
from config.tree import Disk as Bounds
from workers.core.disk import ROOMY_BYTES, DiskUse, Room, no_room_text, room_left
from workers.store.mongo import STORE_TROUBLE

EVERY_S = 5.0
log = logging.getLogger("batchwright.api")


@dataclass(slots=True)
class DiskGuard:
    """`watch` in a loop; `refuse_if_full` before anything is taken in.

    Attributes:
        seen: the last answer; None before the first, and where the server does not tell: then nothing is refused.
    """

    ask: Callable[[], Awaitable[DiskUse | None]]
    bounds: Bounds
    seen: DiskUse | None = None
    _said: Room = field(default=Room.PLENTY)

    @property
    def room(self) -> Room:
        """What the last answer means."""
        if self.seen is None:
            return Room.PLENTY
        bounds = self.bounds
        return room_left(self.seen, warn_percent=bounds.warn_percent, stop_percent=bounds.stop_percent)

    async def watch(self) -> None:
        """Look for ever; cancel to stop."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask once. A database that does not answer refuses by itself; what it said before stands."""
        try:
            self.seen = await self.ask()
        except STORE_TROUBLE as error:
            log.warning("cannot ask how full the disk is: %s", type(error).__name__)
            return
        self._tell()

    def refuse_if_full(self) -> None:
        """Raises ApiError 507 while the disk is fuller than `disk.stop_percent`."""
        if self.room is Room.NONE and self.seen is not None:
            raise _insufficient_storage(no_room_text(self.seen, self.bounds.stop_percent))

    def _tell(self) -> None:
        """Say it once at each crossing of a bound."""
        room, before = self.room, self._said
        self._said = room
        if room is before or self.seen is None:
            return
        if room is Room.PLENTY:
            log.info("the disk of MongoDB has room again: %.1f %% used", self.seen.percent)
        elif room is Room.LITTLE:
            log.warning(
                "the disk of MongoDB is %.1f %% full; over %g %%, with under %d GB free, no file or batch is taken",
                self.seen.percent,
                self.bounds.stop_percent,
                ROOMY_BYTES // 10**9,
            )
        else:
            log.error(
                "the disk of MongoDB is %.1f %% full: no files and batches are taken until it is under %g %%",
                self.seen.percent,
                self.bounds.stop_percent,
            )


def _insufficient_storage(text: str) -> ApiError:
    """507: repeating cannot help, making room does."""
    return ApiError(507, text, code="insufficient_storage", kind=SERVER_ERROR, headers=NEVER_RETRY)
