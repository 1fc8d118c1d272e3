"""Two providers that offer the same models, and what tests of hand-overs say and look at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, Script
from workers.core.messages import HttpResponse
from workers.store.mongo import Doc

FIRST_AND_SECOND = """
[providers.first]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["m-*"]
[providers.second]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["m-*", "other-*"]
"""


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are recorded, and parcels leave, sooner than a user's do."""
    monkeypatch.setattr("workers.engine.recorder.FLUSH_EVERY_S", 0.01)
    monkeypatch.setattr("workers.engine.moving.GATHER_S", 0.05)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.02)


def prompts(name: str, count: int, *, model: str = "m-1", **body: Any) -> list[bytes]:
    """So many different requests, `c0` first."""
    return [chat_line(f"c{n}", f"{name} {n}", model=model, **body) for n in range(count)]


def always(response: HttpResponse) -> Script:
    """The script of a provider that says the same to everybody."""

    async def script(_: int) -> HttpResponse:
        return response

    return script


def refusal(status: int, code: str) -> HttpResponse:
    """An error as OpenAI words it."""
    return HttpResponse(status, {}, json.dumps({"error": {"message": "no", "code": code}}).encode())


def no_quota() -> HttpResponse:
    """The account has no money left."""
    return refusal(429, "insufficient_quota")


def unknown_model() -> HttpResponse:
    """Nobody here knows such a model."""
    return refusal(404, "model_not_found")


def tries(row: Doc) -> list[tuple[str, str, str]]:
    """Provider, code and what followed, of each failed try."""
    return [(provider, code, then) for _, provider, code, _, then, *_ in row["attempts"]]


def the_child(engine: Engine, shard: str) -> Doc:
    """The one shard that went to another provider from this one."""
    (child,) = engine.children(shard)
    return child
