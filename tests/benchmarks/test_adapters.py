"""What an adapter costs an item: a chat request of 2 KB built and an answer of 2 KB read, in under 30 microseconds.

`make benchmark` times it. In the suite, where other tests share the processor, it runs once and only what comes out
counts.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from config.catalog import ModelTraits
from workers.core.messages import Call, HttpResponse, Reply, Usage
from workers.providers.anthropic import Anthropic
from workers.providers.base import Adapter
from workers.providers.gemini import Gemini
from workers.providers.ollama import Ollama
from workers.providers.openai import OpenAI

pytestmark = pytest.mark.benchmark

LIMIT_S = 30e-6
PROSE = "Lighthouses were kept by people who lived far from everybody else. " * 40
TEXT = PROSE[:1700]
HEADERS = {
    "content-type": "application/json",
    "date": "Wed, 15 Jan 2025 12:00:00 GMT",
    "x-request-id": "req_0001",
    "server": "proxy",
}
BODY = {
    "model": "some-model",
    "messages": [
        {"role": "system", "content": PROSE[:500]},
        {"role": "user", "content": PROSE[:1400]},
    ],
    "max_tokens": 500,
    "temperature": 0.3,
}
OPENAI: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1736942400,
    "model": "some-model",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 480,
        "completion_tokens": 420,
        "total_tokens": 900,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
}
ANTHROPIC: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "some-model",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 480,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 420,
        "service_tier": "standard",
    },
}
GEMINI: dict[str, Any] = {
    "candidates": [
        {"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": {
        "promptTokenCount": 480,
        "candidatesTokenCount": 420,
        "totalTokenCount": 900,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 480}],
    },
    "modelVersion": "some-model",
    "responseId": "r1",
}
OLLAMA: dict[str, Any] = {
    "model": "some-model",
    "created_at": "2025-01-15T12:00:00.123456789Z",
    "message": {"role": "assistant", "content": TEXT},
    "done": True,
    "done_reason": "stop",
    "total_duration": 885095291,
    "load_duration": 3505333,
    "prompt_eval_count": 480,
    "prompt_eval_duration": 13829000,
    "eval_count": 420,
    "eval_duration": 867237000,
}


@pytest.mark.parametrize(
    ("adapter", "traits", "answer"),
    [
        (OpenAI(), ModelTraits(cap_field="max_completion_tokens"), OPENAI),
        (Anthropic(), ModelTraits(min_cached_tokens=1024, native_schema=True), ANTHROPIC),
        (Gemini(), ModelTraits(context_tokens=1_048_576, native_schema=True), GEMINI),
        (Ollama(), ModelTraits(context_tokens=131_072, native_schema=True), OLLAMA),
    ],
    ids=["openai", "anthropic", "gemini", "ollama"],
)
def test_two_kilobytes_there_and_back_take_under_30_microseconds(
    benchmark: Any, adapter: Adapter, traits: ModelTraits, answer: dict[str, Any]
) -> None:
    call = Call("/v1/chat/completions", "some-model", BODY, traits=traits)
    response = HttpResponse(200, HEADERS, orjson.dumps(answer))
    assert 1900 < len(orjson.dumps(BODY)) < 2200 and 1900 < len(response.body) < 2200

    def there_and_back() -> Reply:
        adapter.build_request(call, "key")
        return adapter.parse_response(call, response)

    reply: Reply = benchmark.pedantic(there_and_back, iterations=20, rounds=500, warmup_rounds=20)

    assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == TEXT
    assert reply.usage == Usage(480, 420)
    if benchmark.enabled:
        assert benchmark.stats.stats.min < LIMIT_S
