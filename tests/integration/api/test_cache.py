"""The cache over the API: how it does, clearing it, and who may."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from app.api.application import create_app
from app.api.services import open_services
from config.settings import load_settings
from tests.support.api import Api
from workers.store.tenants import Tenants

pytestmark = pytest.mark.integration


@pytest.fixture
def cache_redis(api: Api) -> Iterator[redis.Redis]:
    """The API's cache Redis, empty."""
    with redis.Redis.from_url(api.environ["BATCHWRIGHT_CACHE_REDIS_URL"]) as client:
        client.flushdb()
        yield client


def of_other(api: Api, method: str, **params: str) -> tuple[int, str | None]:
    reply = api.call(method, "/v1/cache", headers={"authorization": f"Bearer {api.other_key}"}, params=params)
    return reply.status_code, reply.json().get("error", {}).get("code")


def test_it_says_how_the_cache_does(api: Api, cache_redis: redis.Redis) -> None:
    cache_redis.mset({"ai:v2:sim:1": "x", "embedding:v2:sim:1": "x", "ai:v2:sim:2": "x"})
    said = api.call("GET", "/v1/cache").json()
    assert (said["object"], said["enabled"], said["away"]) == ("cache", True, False)
    assert said["entries_by_scan"] == {"ai": 2, "embedding": 1}
    assert said["today"]["hit_rate"] is None
    assert said["memory_used_bytes"] > 0


def test_it_is_cleared_by_prefix_or_as_a_whole(api: Api, cache_redis: redis.Redis) -> None:
    cache_redis.mset(dict.fromkeys(["ai:v2:sim:1", "ai:v2:openai:1", "embedding:v2:sim:1", "batch.sim"], "x"))
    assert api.call("DELETE", "/v1/cache", params={"prefix": "ai:v2:sim"}).json() == {
        "object": "cache.cleared",
        "prefix": "ai:v2:sim",
        "entries": 1,
        "tenant": None,
        "generation": None,
    }
    assert api.call("DELETE", "/v1/cache").json()["entries"] == 2
    assert cache_redis.keys("*") == [b"batch.sim"]


def test_a_tenants_answers_go_by_its_generation_at_its_own_or_the_first_tenants_word(api: Api) -> None:
    tenants = Tenants(api.work.db)
    before = tenants.get("other").generation
    done = api.call("DELETE", "/v1/cache", params={"tenant": "other"}).json()
    assert (done["entries"], done["tenant"], done["generation"]) == (None, "other", before + 1)
    assert of_other(api, "DELETE", tenant="other") == (200, None)
    assert tenants.get("other").generation == before + 2


def test_only_the_first_tenant_sees_and_clears_what_all_share(api: Api, cache_redis: redis.Redis) -> None:
    cache_redis.set("ai:v2:sim:1", "x")
    refused = (403, "not_allowed")
    assert of_other(api, "GET") == refused
    assert of_other(api, "DELETE") == refused
    assert of_other(api, "DELETE", prefix="ai") == refused
    assert of_other(api, "DELETE", tenant="default") == refused
    assert cache_redis.exists("ai:v2:sim:1")


@pytest.mark.parametrize(
    ("params", "status", "code", "param"),
    [
        ({"prefix": "batch"}, 400, "unknown_prefix", "prefix"),
        ({"prefix": "*"}, 400, "unknown_prefix", "prefix"),
        ({"prefix": "ai", "tenant": "other"}, 400, None, "tenant"),
        ({"tenant": "nobody"}, 404, None, "tenant"),
    ],
)
def test_what_cannot_be_cleared_is_refused_in_words(
    api: Api, params: dict[str, str], status: int, code: str | None, param: str
) -> None:
    reply = api.call("DELETE", "/v1/cache", params=params)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)


async def test_without_the_cache_redis_it_says_so_and_clears_nothing(api: Api) -> None:
    environ = {**api.environ, "BATCHWRIGHT_CACHE_REDIS_URL": ""}
    services = open_services(load_settings(environ))
    app: Any = create_app(services)
    transport, headers = httpx.ASGITransport(app=app), {"x-api-key": api.key}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as http:
        said = (await http.get("/v1/cache")).json()
        refused = await http.delete("/v1/cache")
    await services.close(0.5)
    assert said["away"]
    assert (refused.status_code, json.loads(refused.content)["error"]["code"]) == (503, "cache_unavailable")
