"""Leases are renewed whatever the other server does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from workers.engine.heartbeat import Heartbeat
from workers.store.shards import Shards
from workers.store.threads import Threads


class _Renewed:
    """Counts renewals; every lease is still ours."""

    times = 0

    def renew(self, held: Mapping[str, int], lease_s: float) -> set[str]:
        self.times += 1
        return set(held)


async def test_a_redis_that_does_not_answer_costs_no_lease() -> None:
    # Given a renewal of flights that hangs for ever
    shards, hanging, asked = _Renewed(), asyncio.Event(), 0

    async def hang() -> None:
        nonlocal asked
        asked += 1
        await hanging.wait()

    async def nothing() -> None:
        return

    with ThreadPoolExecutor(1) as pool:
        heartbeat = Heartbeat(
            cast(Shards, shards), Threads(pool), lease_s=1.0, before_renewal=nothing, after_renewal=hang
        )
        heartbeat.hold("shard", 1, 0.0, lambda: None)
        # When the leases are due twice
        async with asyncio.timeout(5):
            for _ in range(2):
                await heartbeat.renew()
                await asyncio.sleep(0)
    # Then both renewals are made, and the hanging one is not begun again behind itself.
    assert shards.times == 2
    assert asked == 1
    hanging.set()
