"""One simulator process, one port, four providers' APIs."""

from __future__ import annotations

import uuid

import httpx
import pytest

from tests.support.simulator import Simulator

pytestmark = pytest.mark.integration


async def test_one_port_speaks_every_dialect_and_logs_each_call_under_its_name(simulator: Simulator) -> None:
    mark = f"port {uuid.uuid4()}"
    messages = [{"role": "user", "content": mark}]
    version = {"anthropic-version": "2023-06-01"}
    gemini = {"contents": [{"role": "user", "parts": [{"text": mark}]}]}
    async with httpx.AsyncClient(base_url=simulator.url, http1=False, http2=True, timeout=20) as http:
        replies = [
            await http.post("/v1/chat/completions", json={"model": "sim-small", "messages": messages}),
            await http.post("/v1/responses", json={"model": "sim-small", "input": mark}),
            await http.post(
                "/v1/messages",
                json={"model": "sim-small", "max_tokens": 99, "messages": messages},
                headers=version,
            ),
            await http.post("/v1beta/models/sim-small:generateContent", json=gemini),
            await http.post("/api/chat", json={"model": "sim-small", "messages": messages, "stream": False}),
        ]
        free = [await http.get("/v1/models", headers=version), await http.get("/api/tags")]
    assert {reply.status_code for reply in [*replies, *free]} == {200}
    texts = [
        replies[0].json()["choices"][0]["message"]["content"],
        replies[1].json()["output"][0]["content"][0]["text"],
        replies[2].json()["content"][0]["text"],
        replies[3].json()["candidates"][0]["content"]["parts"][0]["text"],
        replies[4].json()["message"]["content"],
    ]
    assert len(set(texts)) == 1  # one prompt, one answer, whatever the dialect
    logged = simulator.calls()[-5:]
    assert [call["provider"] for call in logged] == ["openai", "openai", "anthropic", "gemini", "ollama"]
    assert {(call["prompt_tokens"], call["completion_tokens"]) for call in logged} == {
        (logged[0]["prompt_tokens"], logged[0]["completion_tokens"])
    }
