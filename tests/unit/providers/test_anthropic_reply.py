"""Answers of Anthropic in the OpenAI shape, from bytes as its API reference shows them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import ModelTraits
from workers.core.errors import ContentBlocked, Overloaded, ProviderError, UnusableReply
from workers.core.messages import Call, HttpResponse, Reply, Usage
from workers.providers.anthropic import Anthropic

CHAT = "/v1/chat/completions"
HEADERS = {"request-id": "req_1", "date": "Sun, 06 Nov 1994 12:00:00 GMT"}
HELLO = [{"role": "user", "content": "hello"}]
WANTED = {
    "type": "json_schema",
    "json_schema": {"name": "song", "schema": {"type": "object", "properties": {}}},
}
USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 300,
    "output_tokens": 40,
    "output_tokens_details": {"thinking_tokens": 7},
    "service_tier": "priority",
}


def message(*content: Any, stop_reason: Any = "end_turn", **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-1",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(name: str, arguments: Any, k: int = 1) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{k}", "name": name, "input": arguments}


def read(data: Any, *, endpoint: str = CHAT, **body: Any) -> Reply:
    call = Call(endpoint, "claude", {"messages": HELLO, **body} if endpoint == CHAT else body)
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    return Anthropic().parse_response(call, HttpResponse(200, HEADERS, raw))


def choice(reply: Reply) -> Any:
    return orjson.loads(reply.body)["choices"][0]


@pytest.mark.ability("anthropic", "chat")
def test_a_message_becomes_a_chat_completion() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    reply = read(message(thinking, hidden, text("Good "), text("day")))
    assert orjson.loads(reply.body) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 784123200,
        "model": "claude-1",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Good day",
                    "refusal": None,
                    "reasoning_content": "hm",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 2310,
            "completion_tokens": 40,
            "total_tokens": 2350,
            "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 300},
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
    }
    assert (reply.model, reply.request_id, reply.tier) == ("claude-1", "req_1", "priority")
    assert b"\n" not in reply.body


@pytest.mark.ability("anthropic", "usage")
def test_input_tokens_are_those_read_written_and_plain() -> None:
    assert read(message(text("x"))).usage == Usage(2310, 40, 2000, 7, 300)
    short = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": None}
    assert read(message(text("x"), usage=short)).usage == Usage(1, 2)


@pytest.mark.parametrize("count", [-1, 1.5, "3", True, 2**53])
def test_a_count_that_is_none_makes_the_reply_unusable(count: Any) -> None:
    with pytest.raises(UnusableReply):
        read(message(text("x"), usage={"input_tokens": count, "output_tokens": 1}))


@pytest.mark.ability("anthropic", "parallel tools")
def test_tool_uses_become_tool_calls() -> None:
    reply = read(message(text("I look."), use("a", {"x": "é"}), use("b", {}, 2), stop_reason="tool_use"))
    assert choice(reply)["finish_reason"] == "tool_calls"
    assert choice(reply)["message"]["content"] == "I look."
    assert choice(reply)["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "a", "arguments": '{"x":"é"}'}},
        {"id": "toolu_2", "type": "function", "function": {"name": "b", "arguments": "{}"}},
    ]
    assert choice(read(message(use("a", {}), stop_reason="tool_use")))["message"]["content"] is None


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_each_stop_reason_has_its_word(stop_reason: str, finish: str) -> None:
    reply = read(message(text("x"), stop_reason=stop_reason))
    assert choice(reply)["finish_reason"] == finish
    assert len(reply.warnings) == (stop_reason == "pause_turn")


def test_a_cap_used_up_before_the_first_word_gives_an_empty_text() -> None:
    assert choice(read(message(stop_reason="max_tokens")))["message"]["content"] == ""


@pytest.mark.ability("anthropic", "schema")
def test_the_answer_tools_input_is_the_text() -> None:
    reply = read(message(use("song", {"a": 1}), stop_reason="tool_use"), response_format=WANTED)
    assert choice(reply)["finish_reason"] == "stop"
    assert choice(reply)["message"] == {"role": "assistant", "content": '{"a":1}', "refusal": None}


def test_a_callers_tool_beside_the_answer_is_called() -> None:
    reply = read(message(use("look", {}), stop_reason="tool_use"), response_format=WANTED)
    assert choice(reply)["finish_reason"] == "tool_calls"


def test_with_the_native_format_no_tool_is_taken_for_the_answer() -> None:
    call = Call(
        CHAT, "claude", {"messages": HELLO, "response_format": WANTED}, {}, ModelTraits(native_schema=True)
    )
    raw = orjson.dumps(message(use("song", {}), stop_reason="tool_use"))
    reply = Anthropic().parse_response(call, HttpResponse(200, HEADERS, raw))
    assert choice(reply)["finish_reason"] == "tool_calls"


def test_a_refusal_without_a_word_is_an_error_with_what_it_cost() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "not this"}
    with pytest.raises(ContentBlocked) as refused:
        read(message(stop_reason="refusal", stop_details=details))
    error = refused.value
    assert (error.status, error.provider_code, error.request_id) == (400, "refusal", "req_1")
    assert error.usage == Usage(2310, 40, 2000, 7, 300)
    assert orjson.loads(error.body or b"")["error"] == {
        "message": "refused: not this",
        "type": "refusal",
        "param": None,
        "code": "content_filter",
    }


def test_a_responses_request_gets_a_response_object() -> None:
    body = orjson.loads(read(message(text("hi")), endpoint="/v1/responses", input="hello").body)
    assert (body["object"], body["status"]) == ("response", "completed")
    assert body["output"][0]["content"][0]["text"] == "hi"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>busy</html>",
        orjson.dumps(message(text("hello")))[:-9],
        b"[]",
        b"{}",
        orjson.dumps(message(text("x"), stop_reason=None)),
        orjson.dumps(message({"type": "text"})),
    ],
)
def test_a_body_that_is_no_message_is_unusable(raw: bytes) -> None:
    with pytest.raises(UnusableReply) as unusable:
        read(raw)
    assert unusable.value.request_id == "req_1"


def test_an_error_in_the_place_of_a_message_is_told_as_what_it_is() -> None:
    with pytest.raises(Overloaded) as told:
        read(orjson.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}))
    assert told.value.status == 529


def test_parts_of_an_answer_that_a_chat_has_no_place_for_are_named() -> None:
    blocks = [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {**text("a"), "citations": [{"type": "char_location"}]},
    ]
    warnings = read(message(*blocks)).warnings
    assert [warning.split(":")[0] for warning in warnings] == ["server_tool_use", "citations"]


# --- laws


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
blocks = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "tool_use", "new"])},
    optional={
        "text": json_values,
        "thinking": json_values,
        "input": json_values,
        "name": json_values,
        "id": json_values,
    },
)
spoilt = st.dictionaries(
    st.sampled_from(["id", "model", "content", "stop_reason", "usage", "stop_details"]), json_values
)
# The standard library writes what orjson does not: NaN and numbers of any size.
bodies = st.binary(max_size=30) | st.builds(
    lambda content, bad: json.dumps(message(*content, **bad)).encode(), st.lists(blocks, max_size=3), spoilt
)


@given(bodies, st.integers(200, 599))
def test_any_bytes_give_a_reply_or_a_provider_error(raw: bytes, status: int) -> None:
    error = Anthropic().parse_error(HttpResponse(status, {}, raw))
    assert error.status is not None
    assert error.status >= 400
    assert b"\n" not in (error.body or b"\n")
    try:
        reply = read(raw, response_format=WANTED)
    except ProviderError:
        return
    assert b"\n" not in reply.body
    assert len(reply.model) <= 200
