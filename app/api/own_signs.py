"""The vital signs of this API process: written into MongoDB every few seconds, so that any of them shows all of them.

server.py runs `run` beside the requests. Where two API processes serve one address, a scraper meets now one, now the
other: both show the same page, with each process's own counters under its own seat (`api-1`, `api-2`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.version import VERSION
from workers.machine import machine_signs, own_signs
from workers.observed import OBSERVED
from workers.store.mongo import STORE_TROUBLE, Db
from workers.store.threads import Threads
from workers.store.worker_processes import WorkerProcesses
from workers.vitals import Vitals, resident_bytes

EVERY_S = 3.0
LEAVE_WITHIN_S = 0.2
log = logging.getLogger("batchwright.api")


@dataclass(slots=True)
class OwnSigns:
    """`run` in a loop; `leave` at the end.

    Attributes:
        db: where the signs of API processes are kept.
        requests, streams: how many are under way now; streams by kind.
    """

    db: Db
    threads: Threads
    owner: str = field(default_factory=lambda: f"api@{socket.gethostname()}:{os.getpid()}")
    requests: Callable[[], int] = lambda: 0
    streams: Callable[[], Mapping[str, int]] = dict
    _processes: WorkerProcesses | None = None
    _lag_s: float = 0.0
    _started_at: float = field(default_factory=time.time)

    async def run(self) -> None:
        """Say it for ever; cancel to stop."""
        while True:
            await self.beat()
            due = time.monotonic() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self._lag_s = max(0.0, time.monotonic() - due)

    async def beat(self) -> None:
        """Say it once."""
        try:
            await self.threads.call(self._beat, self.vitals().to_doc())
        except STORE_TROUBLE as error:
            log.warning("cannot say that this process lives: %s", type(error).__name__)

    async def leave(self) -> None:
        """This process ends; where the database does not hear it in time, the others see it by its silence."""
        try:
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self.threads.call(self.processes.leave, self.owner)
        except (TimeoutError, *STORE_TROUBLE) as error:
            log.debug("cannot sign off: %s", type(error).__name__)

    @property
    def processes(self) -> WorkerProcesses:
        """Those of the API."""
        self._processes = self._processes or WorkerProcesses(self.db, "api")
        return self._processes

    @property
    def seat(self) -> str:
        """The name of this process on the page."""
        return self.processes.seat(self.owner) or "api"

    def vitals(self) -> Vitals:
        """How this process is now."""
        return Vitals(
            transport="",
            started_at=self._started_at,
            loop_lag_s=self._lag_s,
            resident_bytes=resident_bytes(),
            version=VERSION,
            python=platform.python_version(),
            process=self.seat,
            own=own_signs(),
            machine=machine_signs(),
            requests=self.requests(),
            streams=self.streams(),
            observed=OBSERVED.read(),
        )

    def _beat(self, stats: Mapping[str, object]) -> None:
        self.processes.beat(self.owner, providers=[], slots=0, stats=stats)
        self.processes.forget_dead()
