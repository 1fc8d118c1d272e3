"""Which answers are found most, for each tenant by itself: counted in each process by a sample, added up in Redis.

The engine counts what it finds in the cache, a part of each chunk (`sample`, `saw`); the counts travel every few
seconds to the cache Redis, where a tenant's table holds the `KEPT` answers that were found most (add_asked.lua).
workers/warming.py reads it. Losing it costs nothing but a few refreshes that do not come.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from redis.asyncio import Redis

from workers.core.warming import Place, place_from
from workers.store import keys
from workers.store.redis import REDIS_DOWN, run_script

T = TypeVar("T")

# One of so many is looked at, and counts for all of them.
STRIDE = 8
KEPT = 2_000
HALF_LIFE_S = 86_400
_TTL_S = 2 * 86_400
SEND_EVERY_S = 15.0
# Answers that a process counts between two sendings; what comes beyond is not counted.
_HELD = 4_096
# Redis does nothing else meanwhile: a millisecond or two.
_AT_ONCE = 128


@dataclass(slots=True)
class _Count:
    hits: int
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class _Addition:
    """A part of one tenant's counts on its way; sent again under the same id it adds nothing."""

    tenant: str
    rows: Sequence[tuple[str, _Count]]
    id: str = field(default_factory=lambda: secrets.token_hex(8))


class MostAsked:
    """Count and read. Belongs to one event loop."""

    def __init__(
        self,
        client: Redis,
        *,
        draw: Callable[[int], int] = random.randrange,
    ) -> None:
        self._redis, self._draw = client, draw
        self._counts: dict[str, dict[str, _Count]] = {}
        self._held = 0
        self._unsent: list[_Addition] = []

    def sample(self, chunk: Sequence[T]) -> Sequence[T]:
        """One of eight, beginning anywhere: a chunk's order must not decide who is counted."""
        return chunk[self._draw(STRIDE) :: STRIDE]

    def saw(self, tenant: str, key: str, place: Place) -> None:
        """One of a sample was found in the cache; `place`: where its request stands."""
        counts = self._counts.setdefault(tenant, {})
        known = counts.get(key)
        if known is not None:
            known.hits, known.place = known.hits + STRIDE, place
        elif self._held < _HELD:
            self._held += 1
            counts[key] = _Count(STRIDE, place)

    async def run(self) -> None:
        """Hand over for ever; cancel to stop, after `send`."""
        while True:
            await asyncio.sleep(SEND_EVERY_S)
            await self.send()

    async def send(self) -> None:
        """Hand over what was counted; without Redis it waits for the next time."""
        # While Redis is away nothing is added to what waits: it would grow without end.
        if not self._unsent:
            counts, self._counts, self._held = self._counts, {}, 0
            for tenant, of_tenant in counts.items():
                rows = list(of_tenant.items())
                self._unsent += [
                    _Addition(tenant, rows[at : at + _AT_ONCE]) for at in range(0, len(rows), _AT_ONCE)
                ]
        while self._unsent:
            addition = self._unsent[-1]
            try:
                await self._add(addition)
            except REDIS_DOWN:
                return
            if addition in self._unsent:
                self._unsent.remove(addition)

    async def _add(self, addition: _Addition) -> None:
        args: list[str | bytes | float] = [KEPT, _TTL_S, HALF_LIFE_S]
        for key, count in addition.rows:
            args += [key, count.hits, str(count.place)]
        names = [*_table(addition.tenant), keys.counted(addition.id)]
        await run_script(self._redis, "add_asked", keys=names, args=args)

    async def top(self, tenant: str, *, least_hits: float, most: int) -> list[tuple[str, float, Place]]:
        """A tenant's answers that were found most: key, hits, and where the request stands. Raises REDIS_DOWN."""
        args: list[str | bytes | float] = [least_hits, most, HALF_LIFE_S, _TTL_S]
        found = await run_script(self._redis, "most_asked", keys=_table(tenant), args=args)
        rows = zip(found[::3], found[1::3], found[2::3], strict=True)
        return [
            (key.decode(), float(hits), place)
            for key, hits, text in rows
            if (place := place_from(text.decode("utf-8", "replace"))) is not None
        ]

    async def counted(self, tenants: Sequence[str]) -> list[str]:
        """Those of the tenants that have a table. Raises REDIS_DOWN."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for tenant in tenants:
                pipe.exists(keys.asked(tenant))
            there = await pipe.execute()
        return [tenant for tenant, found in zip(tenants, there, strict=True) if found]

    async def forget(self, tenant: str) -> None:
        """Take a tenant's table away. Raises REDIS_DOWN."""
        self._counts.pop(tenant, None)
        await self._redis.unlink(*_table(tenant))


def _table(tenant: str) -> list[str]:
    return [keys.asked(tenant), keys.asked_at(tenant), keys.asked_halved(tenant)]
