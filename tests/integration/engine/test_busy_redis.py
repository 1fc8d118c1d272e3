"""Many settlements at once, as of answers that come together: nobody takes the crowd for a Redis that is away."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.apart import apart
from tests.support.servers import TestServers
from workers.core.lanes import Ask, BreakerRules, LaneSeen, NotNow, Rates, Seen
from workers.store.flights import Claimed, Flights, Ticket
from workers.store.limiter import Limiter
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
        flights = Flights(ours, lease_ms=60_000)
        limiters = [Limiter(ours, holder=f"h{k}", processes=2, breaker=BreakerRules()) for k in range(CROWD)]
        other = Limiter(theirs, holder="other", processes=2, breaker=BreakerRules())
        # given a call that another process makes, and a provider that rests
        await Flights(theirs, lease_ms=60_000).take([Ticket(KEY, "b:1", 1)])
        await other.report("p", rates, Seen(lanes={"m": LaneSeen(throttled=1, retry_after_s=30.0)}))
        # when a flight and a limit are asked for behind more settlements than there are connections
        seen = Seen(reserved_tokens=100, used_tokens=10, lanes={"m": LaneSeen(answered=1)})
        crowd = [asyncio.ensure_future(one.report("p", rates, seen)) for one in limiters]
        asked = asyncio.gather(
            flights.take([Ticket(KEY, "b:2", 1)]),
            limiters[0].reserve("p", rates, [Ask("m", 10)], in_flight={}),
            limiters[1].reserve("p", Rates(), [Ask("m", 10)], in_flight={}),
        )
        (verdict,), *reserved = await asked
        await asyncio.gather(*crowd)
    # then they are what Redis said, not what is assumed without it
    assert verdict == Claimed("wait")
    for (answer,) in reserved:
        assert isinstance(answer, NotNow) and answer.why == "paused" and 25 < answer.wait_s <= 30
