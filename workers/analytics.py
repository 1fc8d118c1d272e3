"""Keep what this process has counted and timed, by the minute, and gather what all have kept.

`MinuteWriter` runs in every API and worker process: each five seconds it writes one small document where something was
seen, none where nothing was. Nothing of it is on the way of a request or an item. `gather_figures` is a chore
(chores.py): it keeps a look over seven days to some hundred documents.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from config.settings import Settings
from workers.core.analytics import MINUTE_S, in_minute
from workers.observed import OBSERVED, Observed, Readings
from workers.store.minutes import LATE_S, Minutes, minute_of
from workers.store.mongo import STORE_TROUBLE
from workers.store.stores import Stores

log = logging.getLogger(__name__)

WRITE_EVERY_S = 5.0
GATHER_EVERY_S = 60.0


# Awaits a blocking call: `Threads.call`, or the API's own way.
OnThread = Callable[[Callable[[], None]], Awaitable[None]]


class Home(Protocol):
    """What a chore needs of a process: a worker's runtime, or an API's services."""

    @property
    def settings(self) -> Settings:
        """The settings of the process."""

    @property
    def stores(self) -> Stores:
        """Its stores."""


@dataclass(slots=True)
class MinuteWriter:
    """`run` in a loop; `flush` once, blocking, and at the end.

    What is written of a minute is all that was seen since the last write for another one, so a write can be repeated.
    A process that is killed loses what it has seen since its last write.
    """

    minutes: Minutes
    enabled: bool
    observed: Observed = OBSERVED
    # Of this life of the process: in a container the next one has the same number.
    _process: str = field(default_factory=lambda: secrets.token_hex(6))
    _minute: datetime | None = None
    _base: Readings = field(default_factory=Readings)
    _written: Readings = field(default_factory=Readings)
    # What a write had that did not come to its end: it may be there or not.
    _tried: Readings | None = None
    # The last flush of a process may meet one that is under way.
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    async def run(self, on_thread: OnThread) -> None:
        """Write for ever; cancel to stop. A database that is away gets it all at the next time."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write(on_thread)

    async def write(self, on_thread: OnThread) -> None:
        """`flush` on a store thread, and say so where it could not."""
        try:
            await on_thread(self.flush)
        except STORE_TROUBLE as error:
            log.warning("cannot keep figures: %s", type(error).__name__)

    def flush(self) -> None:
        """Write what is new. Raises STORE_TROUBLE; nothing is lost by that, and nothing counts twice."""
        if self.enabled:
            with self._one_at_a_time:
                self._flush()

    def _flush(self) -> None:
        readings = self.observed.read()
        if self._tried is None and not _is_news(readings, self._written):
            return
        now = self.minutes.now()
        self._end_try(now)
        if not _is_news(readings, self._written):
            return
        minute = minute_of(now)
        if minute != self._minute:
            if self._minute is not None and minute < self._minute:
                # A new primary's clock may be behind: what is there of that minute must stay.
                self._process = secrets.token_hex(6)
            self._minute, self._base = minute, self._written
        self._tried = readings
        self._write(minute, readings)

    def _end_try(self, now: datetime) -> None:
        """The same document again, while nobody can have gathered it."""
        if self._tried is None or self._minute is None:
            return
        if now < self._minute + timedelta(seconds=MINUTE_S + LATE_S):
            self._write(self._minute, self._tried)
            return
        log.warning("figures of five seconds before %s may be lost: MongoDB was away", self._minute)
        self._written, self._tried = self._tried, None

    def _write(self, minute: datetime, readings: Readings) -> None:
        new = readings.since(self._base)
        figures = in_minute(int(minute.timestamp()), new.counts, new.times)
        self.minutes.write(self._process, minute, figures)
        self._written, self._tried = readings, None


def _is_news(readings: Readings, before: Readings) -> bool:
    new = readings.since(before)
    return bool(new.counts or new.times)


def gather_figures(home: Home) -> None:
    """A chore: put minutes and hours together (store/minutes.py). Safe to break off, and to do twice at once."""
    if home.settings.monitoring.enabled:
        minutes = home.stores.minutes
        minutes.gather(minutes.now())
