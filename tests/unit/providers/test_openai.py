"""OpenAI's bytes: requests as it wants them, any answer read or refused, nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors import (
    KeyRefused,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRefused,
    UnusableReply,
)
from workers.core.messages import Call, HttpResponse, Reply, Usage
from workers.providers.openai import OpenAI
from workers.providers.registry import SPOKEN_KINDS, adapter_for

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
OPENAI = OpenAI()
# The shapes of OpenAI's published OpenAPI document.
CHAT_REPLY: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 5},
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def ok(body: bytes) -> HttpResponse:
    return HttpResponse(200, {"x-request-id": "req_1"}, body)


def read(value: Any) -> Reply:
    return OPENAI.parse_response(ok(json.dumps(value).encode()))


def call(body: dict[str, Any], endpoint: str = CHAT) -> Call:
    return Call(endpoint, "gpt-4o", body)


# --- requests


def test_a_request_is_the_calls_own_body_under_the_routed_model() -> None:
    body = {"model": "openai/gpt-4o", "messages": [], "stream": True, "stream_options": {}, "seed": 7}
    request = OPENAI.build_request(call(body), "sk-1")
    assert (request.method, request.path) == ("POST", "/chat/completions")
    assert orjson.loads(request.body) == {"model": "gpt-4o", "messages": [], "seed": 7}
    assert request.headers["authorization"] == "Bearer sk-1"


def test_without_a_key_no_authorization_is_sent() -> None:
    request = OPENAI.build_request(call({"input": "x"}, EMBEDDINGS), None)
    assert request.path == "/embeddings" and "authorization" not in request.headers


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.lists(st.text())))
def test_building_a_request_never_changes_the_call(body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    OPENAI.build_request(call(body), "sk-1")
    assert body == before


# --- answers


def test_an_answer_is_kept_byte_for_byte_with_its_usage() -> None:
    raw = json.dumps(CHAT_REPLY).encode()
    assert OPENAI.parse_response(ok(raw)) == Reply(raw, Usage(9, 12, 4, 5), "gpt-4o-2024-08-06", "req_1")


def test_an_embedding_is_an_answer_too() -> None:
    reply = read({"object": "list", "data": [], "model": "e", "usage": {"prompt_tokens": 3}})
    assert reply.usage == Usage(input_tokens=3)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_indented_json_becomes_one_line(newline: str) -> None:
    raw = json.dumps(CHAT_REPLY, indent=2).replace("\n", newline).encode()
    reply = OPENAI.parse_response(ok(raw))
    assert b"\n" not in reply.body and b"\r" not in reply.body
    assert json.loads(reply.body) == CHAT_REPLY


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        json.dumps(CHAT_REPLY).encode()[:-9],
        b"[]",
        b'"choices"',
        b"null",
        b"{}",
        b'{"choices": null}',
        b'{"choices": {}}',
        b'{"choices": [], "usage": [1]}',
        b'{"choices": [], "usage": {"prompt_tokens": "many"}}',
        b'{"choices": [], "usage": {"prompt_tokens": -1}}',
        b'{"choices": [], "usage": {"prompt_tokens": 18446744073709551616}}',
        b'{"choices": [], "usage": {"prompt_tokens_details": 3}}',
        b"[" * 5000,
        b'{"choices": [],\n"x":' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)
def test_what_is_no_answer_is_unusable_and_may_be_asked_again(body: bytes) -> None:
    with pytest.raises(UnusableReply) as caught:
        OPENAI.parse_response(ok(body))
    assert caught.value.retryable and caught.value.request_id == "req_1"


def test_a_model_name_without_end_is_cut() -> None:
    assert len(read({"choices": [], "model": "m" * 20_000}).model) == 200


@given(st.binary())
def test_any_bytes_are_a_reply_or_a_provider_error(body: bytes) -> None:
    assert_read(body)


@given(
    st.dictionaries(st.sampled_from(["choices", "data", "usage", "model"]), JSON)
    | st.fixed_dictionaries(
        {
            "choices": st.just([]),
            "usage": st.dictionaries(
                st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details"]), JSON
            ),
        }
    )
    | JSON
)
def test_any_json_is_a_reply_or_a_provider_error(value: Any) -> None:
    assert_read(json.dumps(value).encode())


def assert_read(body: bytes) -> None:
    try:
        reply = OPENAI.parse_response(ok(body))
    except ProviderError:
        return
    assert b"\n" not in reply.body
    assert isinstance(orjson.loads(reply.body), dict)
    usage = reply.usage
    counts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens)
    assert all(0 <= count < 2**63 for count in counts)


# --- failures


def failure(status: int, body: bytes, **headers: str) -> ProviderError:
    return OPENAI.parse_error(
        HttpResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, body)
    )


def test_a_refusal_keeps_the_providers_own_words() -> None:
    body = b'{"error": {"message": "no such model", "type": "x", "param": null, "code": "y"}}'
    error = failure(404, body, x_request_id="req_2")
    assert isinstance(error, RequestRefused)
    assert (error.message, error.body, error.request_id) == ("no such model", body, "req_2")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error": "busy"}', b"[1]", b"\xff"])
def test_a_failure_without_a_readable_error_gets_one_of_the_same_shape(body: bytes) -> None:
    error = failure(502, body)
    assert isinstance(error, Overloaded) and error.body is not None
    assert json.loads(error.body)["error"].keys() == {"message", "type", "param", "code"}


def test_an_indented_error_becomes_one_line() -> None:
    body = json.dumps({"error": {"message": "wrong key", "type": "x"}}, indent=2).encode()
    error = failure(401, body)
    assert isinstance(error, KeyRefused) and error.body is not None and b"\n" not in error.body


def test_a_long_message_is_cut_and_the_body_is_not() -> None:
    body = json.dumps({"error": {"message": "x" * 9000}}).encode()
    error = failure(400, body)
    assert len(error.message) == 500 and error.body == body


def test_a_429_says_how_long_to_wait() -> None:
    error = failure(429, b"", retry_after_ms="250")
    assert isinstance(error, RateLimited) and error.retry_after_s == 0.25


@given(st.integers(400, 599), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_failing_answer_is_a_provider_error_with_a_json_object(status: int, body: bytes) -> None:
    error = failure(status, body)
    assert error.status == status
    assert error.body is not None and b"\n" not in error.body
    assert isinstance(orjson.loads(error.body), dict)


def test_every_spoken_kind_has_an_adapter_of_the_providers_name() -> None:
    assert {adapter_for("mine", kind).name for kind in SPOKEN_KINDS} == {"mine"}
