"""Streams of OpenAI and its like: chunks passed on, the whole answer at the end, whatever the network cuts."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.errors import ContentBlocked, Overloaded, ProviderError, RateLimited, UnusableReply
from workers.core.messages import Call, Reply, Usage
from workers.providers.base import StreamReader
from workers.providers.openai import OpenAI

pytestmark = pytest.mark.fast
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "gpt-4o"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}


def chunk(delta: dict[str, Any] | None = None, *, index: Any = 0, end: str | None = None) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": index, "delta": delta or {}, "finish_reason": end}]}


def last(**more: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [], "usage": USAGE, **more}


def events(*chunks: Any, done: bool = True, end: str = "\n\n") -> bytes:
    lines = [f"data: {json.dumps(each)}{end}" for each in chunks]
    return "".join([*lines, f"data: [DONE]{end}" if done else ""]).encode()


def reader(endpoint: str = CHAT) -> StreamReader:
    return OpenAI().parse_stream(Call(endpoint, "gpt-4o", {}), {"x-request-id": "req_1"})


def whole(data: bytes, endpoint: str = CHAT) -> Reply:
    stream = reader(endpoint)
    stream.feed(data)
    return stream.finish()


def message(*deltas: dict[str, Any], end: str = "stop") -> dict[str, Any]:
    reply = whole(events(*(chunk(delta) for delta in deltas), chunk(end=end), last()))
    read: dict[str, Any] = orjson.loads(reply.body)["choices"][0]["message"]
    return read


PLAIN = events(
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hel"}),
    chunk({"content": "lö"}),
    chunk(end="stop"),
    last(service_tier="default", system_fingerprint="fp"),
)


@pytest.mark.ability("openai", "stream")
def test_a_stream_becomes_chunks_and_then_the_whole_completion() -> None:
    stream = reader()
    chunks = stream.feed(PLAIN)
    assert [json.loads(each)["object"] for each in chunks] == ["chat.completion.chunk"] * 5
    reply = stream.finish()
    assert (reply.usage, reply.model, reply.request_id, reply.tier) == (
        Usage(9, 12),
        "gpt-4o",
        "req_1",
        "default",
    )
    assert orjson.loads(reply.body) == {
        **HEAD,
        "object": "chat.completion",
        "service_tier": "default",
        "system_fingerprint": "fp",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hellö", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }


@settings(max_examples=20)
@given(st.lists(st.integers(0, len(PLAIN)), max_size=6))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    stream, at = reader(), 0
    for cut in [*sorted(cuts), len(PLAIN)]:
        stream.feed(PLAIN[at:cut])
        at = cut
    assert stream.finish() == whole(PLAIN)


def test_a_stream_that_comes_byte_by_byte_is_the_same() -> None:
    stream = reader()
    chunks = [each for k in range(len(PLAIN)) for each in stream.feed(PLAIN[k : k + 1])]
    assert len(chunks) == 5 and stream.finish() == whole(PLAIN)


def test_comments_line_ends_and_a_missing_last_line_are_taken_as_they_come() -> None:
    data = b": PROCESSING\r\n\r\n" + events(chunk({"content": "x"}, end="stop"), last(), end="\r\n\r\n")
    assert whole(data).usage == Usage(9, 12)
    assert whole(data.rstrip()).usage == Usage(9, 12)


@pytest.mark.ability("openai", "stream")
@pytest.mark.ability("openai", "parallel tools")
def test_parallel_calls_are_put_together_by_their_index() -> None:
    def call(index: int, **fields: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, **fields}]}

    told = message(
        call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
        call(1, id="b", type="function", function={"name": "g", "arguments": '{"y"'}),
        call(0, function={"arguments": '{"x":'}),
        call(1, function={"arguments": ":2}"}),
        call(0, function={"arguments": "1}"}),
        end="tool_calls",
    )
    assert told["content"] is None
    assert told["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y":2}'}},
    ]


def test_calls_of_servers_that_count_nothing_or_repeat_themselves_are_put_together_too() -> None:
    told = message(
        {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"function": {"name": "f", "arguments": "}"}}]},
        {"tool_calls": [{"id": "b", "type": "custom", "custom": {"name": "g", "input": "hm"}}]},
        {"tool_calls": [{"id": "c", "function": {"name": "h"}}]},
    )
    assert told["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "hm"}},
        {"id": "c", "type": "function", "function": {"name": "h", "arguments": ""}},
    ]


def test_refusals_thoughts_and_sound_are_put_together() -> None:
    told = message({"refusal": "I w"}, {"refusal": "ill not"}, {"content": None})
    assert (told["refusal"], told["content"]) == ("I will not", None)
    told = message({"reasoning_content": "h"}, {"reasoning_content": "m"}, {"content": "42", "x": [1]})
    assert (told["reasoning_content"], told["content"], told["x"]) == ("hm", "42", [1])
    told = message({"audio": {"id": "a1", "data": "AAAA"}}, {"audio": {"data": "BBBB", "expires_at": 3}})
    assert told["audio"] == {"id": "a1", "data": "AAAABBBB", "expires_at": 3}


def test_several_choices_and_their_log_probabilities_are_kept_apart() -> None:
    def token(index: int, text: str) -> dict[str, Any]:
        made = chunk({"content": text}, index=index)
        made["choices"][0]["logprobs"] = {"content": [{"token": text}], "refusal": None}
        return made

    ends = [chunk(index=1, end="length"), chunk(index=0, end="stop")]
    reply = whole(events(token(1, "b"), token(0, "a"), token(1, "c"), *ends, last()))
    first, second = orjson.loads(reply.body)["choices"]
    assert (first["message"]["content"], first["finish_reason"]) == ("a", "stop")
    assert (second["message"]["content"], second["finish_reason"]) == ("bc", "length")
    assert second["logprobs"] == {"content": [{"token": "b"}, {"token": "c"}], "refusal": None}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        events(done=True),
        events(chunk({"content": "x"}), done=False),
        events(chunk({"content": "x"}), done=True),
        events(chunk({"content": "x"}, end="stop"), done=False),
        events(chunk(end="stop"), chunk({"content": "x"}, index=1), last()),
        events(chunk(end="stop"), last())[:-30],
    ],
)
def test_a_stream_that_was_cut_short_is_unusable(data: bytes) -> None:
    with pytest.raises(UnusableReply):
        whole(data)


def test_a_stream_without_its_end_mark_is_whole_once_its_usage_came() -> None:
    assert whole(events(chunk({"content": "x"}, end="stop"), last(), done=False)).usage == Usage(9, 12)


def test_what_comes_after_the_end_is_not_read() -> None:
    stream = reader()
    stream.feed(PLAIN + b"data: garbage\n\n")
    assert stream.feed(b"data: more\n\n") == []
    assert stream.finish().usage == Usage(9, 12)


@pytest.mark.parametrize(
    "data",
    [
        b"data: [1]\n\n",
        b"data: {\n\n",
        b"data: 7\n\n",
        events({"choices": 7}),
        events({"choices": [7]}),
        events(chunk({"tool_calls": [{"index": "x"}]})),
        events(chunk(index=[])),
        events(chunk({"tool_calls": [{"index": 0, "type": {}}]}, end="stop"), last()),
        events(chunk(end="stop"), last(usage={"prompt_tokens": -1})),
    ],
)
def test_what_is_no_chunk_is_unusable_or_ignored_but_nothing_else(data: bytes) -> None:
    stream = reader()
    try:
        stream.feed(data)
        stream.finish()
    except ProviderError:
        return


@pytest.mark.ability("openai", "errors")
@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (events({"error": {"message": "busy", "type": "server_error"}}), Overloaded, "busy"),
        (events({"error": {"message": "slow", "code": "rate_limit_exceeded"}}), RateLimited, "slow"),
        (events({"error": {"message": "hot", "code": 429}}), RateLimited, "hot"),
        (events({"error": "dead"}), Overloaded, "dead"),
        (b'event: error\ndata: {"message": "gone"}\n\n', Overloaded, "gone"),
        (events({"error": {"message": "no", "code": "content_filter"}}), ContentBlocked, "no"),
    ],
)
def test_an_error_inside_a_stream_is_the_error_that_it_names(
    data: bytes, kind: type[ProviderError], text: str
) -> None:
    stream = reader()
    stream.feed(events(chunk({"content": "x"}), done=False))
    with pytest.raises(kind) as caught:
        stream.feed(data)
    assert caught.value.message == text and caught.value.request_id == "req_1"


# --- responses


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-4o",
    "status": "completed",
    "error": None,
    "output": [],
    "usage": {"input_tokens": 3, "output_tokens": 4},
}
BEGUN = event("response.created", response={**RESPONSE, "status": "in_progress"})
DELTA = event("response.output_text.delta", delta="x")


@pytest.mark.ability("openai", "stream")
@pytest.mark.parametrize(("kind", "status"), [("completed", "completed"), ("incomplete", "incomplete")])
def test_a_streamed_response_passes_its_events_on_and_ends_with_the_whole(kind: str, status: str) -> None:
    stream = reader(RESPONSES)
    final = {**RESPONSE, "status": status}
    chunks = stream.feed(BEGUN + DELTA + event(f"response.{kind}", response=final))
    assert [json.loads(each)["type"] for each in chunks] == [
        "response.created",
        "response.output_text.delta",
        f"response.{kind}",
    ]
    reply = stream.finish()
    assert orjson.loads(reply.body) == final and reply.usage == Usage(3, 4)


def test_a_streamed_response_without_its_last_event_is_unusable() -> None:
    with pytest.raises(UnusableReply):
        whole(BEGUN + DELTA, RESPONSES)


def test_a_streamed_response_that_failed_is_the_error_that_it_names() -> None:
    failed = {**RESPONSE, "status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}
    with pytest.raises(RateLimited) as caught:
        whole(BEGUN + event("response.failed", response=failed), RESPONSES)
    assert caught.value.usage == Usage(3, 4)
    with pytest.raises(Overloaded):
        whole(event("response.failed", response={**failed, "error": None}), RESPONSES)
    with pytest.raises(Overloaded) as caught_too:
        whole(events({"type": "error", "code": "server_error", "message": "gone"}), RESPONSES)
    assert caught_too.value.message == "gone"


def test_parallel_calls_that_a_server_counts_as_the_same_one_stay_apart() -> None:
    calls = [
        [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":'}}],
        [{"index": 0, "id": "a", "function": {"arguments": "1}"}}],
        [{"index": 0, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{"}}],
        [{"index": 0, "function": {"arguments": "}"}}],
    ]
    told = message(*({"tool_calls": each} for each in calls), end="tool_calls")["tool_calls"]
    assert [(each["id"], each["function"]["name"], each["function"]["arguments"]) for each in told] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", "{}"),
    ]


def test_lists_that_come_in_pieces_are_all_kept() -> None:
    told = message({"annotations": [{"type": "a"}]}, {"content": "x"}, {"annotations": [{"type": "b"}]})
    assert told["annotations"] == [{"type": "a"}, {"type": "b"}]
