"""Flights in a real control Redis: one makes the call, the others wait or see; a dead owner is followed by one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from workers.store.flights import Claimed, Flights, Ticket
from workers.store.keys import FLIGHTS_CHANNEL, flight
from workers.store.redis import connect

pytestmark = pytest.mark.integration
KEY = flight("t", "f1")
OWN, WAIT = Claimed("own"), Claimed("wait")


def ticket(token: str, fence: int = 1, key: str = KEY) -> Ticket:
    return Ticket(key, token, fence)


async def take(flights: Flights, one: Ticket) -> Claimed:
    (claimed,) = await flights.take([one])
    return claimed


async def heard(channel: Any, within_s: float = 5.0) -> str | None:
    """The next message of a subscription."""
    async with asyncio.timeout(within_s):
        async for message in channel.listen():
            if message["type"] == "message":
                return bytes(message["data"]).decode()
    return None


@pytest.fixture
def flights(control: Redis) -> Flights:
    return Flights(control, lease_ms=60_000)


async def test_one_owns_and_the_others_wait(flights: Flights) -> None:
    verdicts = await asyncio.gather(*(take(flights, ticket(f"b:{n}")) for n in range(20)))
    assert sorted(claimed.verdict for claimed in verdicts) == ["own"] + ["wait"] * 19


async def test_a_chunk_gets_a_verdict_for_each_of_its_keys(flights: Flights) -> None:
    await flights.take([ticket("a", key="flight:t:2")])
    chunk = [ticket("b", key=f"flight:t:{n}") for n in (1, 2, 3)]
    assert await flights.take(chunk) == [OWN, WAIT, OWN]
    assert await flights.take([]) == []


async def test_taking_again_by_the_same_token_gives_the_same_answer(flights: Flights) -> None:
    assert [await take(flights, ticket("a")) for _ in range(3)] == [OWN] * 3
    assert [await take(flights, ticket("b")) for _ in range(3)] == [WAIT] * 3


async def test_a_later_fence_of_the_same_item_takes_over_and_the_earlier_one_has_lost_it(
    flights: Flights,
) -> None:
    assert await take(flights, ticket("a", 1)) == OWN
    assert await take(flights, ticket("a", 3)) == OWN
    assert await take(flights, ticket("a", 2)) == WAIT, "an old lease woke up late"
    await flights.end([ticket("a", 1)])
    assert await take(flights, ticket("b")) == WAIT, "the old lease ended nothing"
    await flights.end([ticket("a", 3)])
    assert await take(flights, ticket("b")) == OWN


async def test_an_answer_that_is_not_cached_is_seen_where_it_is_recorded(flights: Flights) -> None:
    await take(flights, ticket("a"))
    await flights.end([ticket("a")], ["batch_1:000000007"])
    assert await take(flights, ticket("b")) == Claimed("see", "batch_1:000000007")
    assert await take(flights, ticket("a")) == Claimed("see", "batch_1:000000007")


async def test_who_waited_is_told_and_nobody_else_is_disturbed(flights: Flights, control: Redis) -> None:
    async with control.pubsub() as channel:
        await channel.subscribe(FLIGHTS_CHANNEL)
        lonely, wanted = ticket("a", key="flight:t:lonely"), ticket("a")
        await flights.take([lonely, wanted])
        await take(flights, ticket("b"))
        await flights.end([lonely, wanted])
        assert await heard(channel) == KEY


async def test_of_many_waiters_exactly_one_takes_over_when_the_owner_dies(control: Redis) -> None:
    short = Flights(control, lease_ms=40)
    assert await take(short, ticket("dead")) == OWN
    flights = Flights(control, lease_ms=60_000)
    owners = 0
    async with asyncio.timeout(5):
        while not owners:
            verdicts = await asyncio.gather(*(take(flights, ticket(f"b:{n}")) for n in range(10)))
            owners = sum(claimed == OWN for claimed in verdicts)
    assert owners == 1


async def test_a_flight_is_kept_by_renewing_it_and_only_by_its_owner(control: Redis) -> None:
    short, long = Flights(control, lease_ms=5_000), Flights(control, lease_ms=60_000)
    await take(short, ticket("a"))
    await long.renew([ticket("b"), ticket("a", 2)])
    assert await control.pttl(KEY) <= 5_000
    await long.renew([ticket("a")])
    assert 5_000 < await control.pttl(KEY) <= 60_000


async def test_after_redis_has_forgotten_the_owner_ends_nothing_of_others(
    flights: Flights, control: Redis
) -> None:
    await take(flights, ticket("a"))
    await control.flushdb()
    assert await take(flights, ticket("b")) == OWN
    await flights.end([ticket("a")])
    await flights.renew([ticket("a")])
    assert await take(flights, ticket("c")) == WAIT


async def test_without_redis_everyone_owns_and_nothing_fails() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout_s=0.1) as nowhere:
        flights = Flights(nowhere, lease_ms=1000)
        assert await flights.take([ticket("a"), ticket("b")]) == [OWN, OWN]
        await flights.renew([ticket("a")])
        await flights.end([ticket("a")])
