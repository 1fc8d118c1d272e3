"""Many settlements at once, as of answers that come together: nobody takes the crowd for a Redis that is away."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.apart import apart
from tests.support.servers import TestServers
from workers.store.flights import Claimed, Flights, Ticket
from workers.store.limits import Limits, Rates
from workers.store.redis import connect

pytestmark = pytest.mark.integration
KEY = "flight:t:x"
CROWD = 256


async def test_a_crowd_of_settlements_does_not_make_flights_and_limits_look_away(
    servers: TestServers,
) -> None:
    url, rates = apart(servers, "busy").redis_url, Rates(None, 1_000_000)
    async with connect(url) as ours, connect(url) as theirs:
        await ours.flushdb()
        limits, flights = Limits(ours), Flights(ours, lease_ms=60_000)
        # given a call that another process makes, and a provider that rests
        await Flights(theirs, lease_ms=60_000).take([Ticket(KEY, "b:1", 1)])
        await Limits(theirs).pause("p", 30.0)
        # when a flight and a limit are asked for behind more settlements than there are connections
        crowd = [
            asyncio.ensure_future(limits.settle("p", rates, reserved=100, used=10)) for _ in range(CROWD)
        ]
        asked = asyncio.gather(
            flights.take([Ticket(KEY, "b:2", 1)]),
            limits.reserve("p", rates, [10]),
            limits.reserve("p", Rates(), [10]),
        )
        (verdict,), limited, unlimited = await asked
        await asyncio.gather(*crowd)
    # then they are what Redis said, not what is assumed without it
    assert verdict == Claimed("wait")
    for grant in (limited, unlimited):
        assert grant.waits_s == () and 25 < grant.next_wait_s <= 30
