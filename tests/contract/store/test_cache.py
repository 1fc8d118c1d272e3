"""Answers in a real cache Redis: kept whole or missed, never half; counted once; cleared without harm to others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.batches import Stores
from tests.support.oldest_redis import OLDEST_REDIS
from workers.core.errors import UserError
from workers.core.messages import Reply, Usage
from workers.store import cache_stats, keys
from workers.store.cache import Cache, Cleared
from workers.store.cache_entry import Codec
from workers.store.cache_stats import CacheCounts, CacheStats
from workers.store.redis import connect, run_script

pytestmark = pytest.mark.integration
ANSWER = Reply(b'{"choices":[]}', Usage(1, 2, 3, 4, 5), "sim-small", "req_1", ("seed: left out",), "flex")
LONG = Reply(b'{"text":"' + b"word " * 500 + b'"}', Usage(), "m")
KEY = keys.answer("sim", "/v1/chat/completions", "f" * 64)
NOW_S = 1_000.0
ENTRY = Codec(compress_over_bytes=300, max_body_bytes=20_000).pack(ANSWER) or b""


@pytest.fixture(params=["current", "oldest"] if OLDEST_REDIS else ["current"])
async def answers(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """An empty cache Redis; of the oldest supported version, too, where this machine has one."""
    url = (
        request.getfixturevalue("store_servers").cache_redis_url
        if request.param == "current"
        else request.getfixturevalue("oldest_redis")
    )
    async with connect(url) as client:
        await client.flushdb()
        yield client


def cache_on(client: Redis, **more: Any) -> Cache:
    rules: dict[str, Any] = {"max_entry_bytes": 20_000, "compress_over_bytes": 300, "now_s": lambda: NOW_S}
    return Cache(client, **{**rules, **more})


# ---------------------------------------------------------------- entries


async def test_an_answer_is_found_as_it_was_kept(answers: Redis) -> None:
    cache = cache_on(answers)
    assert await cache.find([KEY, "other"]) == {}
    assert await cache.keep({KEY: ANSWER, "long": LONG}, {KEY: 60, "long": 60}) == {KEY, "long"}
    assert await cache.find(["other", KEY, "long"]) == {KEY: ANSWER, "long": LONG}
    assert 0 < await answers.ttl(KEY) <= 60
    assert await answers.strlen("long") < len(LONG.body) / 10


async def test_an_answer_over_the_bound_is_not_kept_and_said_so(cache_redis: Redis) -> None:
    cache = cache_on(cache_redis, max_entry_bytes=500)
    huge = Reply(b"{}", Usage(2**64), "m")
    replies = {"a": ANSWER, "b": LONG, "c": huge}
    assert await cache.keep(replies, dict.fromkeys(replies, 60)) == {"a"}
    assert await cache.find(["a", "b", "c"]) == {"a": ANSWER}
    assert (await cache.stats()).today == CacheCounts(hits=1, misses=2, kept=1, too_large=2)


async def test_many_answers_are_kept_whatever_one_script_takes(cache_redis: Redis) -> None:
    replies = {f"k{n}": Reply(b'{"n":%d}' % n, Usage(n), "m") for n in range(300)}
    cache = cache_on(cache_redis)
    assert await cache.keep(replies, dict.fromkeys(replies, 60)) == set(replies)
    assert await cache.find(list(replies)) == replies


@pytest.mark.parametrize("entry", [b"", ENTRY[:-1], b"\xff\n{}"])
async def test_a_spoiled_entry_is_a_miss_and_counted(cache_redis: Redis, entry: bytes) -> None:
    await cache_redis.set(KEY, entry)
    cache = cache_on(cache_redis)
    assert await cache.find([KEY]) == {}
    assert await cache.keep({KEY: ANSWER}, {KEY: 60}) == {KEY}, "and it is put right"
    assert await cache.find([KEY]) == {KEY: ANSWER}
    assert (await cache.stats()).today == CacheCounts(hits=1, misses=1, corrupt=1, kept=1)


async def test_a_key_of_another_type_is_a_miss(answers: Redis) -> None:
    await answers.rpush(KEY, "x")
    cache = cache_on(answers)
    assert await cache.find([KEY]) == {}
    assert await cache.keep({KEY: ANSWER}, {KEY: 60}) == {KEY}


# ---------------------------------------------------------------- lives


async def test_a_person_does_not_shorten_the_life_of_a_batchs_answer_but_a_batch_prolongs_a_persons(
    answers: Redis,
) -> None:
    cache = cache_on(answers)
    newer = Reply(b'{"newer":1}', Usage(), "m")
    await cache.keep({"batch": ANSWER, "live": ANSWER}, {"batch": 7_000, "live": 60})
    await cache.keep({"batch": newer, "live": newer}, {"batch": 60, "live": 7_000})
    assert await cache.find(["batch", "live"]) == {"batch": newer, "live": newer}
    assert 6_990 < await answers.ttl("batch") <= 7_000
    assert 6_990 < await answers.ttl("live") <= 7_000


async def test_a_key_that_would_never_expire_gets_an_end(cache_redis: Redis) -> None:
    await cache_redis.set(KEY, "foreign")
    await cache_on(cache_redis).keep({KEY: ANSWER}, {KEY: 60})
    assert 0 < await cache_redis.ttl(KEY) <= 60


async def test_a_warmed_answer_near_its_end_is_renewed_by_one_asker_and_stays_warmed(
    cache_redis: Redis,
) -> None:
    draws, times_s = iter([0.5, 0.5, 0.0, 0.99]), [NOW_S]
    cache = cache_on(cache_redis, now_s=lambda: times_s[-1], draw=lambda: next(draws))
    await cache.keep({KEY: ANSWER, "plain": ANSWER}, {KEY: 60, "plain": 60}, warmed_ms={KEY: 1_000.0})
    assert await cache.find([KEY, "plain"]) == {KEY: ANSWER, "plain": ANSWER}, "60 s before its end"

    times_s.append(NOW_S + 59.9)
    assert await cache.find([KEY, "plain"]) == {"plain": ANSWER}
    assert await cache.find([KEY], again=True) == {}, "the owner of the flight looks once more"
    assert await cache_on(cache_redis, draw=lambda: 0.0).find([KEY]) == {KEY: ANSWER}, (
        "for others it is there"
    )
    await cache.keep({KEY: LONG}, {KEY: 60})
    assert await cache.find([KEY], again=True) == {KEY: LONG}
    assert await cache.find([KEY]) == {KEY: LONG}

    times_s.append(NOW_S + 59.9 + 59)
    assert await cache.find([KEY]) == {}, "the renewed answer is renewed in its turn"
    assert (await cache.stats()).today.early == 2


async def test_a_warmed_answer_with_a_longer_life_behind_it_is_a_hit_after_its_own_end(
    cache_redis: Redis,
) -> None:
    cache = cache_on(cache_redis, draw=lambda: 0.999)
    await cache.keep({KEY: ANSWER}, {KEY: 7_000})
    await cache.keep({KEY: ANSWER}, {KEY: 60}, warmed_ms={KEY: 1_000.0})
    late = cache_on(cache_redis, now_s=lambda: NOW_S + 61, draw=lambda: 0.999)
    assert await late.find([KEY]) == {KEY: ANSWER}


# ---------------------------------------------------------------- counts


async def test_counts_of_all_processes_are_added_up_by_day(answers: Redis) -> None:
    one, two = cache_on(answers), cache_on(answers)
    await one.keep({KEY: LONG}, {KEY: 60})
    await one.find([KEY, "a"])
    await two.find([KEY, "b", "c"])
    await answers.hset(keys.CACHE_COUNTS, mapping={"2001-01-01:hits": 99, "nonsense": 1})
    await two.flush_counts()
    stats = await one.stats()
    assert (stats.today.hits, stats.today.misses, stats.today.kept) == (2, 3, 1)
    assert stats.today == stats.last_7_days
    assert stats.today.hit_rate == 0.4
    assert stats.today.raw_bytes == len(LONG.body) > 10 * stats.today.packed_bytes > 0
    assert not await answers.hexists(keys.CACHE_COUNTS, "2001-01-01:hits"), "days of long ago are forgotten"
    assert 7 * 86_400 < await answers.ttl(keys.CACHE_COUNTS) <= 8 * 86_400


async def test_a_second_look_is_no_second_miss(cache_redis: Redis) -> None:
    cache = cache_on(cache_redis)
    await cache.find(["a", "b"])
    await cache_on(cache_redis).keep({"a": ANSWER}, {"a": 60})
    await cache.find(["a", "b"], again=True)
    today = (await cache.stats()).today
    assert today == CacheCounts(misses=2, late=1) == cache.counts
    assert today.hit_rate == 0.5


async def test_counts_whose_arrival_is_unknown_are_handed_over_again_and_added_once(
    cache_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, asked = cache_on(cache_redis), []
    real = run_script

    async def lost_reply(*args: Any, **named: Any) -> Any:
        asked.append(await real(*args, **named))
        if len(asked) == 1:
            raise TimeoutError
        return asked[-1]

    monkeypatch.setattr(cache_stats, "run_script", lost_reply)
    await cache.find(["a"])
    await cache.flush_counts()
    await cache.find(["b"])
    await cache.flush_counts()
    await cache.flush_counts()
    await cache.flush_counts()
    assert asked == [1, 0, 1]
    assert (await cache.stats()).today.misses == 2


async def test_stats_say_how_full_the_cache_is(answers: Redis) -> None:
    cache = cache_on(answers)
    replies = {KEY: ANSWER, keys.answer("sim", "/v1/embeddings", "f"): ANSWER}
    await cache.keep(replies, dict.fromkeys(replies, 60))
    stats = await cache.stats()
    assert stats.entries_by_scan == {"ai": 1, "embedding": 1}
    assert stats.scan_complete
    assert stats.keys_by_dbsize == 4, "the counts, too"
    assert (stats.memory_used_bytes or 0) > 0
    assert stats.memory_limit_bytes is not None
    assert stats.eviction_policy
    assert stats.evicted_keys is not None
    assert stats.as_dict()["today"]["hit_rate"] is None


async def test_a_bounded_scan_says_that_it_has_not_seen_all(
    cache_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_stats, "SCAN_AT_MOST", 10)
    monkeypatch.setattr(cache_stats, "SCAN_PAGE", 10)
    await cache_redis.mset({f"ai:v2:sim:{n}": "x" for n in range(200)})
    stats = await cache_on(cache_redis).stats()
    assert not stats.scan_complete
    assert 0 < stats.entries_by_scan["ai"] < 200
    assert stats.keys_by_dbsize == 200


# ---------------------------------------------------------------- clearing

OTHERS = ("batch.openai", "flight:t:f", "ai:theirs", "aircraft:v1:x", "embedding", keys.CACHE_COUNTS)
OURS = ("ai:v2:openai:1", "ai:v2:openai-eu:1", "ai:v2:op*nai:1", "ai:v1:openai:1", "embedding:v2:openai:1")


@pytest.mark.parametrize(
    ("prefix", "gone"),
    [
        (None, OURS),
        ("ai", OURS[:4]),
        ("ai:v2", OURS[:3]),
        ("ai:v2:openai", OURS[:1]),
        ("ai:v2:openai:", OURS[:1]),
        ("ai:v2:op*nai", OURS[2:3]),
        ("embedding", OURS[4:]),
        ("ai:v2:nobody", ()),
    ],
)
async def test_clearing_takes_away_what_has_the_prefix_and_nothing_else(
    answers: Redis, prefix: str | None, gone: tuple[str, ...]
) -> None:
    await answers.mset(dict.fromkeys([*OTHERS, *OURS], "x"))
    assert await cache_on(answers).clear(prefix) == Cleared(len(gone))
    left: Any = await answers.keys("*")
    assert {key.decode() for key in left} == {*OTHERS, *OURS} - set(gone)


async def test_clearing_goes_page_by_page_to_the_end(
    cache_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.store.cache.SCAN_PAGE", 10)
    await cache_redis.mset({f"ai:v2:sim:{n}": "x" for n in range(200)})
    assert await cache_on(cache_redis).clear() == Cleared(200)
    assert await cache_redis.dbsize() == 0


@pytest.mark.parametrize("prefix", ["", "*", "batch.openai", "flight", "a", "ai::x", "AI", "ai*"])
async def test_a_prefix_that_no_answer_has_is_refused(cache_redis: Redis, prefix: str) -> None:
    with pytest.raises(UserError, match="no cached answer has the prefix"):
        await cache_on(cache_redis).clear(prefix)


def test_a_tenants_answers_are_forgotten_at_once_by_raising_its_generation(stores: Stores) -> None:
    before = stores.tenants.ensure("one")
    stores.tenants.ensure("two")
    assert stores.tenants.raise_generation("one") == before.generation + 1
    assert stores.tenants.get("one").generation == before.generation + 1
    assert stores.tenants.get("two").generation == before.generation
    with pytest.raises(LookupError, match="nobody"):
        stores.tenants.raise_generation("nobody")


# ---------------------------------------------------------------- away


async def test_without_redis_every_look_up_misses_and_nothing_fails() -> None:
    once = Retry(NoBackoff(), 0)
    async with Redis.from_url("redis://127.0.0.1:1/0", retry=once) as nowhere:
        cache = cache_on(nowhere)
        assert await cache.find([KEY]) == {}
        assert await cache.holds([KEY]) == [False]
        assert await cache.keep({KEY: ANSWER}, {KEY: 60}) == set()
        assert await cache.clear() == Cleared(0, away=True)
        assert await cache.stats() == CacheStats(away=True)


def test_embeddings_have_keys_of_their_own() -> None:
    assert KEY.startswith("ai:v2:sim:")
    assert keys.answer("sim", "/v1/embeddings", "f").startswith("embedding:v2:sim:")
