"""Hand a running shard's items over to other providers, in parcels: each is a shard of its own on another queue.

The parent says first, under its fence, what has moved where; then the children are inserted (writes.move). Whoever
claims the parent later inserts what is missing.
"""

from __future__ import annotations

import time

from workers.engine.coalesce import Coalescing
from workers.engine.running import Running

# One shard for all that leave within this time: 500 items whose provider has failed are not 500 shards.
GATHER_S = 0.5
PARCEL_ITEMS = 100


class Moving:
    """The items of one running shard on their way out."""

    def __init__(self, running: Running, flights: Coalescing) -> None:
        self._running, self._flights = running, flights
        self._since: float | None = None

    @property
    def next_due(self) -> float | None:
        """When the next parcel leaves, monotonic seconds; None without one."""
        if not self._running.lineup.moving or self._running.stop is not None:
            self._since = None  # nothing leaves a run that is to stop: the next lease sends it on
            return None
        if self._since is None:
            self._since = time.monotonic()
        return self._since + GATHER_S

    def is_due(self) -> bool:
        """Whether a parcel should leave now: it is old or large, or there is nothing else to wait for."""
        due, running = self.next_due, self._running
        if due is None:
            return False
        lineup = running.lineup
        rest = lineup.todo or lineup.called or lineup.deciding
        return (
            due <= time.monotonic()
            or len(lineup.moving) >= PARCEL_ITEMS
            or not rest
            or running.park is not None
        )

    async def move(self) -> None:
        """Send off what is to go."""
        running, self._since = self._running, None
        parcel = dict(running.lineup.moving)
        await self._flights.give_up(parcel)
        # The next call of an item whose last one may have happened repeats it, whoever makes it.
        unknown = sum(work.excess for work in parcel)
        untold = running.untold - parcel.keys()
        if await running.writes.move(parcel, running.started - unknown, unknown, untold):
            running.started -= unknown
            running.untold -= {*untold, *parcel}
            for work in parcel:
                del running.lineup.moving[work]
        else:
            running.stop = running.stop or "lost"
