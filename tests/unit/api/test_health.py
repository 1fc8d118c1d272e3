"""/health tells what was seen; /ready asks, all at once and not for long."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api import health
from app.api.dependencies import Dependencies, Seen, readiness
from app.api.health import Health, Ready
from app.api.services import _services_of

pytestmark = pytest.mark.fast


async def answers() -> None:
    return None


async def refuses() -> None:
    raise ConnectionError("nobody there: redis://:hunter22@h")


class Hangs:
    """A server that takes the question and never answers; counts them."""

    asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        await asyncio.Event().wait()


def behind(dependencies: Dependencies) -> Any:
    return SimpleNamespace(dependencies=dependencies, stopping=asyncio.Event())


def client(services: Any) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(health.router)
    app.dependency_overrides[_services_of] = lambda: services
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api")


async def test_ready_asks_all_and_says_how_long_each_took() -> None:
    services = behind(Dependencies({"mongodb": answers, "broker": answers}))
    async with client(services) as http:
        reply = await http.get("/ready")
    said = Ready.model_validate(reply.json())
    assert (reply.status_code, said.status) == (200, "ready")
    assert all(each.state == "up" and each.ms is not None for each in said.services.values())


async def test_without_the_cache_it_is_ready_and_says_so() -> None:
    services = behind(Dependencies({"mongodb": answers, "cache_redis": refuses}))
    async with client(services) as http:
        reply = await http.get("/ready")
    assert (reply.status_code, reply.json()["status"]) == (200, "degraded")


@pytest.mark.parametrize("name", ["mongodb", "control_redis", "broker"])
async def test_without_anything_else_it_is_not_ready_and_no_address_is_told(name: str) -> None:
    services = behind(Dependencies({"mongodb": answers, "broker": answers} | {name: refuses}))
    async with client(services) as http:
        reply = await http.get("/ready")
    assert (reply.status_code, reply.json()["services"][name]["state"]) == (503, "down")
    assert "hunter22" not in reply.text and "redis://" not in reply.text


async def test_a_process_that_stops_is_not_ready_though_all_answer() -> None:
    services = behind(Dependencies({"mongodb": answers}))
    services.stopping.set()
    async with client(services) as http:
        reply = await http.get("/ready")
    assert (reply.status_code, reply.json()["stopping"]) == (503, True)


async def test_servers_that_hang_are_waited_for_together_and_asked_once() -> None:
    hangs = Hangs()
    looks = Dependencies({"mongodb": hangs, "broker": Hangs(), "cache_redis": answers}, patience_s=0.03)
    began = time.monotonic()
    seen, _ = await asyncio.gather(looks.look(), looks.look())
    await looks.look()
    assert time.monotonic() - began < 1.0
    assert {name: each.state for name, each in seen.items()} == {
        "mongodb": "down",
        "broker": "down",
        "cache_redis": "up",
    }
    assert hangs.asked == 1
    await looks.close()


async def test_health_asks_nobody_and_tells_what_was_seen() -> None:
    hangs = Hangs()
    looks = Dependencies({"mongodb": hangs, "broker": answers}, patience_s=0.01)
    async with client(behind(looks)) as http:
        before = Health.model_validate((await http.get("/health")).json())
        assert {each.state for each in before.services.values()} == {"unknown"} and hangs.asked == 0
        await looks.look()
        after = Health.model_validate((await http.get("/health")).json())
    assert (after.services["mongodb"].state, after.services["broker"].state) == ("down", "up")
    assert after.status == "ok"
    await looks.close()


async def test_what_was_answered_just_now_is_not_asked_again() -> None:
    asked = []

    async def ask() -> None:
        asked.append(1)

    looks = Dependencies({"mongodb": ask})
    await looks.look()
    await looks.look()
    assert len(asked) == 1


def test_unknown_is_not_ready() -> None:
    assert readiness({"mongodb": Seen("unknown", None, 0.0)}, stopping=False) == "not_ready"
