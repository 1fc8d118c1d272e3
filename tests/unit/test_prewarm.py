"""Models are loaded once when workers start, again when their server is back, and nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from config.catalog_file import builtin_catalog
from tests.support.eventually import eventually
from workers import metrics, prewarm
from workers.core.errors import TransportError
from workers.core.messages import HttpRequest, HttpResponse
from workers.observed import OBSERVED
from workers.prewarm import Prewarm
from workers.providers.ollama import Ollama

pytestmark = pytest.mark.fast
SECRET = "sk-very-secret"


@dataclass
class Server:
    """An Ollama server that may be away; `loads` are the bodies of the requests that load."""

    up: bool = True
    loads: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    said: bytes = b"{}"
    tried: int = 0

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        await asyncio.sleep(0)
        self.tried += 1
        if not self.up:
            raise TransportError("nobody listens", bytes_sent=False)
        if request.method == "GET":
            return HttpResponse(200, {}, b"{}")
        self.loads.append(json.loads(request.body))
        return HttpResponse(self.status, {}, self.said)


@dataclass
class Leases:
    """Elections without a database; a lease lasts until the test says otherwise."""

    held: dict[str, str] = field(default_factory=dict)

    def hold(self, name: str, owner: str, seconds: float) -> bool:
        assert seconds > 0
        return self.held.setdefault(name, owner) == owner


class AtOnce:
    async def call(self, function: Any, *args: Any) -> Any:
        return function(*args)


def process(name: str, server: Server, leases: Leases, *models: str) -> Prewarm:
    link: Any = SimpleNamespace(
        name="ollama", kind="ollama", adapter=Ollama(), transport=server, api_key=lambda: SECRET,
        options={"keep_alive": "24h"}, deadline_s=300.0,
    )  # fmt: skip
    threads, elections = AtOnce(), leases
    wanted = {"ollama": models or ("m",), "other": ()}
    return Prewarm({"ollama": link}, wanted, builtin_catalog(), elections, threads, name)  # type: ignore[arg-type]


def counted(outcome: str) -> float:
    return OBSERVED.read().counts.get((metrics.MODEL_PREWARMS.name, ("ollama", outcome)), 0.0)


async def test_of_workers_that_start_together_one_loads_each_model_once() -> None:
    server, leases = Server(), Leases()
    before = counted("loaded")
    workers = [process(f"w{n}", server, leases, "a", "b") for n in range(4)]
    assert await asyncio.gather(*(each.load_if_first("ollama") for each in workers)) == [True] * 4
    assert [load["model"] for load in server.loads] == ["a", "b"]
    assert all(load["keep_alive"] == "24h" for load in server.loads)
    assert counted("loaded") == before + 2


async def test_a_server_that_is_back_is_loaded_again_by_the_one_that_looks() -> None:
    server, leases = Server(), Leases()
    first, second = process("first", server, leases), process("second", server, leases)
    await first.load_if_first("ollama")
    assert await first.look("ollama", was_up=True) and await second.look("ollama", was_up=False)
    assert len(server.loads) == 1, "it was never away, and the second does not look"
    server.up = False
    assert not await first.look("ollama", was_up=True)
    server.up = True
    assert await first.look("ollama", was_up=False)
    assert len(server.loads) == 2


async def test_a_server_that_is_away_at_the_start_is_loaded_once_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(up=False)
    monkeypatch.setattr(prewarm, "LOOK_EVERY_S", 0.001)
    running = asyncio.create_task(process("w", server, Leases()).run())
    await asyncio.to_thread(eventually, lambda: server.tried > 2, 5.0)
    assert not server.loads
    server.up = True
    await asyncio.to_thread(eventually, lambda: server.loads, 5.0)
    running.cancel()
    assert [load["model"] for load in server.loads] == ["m"]


async def test_a_model_that_cannot_be_loaded_is_one_line_without_the_servers_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(status=404, said=json.dumps({"error": f'model "m" not found; {SECRET}'}).encode())
    with caplog.at_level(logging.INFO, "workers.prewarm"):
        assert await process("w", server, Leases()).load_if_first("ollama"), "it does answer"
    assert [record.getMessage() for record in caplog.records] == [
        "model m of ollama is not loaded ahead: model_not_found"
    ]


async def test_whatever_breaks_while_loading_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    worker = process("w", server, Leases(), "a", "b")
    worker.links["ollama"].adapter.build_request = _broken  # type: ignore[method-assign]
    assert await worker.load_if_first("ollama")
    assert len(caplog.records) == 2 and not server.loads


def _broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a bug")
