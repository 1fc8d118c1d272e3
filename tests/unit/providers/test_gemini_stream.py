"""A streamed Gemini answer, whatever pieces the network brings it in."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.errors import ContentBlocked, ProviderError, RateLimited, UnusableReply
from workers.core.messages import Call, Reply, Usage
from workers.providers.gemini import Gemini

CALL = Call("/v1/chat/completions", "gemini-2.5-flash", {})
HEAD = {"modelVersion": "gemini-2.5-flash-001", "responseId": "r1"}


def event(*parts: dict[str, Any], ends: str = "", **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if ends:
        candidate["finishReason"] = ends
    return {"candidates": [candidate], **HEAD, **more}


EVENTS = [
    event({"text": "Hm. ", "thought": True}, usageMetadata={"promptTokenCount": 7}),
    event({"text": "Größe"}, {"text": " 3"}),
    event(
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "g", "id": "own"}},
    ),
    event(
        ends="STOP",
        usageMetadata={"promptTokenCount": 7, "candidatesTokenCount": 5, "thoughtsTokenCount": 2},
    ),
]


def wire(*events: Any, newline: str = "\r\n") -> bytes:
    return "".join(f"data: {json.dumps(each, ensure_ascii=False)}{newline * 2}" for each in events).encode()


def stream(*pieces: bytes) -> tuple[list[dict[str, Any]], Reply]:
    reader = Gemini().parse_stream(CALL, {"date": "Sun, 06 Nov 1994 12:00:00 GMT"})
    chunks = [orjson.loads(chunk) for piece in pieces for chunk in reader.feed(piece)]
    return chunks, reader.finish()


def failure(*pieces: bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        stream(*pieces)
    return caught.value


@pytest.mark.ability("gemini", "stream")
@pytest.mark.ability("gemini", "usage")
def test_a_stream_gives_chunks_and_then_the_whole_answer() -> None:
    chunks, reply = stream(wire(*EVENTS))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "reasoning_content": "Hm. "}
    assert "".join(delta.get("content", "") for delta in deltas) == "Größe 3"
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [(call["index"], call["id"]) for call in calls] == [(0, "call_0_r1"), (1, "own")]
    assert calls[0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["completion_tokens"] == 7
    assert {(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks} == {
        ("r1", "gemini-2.5-flash-001", 784123200)
    }
    assert reply.usage == Usage(input_tokens=7, output_tokens=7, reasoning_tokens=2)
    message = orjson.loads(reply.body)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Größe 3", "Hm. ")
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}


WIRE = wire(*EVENTS)


@pytest.mark.ability("gemini", "stream")
@settings(max_examples=20)
@given(st.lists(st.integers(0, len(WIRE)), max_size=6))
def test_where_the_network_cuts_a_stream_changes_nothing(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WIRE)]
    pieces = [WIRE[start:end] for start, end in pairwise(places)]
    assert stream(*pieces) == stream(WIRE)


def test_a_stream_cut_at_any_byte_is_whole_or_unusable() -> None:
    whole = stream(WIRE)[1]
    for end in range(len(WIRE)):
        reader = Gemini().parse_stream(CALL, {"date": "Sun, 06 Nov 1994 12:00:00 GMT"})
        reader.feed(WIRE[:end])
        try:
            assert reader.finish() == whole
        except UnusableReply:
            continue
        assert end > len(WIRE) - 5


def test_a_filter_that_stops_an_answer_ends_it() -> None:
    chunks, reply = stream(wire(event({"text": "so "}), event(ends="SAFETY")))
    assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"
    assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == "so "


@pytest.mark.ability("gemini", "errors")
def test_a_stream_that_a_filter_keeps_back_is_content_blocked() -> None:
    usage = {"promptTokenCount": 3}
    for blocked in (
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage},
        event(ends="SAFETY", usageMetadata=usage),
    ):
        error = failure(wire(blocked))
        assert isinstance(error, ContentBlocked) and error.usage == Usage(input_tokens=3)


@pytest.mark.ability("gemini", "errors")
@pytest.mark.parametrize("in_array", [False, True])
def test_an_error_inside_a_stream_is_that_error(in_array: bool) -> None:
    error = {
        "error": {
            "code": 429,
            "message": "slow down",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}],
        }
    }
    found = failure(wire(event({"text": "a"}), [error] if in_array else error))
    assert isinstance(found, RateLimited)
    assert (found.status, found.retry_after_s) == (429, 2.0)


def test_a_responses_call_ends_with_a_response_object() -> None:
    asked = Call("/v1/responses", "gemini-2.5-flash", {"input": "hi"})
    path = Gemini().build_request(asked, None, stream=True).request.path
    assert path.endswith(":streamGenerateContent?alt=sse")
    reader = Gemini().parse_stream(asked, {})
    assert (
        orjson.loads(reader.feed(wire(event({"text": "a"}, ends="STOP")))[0])["object"]
        == "chat.completion.chunk"
    )
    assert orjson.loads(reader.finish().body)["object"] == "response"


def test_a_finish_reason_told_twice_ends_the_answer_once() -> None:
    chunks, reply = stream(wire(event({"text": "a"}, ends="STOP"), event({"text": "b"}, ends="STOP")))
    ends = [chunk for chunk in chunks if chunk["choices"][0]["finish_reason"]]
    assert len(ends) == 1
    assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == "ab"


def test_other_candidates_than_the_first_are_not_mixed_in() -> None:
    other = {"candidates": [{"index": 1, "content": {"parts": [{"text": "x"}]}}]}
    _, reply = stream(wire(other, event({"text": "a"}, ends="STOP")))
    assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == "a"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        wire(*EVENTS[:-1]),
        b"data: {\n\n",
        b"data: 3\n\n",
        wire({"candidates": 3}),
        wire({"candidates": [3]}),
        wire(event(ends="MALFORMED_FUNCTION_CALL")),
        wire(event({"text": 3})),
    ],
)
def test_what_is_no_stream_is_unusable(data: bytes) -> None:
    assert type(failure(data)) is UnusableReply


@settings(max_examples=20)
@given(
    st.lists(
        st.binary(max_size=20) | st.sampled_from([wire(each) for each in EVENTS] + [b"data: "]), max_size=5
    )
)
def test_any_bytes_are_an_answer_or_a_provider_error(pieces: list[bytes]) -> None:
    try:
        _, reply = stream(*pieces)
    except ProviderError:
        return
    assert b"\n" not in reply.body
