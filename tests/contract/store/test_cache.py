"""Answers in a real cache Redis: kept whole or missed, never half."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from workers.core.messages import Reply, Usage
from workers.store import keys
from workers.store.cache import Cache, pack, unpack
from workers.store.redis import connect

pytestmark = pytest.mark.integration
ANSWER = Reply(b'{"choices":[]}', Usage(1, 2, 3, 4, 5), "sim-small", "req_1", ("seed: left out",))
KEY = keys.answer("sim", "/v1/chat/completions", "f" * 64)


async def test_an_answer_is_found_as_it_was_kept(cache_redis: Redis) -> None:
    cache = Cache(cache_redis, max_entry_bytes=10_000)
    assert await cache.find([KEY, "other"]) == {}
    assert await cache.keep({KEY: ANSWER}, {KEY: 60}) == {KEY}
    assert await cache.find(["other", KEY]) == {KEY: ANSWER}
    assert 0 < await cache_redis.ttl(KEY) <= 60


async def test_an_answer_over_the_bound_is_not_kept_and_said_so(cache_redis: Redis) -> None:
    cache = Cache(cache_redis, max_entry_bytes=500)
    large = Reply(b'{"text":"' + b"x" * 500 + b'"}', Usage(), "m")
    assert await cache.keep({"a": ANSWER, "b": large}, {"a": 60, "b": 60}) == {"a"}
    assert await cache.find(["a", "b"]) == {"a": ANSWER}


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{}",
        pack(ANSWER)[:-1],
        pack(ANSWER)[1:],
        pack(ANSWER).replace(b'"v":2', b'"v":1'),
        pack(ANSWER).replace(b"[1,2,3,4,5]", b"[1,2,3,4,5,6]"),
        pack(ANSWER).replace(b"[1,2,3,4,5]", b'["many"]'),
        pack(ANSWER).replace(b'"usage"', b'"other"'),
        b"[]\n{}",
        b"\xff\n{}",
    ],
)
async def test_a_spoiled_entry_is_a_miss(cache_redis: Redis, entry: bytes) -> None:
    await cache_redis.set(KEY, entry)
    cache = Cache(cache_redis, max_entry_bytes=10_000)
    assert await cache.find([KEY]) == {}
    assert await cache.keep({KEY: ANSWER}, {KEY: 60}) == {KEY}, "and it is put right"
    assert await cache.find([KEY]) == {KEY: ANSWER}


async def test_a_key_of_another_type_is_a_miss(cache_redis: Redis) -> None:
    await cache_redis.rpush(KEY, "x")
    assert await Cache(cache_redis, max_entry_bytes=10_000).find([KEY]) == {}


async def test_without_redis_every_look_up_misses_and_nothing_is_kept() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout_s=0.1) as nowhere:
        cache = Cache(nowhere, max_entry_bytes=10_000)
        assert await cache.find([KEY]) == {}
        assert await cache.keep({KEY: ANSWER}, {KEY: 60}) == set()


@given(st.binary())
def test_any_bytes_are_an_answer_or_a_miss(entry: bytes) -> None:
    assert unpack(entry) is None


def test_embeddings_have_keys_of_their_own() -> None:
    assert KEY.startswith("ai:v2:sim:")
    assert keys.answer("sim", "/v1/embeddings", "f").startswith("embedding:v2:sim:")
