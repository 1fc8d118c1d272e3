"""OpenAI's bytes: requests as it wants them, any answer read or refused, nothing else."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from config.catalog import ModelTraits
from workers.core.errors import (
    ContentBlocked,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRefused,
    Untranslatable,
    UnusableReply,
)
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply, Usage
from workers.providers.openai import OpenAI

pytestmark = pytest.mark.fast
CHAT, EMBEDDINGS, RESPONSES = "/v1/chat/completions", "/v1/embeddings", "/v1/responses"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
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


def ok(body: bytes, content_type: str = "application/json") -> HttpResponse:
    return HttpResponse(200, {"x-request-id": "req_1", "content-type": content_type}, body)


def read(value: Any, endpoint: str = CHAT) -> Reply:
    return OPENAI.parse_response(call({}, endpoint), ok(json.dumps(value).encode()))


def call(body: dict[str, Any], endpoint: str = CHAT, **fields: Any) -> Call:
    return Call(endpoint, "gpt-4o", body, **fields)


def built(asked: Call, *, stream: bool = False) -> HttpRequest:
    return OPENAI.build_request(asked, "sk-1", stream=stream).request


def sent(body: dict[str, Any], endpoint: str = CHAT, *, stream: bool = False, **fields: Any) -> Any:
    return orjson.loads(built(call(body, endpoint, **fields), stream=stream).body)


# --- requests


@pytest.mark.ability("openai", "chat")
def test_a_request_is_the_calls_own_body_under_the_routed_model() -> None:
    body = {"model": "openai/gpt-4o", "messages": [], "stream": True, "stream_options": {}, "seed": 7}
    made = OPENAI.build_request(call(body), "sk-1")
    assert (made.request.method, made.request.path, made.warnings) == ("POST", "/chat/completions", ())
    assert orjson.loads(made.request.body) == {"model": "gpt-4o", "messages": [], "seed": 7}
    assert made.request.headers["authorization"] == "Bearer sk-1"


def test_without_a_key_no_authorization_is_sent() -> None:
    request = OPENAI.build_request(call({"input": "x"}, EMBEDDINGS), None).request
    assert request.path == "/embeddings" and "authorization" not in request.headers


@pytest.mark.ability("openai", "tools")
@pytest.mark.ability("openai", "parallel tools")
@pytest.mark.ability("openai", "schema")
@pytest.mark.ability("openai", "image")
def test_tools_schemas_and_images_go_as_they_came() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, image]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "required",
        "parallel_tool_calls": True,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
    }
    assert sent(body) == {**body, "model": "gpt-4o"}


def test_provider_options_are_laid_over_the_request() -> None:
    options = {"reasoning": {"effort": "low"}, "temperature": None, "stream": True}
    body = {"input": "x", "temperature": 1, "reasoning": {"summary": "auto"}}
    assert sent(body, RESPONSES, provider_options=options) == {
        "model": "gpt-4o",
        "input": "x",
        "reasoning": {"effort": "low", "summary": "auto"},
    }


def test_a_stream_of_chat_asks_for_its_usage_too() -> None:
    request = built(call({"messages": [], "stream_options": {"include_usage": False}}), stream=True)
    body = orjson.loads(request.body)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert request.headers["accept"] == "text/event-stream"
    assert sent({"input": "x"}, RESPONSES, stream=True) == {"model": "gpt-4o", "input": "x", "stream": True}


@pytest.mark.parametrize(
    ("body", "endpoint", "stream", "param"),
    [
        ({}, "/v1/images/generations", False, "url"),
        ({"input": "x"}, EMBEDDINGS, True, "stream"),
        ({"input": "x", "background": True}, RESPONSES, False, "background"),
        ({}, TRANSCRIPTIONS, False, "file_url"),
        ({"file_url": "https://x/a.mp3"}, TRANSCRIPTIONS, False, "file_url"),
        ({"file_url": "data:audio/mpeg;base64,A"}, TRANSCRIPTIONS, False, "file_url"),
        ({"file": {"id": "file-1"}}, TRANSCRIPTIONS, False, "file"),
        ({"file": "data:;base64,", "file_url": "data:;base64,"}, TRANSCRIPTIONS, False, "file_url"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_is_sent(
    body: dict[str, Any], endpoint: str, stream: bool, param: str
) -> None:
    with pytest.raises(Untranslatable) as caught:
        built(call(body, endpoint), stream=stream)
    assert caught.value.param == param


def test_a_model_that_takes_no_sampling_is_asked_without_and_the_caller_is_told() -> None:
    asked = call({"temperature": 0.2, "top_p": 1}, traits=ModelTraits(takes_sampling=False))
    made = OPENAI.build_request(asked, None)
    assert orjson.loads(made.request.body) == {"model": "gpt-4o", "top_p": 1}
    assert made.warnings == ("temperature: gpt-4o takes no temperature; it was left out",)


@pytest.mark.parametrize(
    ("body", "cap"),
    [
        ({"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_completion_tokens": 6}),
    ],
)
def test_the_cap_has_the_name_that_the_model_knows(body: dict[str, Any], cap: dict[str, Any]) -> None:
    traits = ModelTraits(cap_field="max_completion_tokens")
    assert sent(body, traits=traits) == {**cap, "model": "gpt-4o"}
    assert sent(body) == {**body, "model": "gpt-4o"}, "else nothing is renamed"


def test_azure_gets_its_model_in_the_path_and_its_key_bare() -> None:
    azure = OpenAI(
        "azure",
        path="/openai/deployments/{model}{endpoint}?api-version=2024-10-21",
        key_header="api-key",
        headers={"X-Team": "batch"},
    )
    request = azure.build_request(Call(CHAT, "my gpt/4o", {"messages": []}), "k").request
    assert request.path == "/openai/deployments/my%20gpt%2F4o/chat/completions?api-version=2024-10-21"
    assert (request.headers["api-key"], request.headers["x-team"]) == ("k", "batch")
    assert "authorization" not in request.headers


# --- answers


@pytest.mark.ability("openai", "chat")
@pytest.mark.ability("openai", "usage")
@pytest.mark.ability("openai", "prompt caching")
def test_an_answer_is_kept_byte_for_byte_with_its_usage() -> None:
    raw = json.dumps(CHAT_REPLY).encode()
    assert OPENAI.parse_response(call({}), ok(raw)) == Reply(
        raw, Usage(9, 12, 4, 5), "gpt-4o-2024-08-06", "req_1"
    )


@pytest.mark.ability("openai", "embedding")
def test_an_embedding_is_an_answer_too() -> None:
    value = {"object": "list", "data": [], "model": "e", "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    assert read(value, EMBEDDINGS).usage == Usage(input_tokens=3)


def test_a_response_is_counted_in_its_own_words() -> None:
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 5},
    }
    value: dict[str, Any] = {
        "object": "response",
        "status": "incomplete",
        "output": [],
        "error": None,
        "usage": usage,
    }
    reply = read({**value, "service_tier": "flex"}, RESPONSES)
    assert (reply.usage, reply.tier) == (Usage(9, 12, 4, 5, 2), "flex")


def test_an_old_completion_is_an_answer_too() -> None:
    assert built(call({"prompt": "x"}, "/v1/completions")).path == "/completions"
    assert read({"choices": [{"text": "x"}]}, "/v1/completions").usage == Usage()


def test_a_response_that_failed_is_the_error_that_it_names() -> None:
    value: dict[str, Any] = {
        "status": "failed",
        "output": [],
        "error": {"code": "image_content_policy_violation", "message": "not this"},
        "usage": {"input_tokens": 7},
    }
    with pytest.raises(ContentBlocked) as caught:
        read(value, RESPONSES)
    assert (caught.value.message, caught.value.usage) == ("not this", Usage(7))
    assert caught.value.status is None and caught.value.request_id == "req_1"


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": "busy", "code": 429}, RateLimited, 429),
        ({"message": "busy", "code": "503"}, Overloaded, 503),
        ({"message": "no", "type": "invalid_request_error"}, RequestRefused, None),
        ({"message": "no"}, Overloaded, None),
        ("busy", Overloaded, None),
        ([1], Overloaded, None),
    ],
)
def test_an_error_under_a_success_status_is_no_answer(
    error: Any, kind: type[ProviderError], status: int | None
) -> None:
    with pytest.raises(ProviderError) as caught:
        read({"error": error})
    assert type(caught.value) is kind and caught.value.status == status
    assert json.loads(caught.value.body or b"")["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("status", ["failed", "queued", "in_progress", "cancelled"])
def test_a_response_that_is_not_there_is_unusable(status: str) -> None:
    with pytest.raises(UnusableReply):
        read({"status": status, "output": []}, RESPONSES)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_indented_json_becomes_one_line(newline: str) -> None:
    raw = json.dumps(CHAT_REPLY, indent=2).replace("\n", newline).encode()
    reply = OPENAI.parse_response(call({}), ok(raw))
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
        b'{"data": []}',
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
        OPENAI.parse_response(call({}), ok(body))
    assert caught.value.retryable and caught.value.request_id == "req_1"


def test_a_model_name_without_end_is_cut() -> None:
    assert len(read({"choices": [{"index": 0}], "model": "m" * 20_000}).model) == 200


def test_an_answer_without_a_choice_is_none() -> None:
    with pytest.raises(UnusableReply):
        read({"choices": [], "usage": None})


def test_a_model_that_broke_off_within_its_choice_is_the_error_that_the_gateway_tells() -> None:
    broken = {"index": 0, "message": {"content": "Hel"}, "finish_reason": "error"}
    with pytest.raises(Overloaded, match="upstream died") as error:
        read({"choices": [{**broken, "error": {"code": 502, "message": "upstream died"}}]})
    assert error.value.status == 502


def test_a_cap_said_twice_is_sent_once_and_named() -> None:
    traits = ModelTraits(cap_field="max_completion_tokens")
    made = OPENAI.build_request(call({"max_tokens": 5, "max_completion_tokens": 6}, traits=traits), "k")
    assert orjson.loads(made.request.body)["max_completion_tokens"] == 6
    assert [warning.split(":")[0] for warning in made.warnings] == ["max_tokens"]
