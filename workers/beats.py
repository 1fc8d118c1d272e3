"""Say every few seconds that this process lives and what it has in its hands.

By its slots the dispatcher sends it shards (store/worker_processes.py); its vital signs (vitals.py) are for
`/metrics` and `batchwright doctor`.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from config.version import VERSION
from workers.engine.ports import Link
from workers.engine.recorder import Recorder
from workers.engine.sharing import Sharing
from workers.engine.shelf import Shelf
from workers.machine import machine_signs, own_signs
from workers.observed import OBSERVED
from workers.store.cache import Cache
from workers.store.limiter import Limiter
from workers.store.mongo import STORE_TROUBLE
from workers.store.threads import Threads
from workers.store.worker_processes import WorkerProcesses
from workers.vitals import INTAKE, ProviderVitals, Vitals, resident_bytes

log = logging.getLogger(__name__)

BEAT_EVERY_S = 3.0


@dataclass(slots=True)
class Beats:
    """One per process: `run` it in the loop.

    Attributes:
        transport: the HTTP client that was chosen.
        serves: the providers whose shards this process takes; those of `links` it could call.
        slots: shards this process takes at once; 0 from a drain on.
        last_seen: of a provider, seconds since it answered a call, and since a call got no answer.
        lag_s: how late the last beat's timer was.
        beaten_at: monotonic seconds of the last beat that MongoDB took.
        http_address: where its own page for Prometheus is served, `HOST:PORT`, if it is.
    """

    processes: WorkerProcesses
    threads: Threads
    owner: str
    transport: str
    serves: Sequence[str]
    links: Mapping[str, Link]
    cache: Cache
    sharing: Sharing
    shelf: Shelf
    recorder: Recorder
    limiter: Limiter
    slots: int
    http_address: str | None = None
    last_seen: Callable[[str], tuple[float | None, float | None]] = lambda _: (None, None)
    lag_s: float = 0.0
    beaten_at: float | None = None
    _started_at: float = field(default_factory=time.time)

    async def run(self) -> None:
        """Beat for ever; cancel to stop."""
        while True:
            due = time.monotonic() + BEAT_EVERY_S
            await asyncio.sleep(BEAT_EVERY_S)
            self.lag_s = max(0.0, time.monotonic() - due)
            await self.beat()

    async def count(self) -> None:
        """Tell what the cache has done, for ever; apart from the beats, since its Redis may hang."""
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            await self.cache.flush_counts()

    async def beat(self) -> None:
        """Say it once, and hear how many live, who share the limits when Redis is away."""
        stats = self.vitals().to_doc()
        names, slots = self.serves, self.slots
        try:
            self.limiter.processes = await self.threads.call(
                self.processes.beat, self.owner, providers=names, slots=slots, stats=stats
            )
            self.beaten_at = time.monotonic()
        except STORE_TROUBLE as error:
            log.warning("cannot say that this process lives: %s", type(error).__name__)

    def vitals(self) -> Vitals:
        """How this process is now; from any thread."""
        providers = {name: self._provider(name, link) for name, link in self.links.items()}
        return Vitals(
            transport=self.transport,
            started_at=self._started_at,
            providers=providers,
            cache=asdict(self.cache.counts),
            flights_owned=self.sharing.owned,
            flights_held=self.shelf.held,
            record_buffer_results=self.recorder.waiting,
            record_buffer_bytes=self.recorder.waiting_bytes,
            record_buffer_oldest_s=self.recorder.oldest_s(time.monotonic()),
            loop_lag_s=self.lag_s,
            resident_bytes=resident_bytes(),
            refused=dict(INTAKE.refused),
            version=VERSION,
            python=platform.python_version(),
            process=self.processes.seat(self.owner),
            http_address=self.http_address,
            own=own_signs(),
            machine=machine_signs(),
            observed=OBSERVED.read(),
        )

    def _provider(self, name: str, link: Link) -> ProviderVitals:
        answered_s, failed_s = self.last_seen(name)
        return ProviderVitals(
            client=link.transport.stats(),
            slots_in_use=link.slots.in_use,
            slots=link.slots.total,
            answered_s=answered_s,
            failed_s=failed_s,
        )
