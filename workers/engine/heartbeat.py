"""Keep the leases of this process, and know when one can no longer be trusted.

A lease is renewed by its fence every third of its length. The process's own monotonic clock says when the last
renewal was asked for; after `lease_s - call_margin_s` without one no call may start, so a process that slept
(SIGSTOP, a closed laptop) cannot call for shards that others hold by now.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from workers import metrics
from workers.observed import OBSERVED
from workers.store.mongo import MONGO_DOWN, STORE_TROUBLE
from workers.store.shards import Shards
from workers.store.threads import Threads

log = logging.getLogger(__name__)

_PATIENCE_S = 0.5


@dataclass(slots=True)
class Lease:
    """One shard held by this process."""

    shard_id: str
    fence: int
    renewed_at: float
    on_lost: Callable[[], None]
    lost: bool = False

    def may_call(self, lease_s: float, margin_s: float, now: float) -> bool:
        """Whether a call may start at `now` (monotonic seconds)."""
        return not self.lost and now - self.renewed_at < lease_s - margin_s


class Heartbeat:
    """Renews every lease of the process in one go."""

    def __init__(
        self,
        shards: Shards,
        threads: Threads,
        *,
        lease_s: float,
        before_renewal: Callable[[], Awaitable[None]],
        after_renewal: Callable[[], Awaitable[None]],
    ) -> None:
        """`before_renewal` records what waits: first the results, then the right to more. `after_renewal` renews
        what lies in Redis, which may be slow or away and must not cost a lease: nobody waits for it.
        """
        self._shards, self._threads = shards, threads
        self._lease_s = lease_s
        self._before_renewal, self._after_renewal = before_renewal, after_renewal
        self._held: dict[str, Lease] = {}
        self._after: asyncio.Future[None] | None = None

    def hold(self, shard_id: str, fence: int, claimed_at: float, on_lost: Callable[[], None]) -> Lease:
        """Keep this lease from now on; `claimed_at` is the monotonic time before the claim was sent."""
        lease = Lease(shard_id, fence, claimed_at, on_lost)
        self._held[shard_id] = lease
        return lease

    def drop(self, lease: Lease) -> None:
        """Stop renewing."""
        if self._held.get(lease.shard_id) is lease:
            del self._held[lease.shard_id]

    async def patiently(self, lease: Lease, ask: Callable[[], Any]) -> Any:
        """Ask MongoDB until it answers or the lease cannot be trusted any more (then None).

        Raises: what MongoDB says when it does answer.
        """
        while True:
            try:
                return await self._threads.call(ask)
            except MONGO_DOWN:
                if lease.lost or time.monotonic() - lease.renewed_at > self._lease_s:
                    return None
                await asyncio.sleep(_PATIENCE_S)  # between two looks at whether MongoDB is back

    async def run(self) -> None:
        """Renew for ever; cancel to stop."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            if self._held:
                await self.renew()

    async def renew(self) -> None:
        """Record, then renew; a lease that someone else holds by now is lost."""
        await self._before_renewal()
        held = dict(self._held)
        asked_at = time.monotonic()
        try:
            fences = {shard_id: lease.fence for shard_id, lease in held.items()}
            still = await self._threads.call(self._shards.renew, fences, self._lease_s)
        except STORE_TROUBLE as error:
            log.warning("cannot renew %d leases: %s", len(held), type(error).__name__)
            return
        for shard_id, lease in held.items():
            if shard_id in still:
                lease.renewed_at = asked_at
            elif self._held.get(shard_id) is lease:
                OBSERVED.count(metrics.LEASES_LOST)
                lease.lost = True
                lease.on_lost()
        if self._after is not None and self._after.done():
            self._after.result()  # a bug in there ends this loop, as if it had been waited for
            self._after = None
        if self._after is None:
            self._after = asyncio.ensure_future(self._after_renewal())
