"""Laws of every adapter's reading: any bytes, in any pieces, are an answer or a provider's error."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.adapters import CHAT, ENDPOINTS, MESSAGES, RESPONSES, a_call, few
from workers.core.errors import ProviderError
from workers.core.messages import HttpResponse, Reply
from workers.providers.base import Adapter

pytestmark = pytest.mark.fast
ASKED: dict[str, dict[str, Any]] = {CHAT: {"messages": MESSAGES}, RESPONSES: {"input": "x"}}


# Words that the four providers' answers are made of, so that random objects get past the first look.
WORDS = st.sampled_from([
    "candidates", "choices", "code", "completion_tokens", "content", "data", "delta", "details", "done",
    "done_reason", "embedding", "embeddings", "error", "eval_count", "event", "finishReason",
    "finish_reason", "function", "functionCall", "id", "index", "input_tokens", "message", "messages",
    "model", "name", "object", "output", "output_tokens", "parts", "promptFeedback", "prompt_eval_count",
    "prompt_tokens", "response", "role", "status", "stop_reason", "text", "thinking", "tool_calls",
    "tool_use", "type", "usage", "usageMetadata", "promptTokenCount", "values", "blockReason",
    "content_block", "arguments", "args", "input", "output_text", "service_tier",
])  # fmt: skip
VALUES = st.sampled_from([
    "assistant", "completed", "content_block_delta", "content_block_start", "end_turn", "error", "failed",
    "message", "message_delta", "message_start", "message_stop", "response", "response.completed",
    "response.failed", "stop", "text", "tool_use", "text_delta", "STOP", "SAFETY", "function_call",
    "input_json_delta", "tool_calls",
])  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
)
JSON = st.recursive(
    SCALARS | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=15,
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=6)
BODIES = st.binary(max_size=200) | (OBJECTS | JSON).map(lambda value: json.dumps(value).encode())
INDENTED = OBJECTS.map(lambda value: json.dumps(value, indent=1).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "retry-after", "date", "x-request-id", "request-id", "retry-after-ms"]),
    st.sampled_from(["application/json", "text/html", "audio/mpeg", "text/plain"]) | st.text(max_size=10),
)


def one_line_object(body: bytes | None) -> dict[str, Any]:
    assert body is not None and b"\n" not in body and b"\r" not in body
    read = orjson.loads(body)
    assert isinstance(read, dict)
    return read


def is_reply(reply: Reply) -> None:
    one_line_object(reply.body)
    usage = reply.usage
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        usage.cache_write_tokens,
    )
    assert all(type(count) is int and 0 <= count < 2**63 for count in counts)
    named: tuple[Any, ...] = (reply.model, reply.tier, reply.request_id or "")
    assert all(isinstance(name, str) for name in named) and len(reply.model) <= 200


def is_error(error: ProviderError) -> None:
    said: tuple[Any, ...] = (error.message, error.provider_code or "")
    assert all(isinstance(words, str) for words in said)
    assert error.body is None or one_line_object(error.body)["error"].keys() >= {
        "message",
        "type",
        "param",
        "code",
    }


@few
@given(endpoint=st.sampled_from(ENDPOINTS), body=BODIES | INDENTED, headers=HEADERS)
def test_any_bytes_of_a_success_are_a_reply_or_a_provider_error(
    adapter: Adapter, endpoint: str, body: bytes, headers: dict[str, str]
) -> None:
    call = a_call(adapter, ASKED.get(endpoint, {"input": "x", "response_format": "text"}), endpoint)
    try:
        reply = adapter.parse_response(call, HttpResponse(200, headers, body))
    except ProviderError as error:
        is_error(error)
    else:
        is_reply(reply)


@few
@given(status=st.integers(400, 599), body=BODIES | INDENTED, headers=HEADERS)
def test_any_failing_answer_is_a_provider_error_in_one_shape(
    adapter: Adapter, status: int, body: bytes, headers: dict[str, str]
) -> None:
    error = adapter.parse_error(HttpResponse(status, headers, body))
    assert error.status == status and error.body is not None
    is_error(error)
    assert isinstance(json.loads(error.body)["error"]["message"], str)


def _events(value: dict[str, Any], name: str, *, lines: bool) -> bytes:
    raw = json.dumps(value).encode()
    return raw + b"\n" if lines else b"event: " + name.encode() + b"\ndata: " + raw + b"\n\n"


EVENTS = st.builds(_events, OBJECTS, VALUES, lines=st.booleans())
STREAMS = st.lists(EVENTS | st.binary(max_size=30) | st.just(b"data: [DONE]\n\n"), max_size=6).map(b"".join)


@few
@given(
    endpoint=st.sampled_from([CHAT, CHAT, RESPONSES]),
    data=STREAMS,
    cuts=st.lists(st.integers(0, 400), max_size=5).map(sorted),
)
def test_any_stream_in_any_pieces_gives_chunks_or_a_provider_error(
    adapter: Adapter, endpoint: str, data: bytes, cuts: list[int]
) -> None:
    stream = adapter.parse_stream(a_call(adapter, ASKED[endpoint], endpoint), {})
    try:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            for chunk in stream.feed(data[start:end]):
                one_line_object(chunk)
        is_reply(stream.finish())
    except ProviderError as error:
        is_error(error)
