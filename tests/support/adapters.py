"""The four adapters side by side, for laws that hold for each of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from workers.core.messages import Call
from workers.providers.anthropic import Anthropic
from workers.providers.base import Adapter
from workers.providers.gemini import Gemini
from workers.providers.ollama import Ollama
from workers.providers.openai import OpenAI

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
ENDPOINTS = (
    CHAT,
    RESPONSES,
    EMBEDDINGS,
    "/v1/completions",
    "/v1/audio/transcriptions",
    "/v1/audio/speech",
)
MESSAGES = [{"role": "user", "content": "hi"}]
MODELS = {
    "openai": "gpt-4o",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "ollama": "llama3.2",
}
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def adapters() -> dict[str, Adapter]:
    return {"openai": OpenAI(), "anthropic": Anthropic(), "gemini": Gemini(), "ollama": Ollama()}


@pytest.fixture(params=list(MODELS), scope="module")
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return adapters()[request.param]


def a_call(adapter: Adapter, body: dict[str, Any], endpoint: str = CHAT) -> Call:
    return Call(endpoint, MODELS[adapter.name], body)
