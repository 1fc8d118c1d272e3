"""How often answers are found: each tenant by itself, counted once, in a table that stays small and forgets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.oldest_redis import OLDEST_REDIS
from workers.core.warming import Place
from workers.store import keys, most_asked
from workers.store.most_asked import STRIDE, MostAsked
from workers.store.redis import REDIS_DOWN, connect, run_script

pytestmark = pytest.mark.integration
PLACE, LATER = Place("batch_1", 1, 0, 9), Place("batch_2", 7, 100, 9)


@pytest.fixture(params=["current", "oldest"] if OLDEST_REDIS else ["current"])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    url = (
        request.getfixturevalue("store_servers").cache_redis_url
        if request.param == "current"
        else request.getfixturevalue("oldest_redis")
    )
    async with connect(url) as client:
        await client.flushdb()
        yield client


async def test_hits_of_all_processes_add_up_with_the_newest_place_of_each_request(redis: Redis) -> None:
    one, two = MostAsked(redis), MostAsked(redis)
    for key, times in (("a", 3), ("b", 1)):
        for _ in range(times):
            one.saw("acme", key, PLACE)
    two.saw("acme", "b", LATER)
    two.saw("globex", "a", PLACE)
    await one.send()
    await two.send()
    await two.send()  # nothing new
    assert await one.top("acme", least_hits=1, most=9) == [
        ("a", 3.0 * STRIDE, PLACE),
        ("b", 2.0 * STRIDE, LATER),
    ]
    assert await one.top("acme", least_hits=17, most=9) == [("a", 24.0, PLACE)]
    assert await one.top("globex", least_hits=1, most=9) == [("a", 8.0, PLACE)]
    assert (
        await one.counted(["acme", "nobody", "globex"]) == ["acme", "globex"] and await one.counted([]) == []
    )
    await one.forget("acme")
    assert await one.counted(["acme", "globex"]) == ["globex"]


async def test_every_eighth_of_a_chunk_counts_for_eight_wherever_the_draw_begins() -> None:
    chunk = list(range(20))
    for first in range(STRIDE):
        counting = MostAsked(None, draw=lambda _, first=first: first)  # type: ignore[arg-type, misc]
        assert counting.sample(chunk) == list(range(first, 20, STRIDE))


async def test_a_table_keeps_those_with_the_most_hits(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(most_asked, "KEPT", 3)
    counting = MostAsked(redis)
    for number in range(6):
        for _ in range(number + 1):
            counting.saw("acme", f"k{number}", PLACE)
    await counting.send()
    assert [key for key, _, _ in await counting.top("acme", least_hits=1, most=9)] == ["k5", "k4", "k3"]
    assert await redis.hlen(keys.asked_at("acme")) == 3
    assert 0 < await redis.ttl(keys.asked("acme")) == await redis.ttl(keys.asked_at("acme"))


async def test_hits_are_halved_once_a_day_and_not_before_the_first_is_over(redis: Redis) -> None:
    counting = MostAsked(redis)
    for _ in range(4):
        counting.saw("acme", "a", PLACE)
    await counting.send()
    assert await counting.top("acme", least_hits=1, most=9) == [("a", 32.0, PLACE)]
    await redis.delete(keys.asked_halved("acme"))  # a day is over
    assert await counting.top("acme", least_hits=1, most=9) == [("a", 16.0, PLACE)]
    assert await counting.top("acme", least_hits=1, most=9) == [("a", 16.0, PLACE)]
    assert await redis.ttl(keys.asked("acme")) > 0


async def test_what_a_process_counts_between_two_sendings_is_bounded_and_outlives_an_outage(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(most_asked, "_HELD", 2)
    counting, times = MostAsked(redis), 0

    async def cut_off(*args: Any, **named: Any) -> Any:
        nonlocal times
        times += 1
        if times in (1, 2):
            if times == 2:  # it was done, and the answer got lost
                await run_script(*args, **named)
            raise REDIS_DOWN[1]("away")
        return await run_script(*args, **named)

    monkeypatch.setattr(most_asked, "run_script", cut_off)
    for key in ("a", "b", "one too many", "a"):
        counting.saw("acme", key, PLACE)
    for _ in range(3):
        await counting.send()
    counting.saw("acme", "b", LATER)
    await counting.send()
    assert await counting.top("acme", least_hits=1, most=9) == [("b", 16.0, LATER), ("a", 16.0, PLACE)]
