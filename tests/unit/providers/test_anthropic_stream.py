"""Streamed messages of Anthropic: the same answer however the bytes are cut, errors and silence where they belong."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core import errors
from workers.core.errors import ContentBlocked, ProviderError, UnusableReply
from workers.core.messages import Call, Reply, Usage
from workers.providers.anthropic import Anthropic

pytestmark = pytest.mark.ability("anthropic", "stream")

HEADERS = {"request-id": "req_1", "date": "Sun, 06 Nov 1994 12:00:00 GMT"}
WANTED = {
    "type": "json_schema",
    "json_schema": {"name": "song", "schema": {"type": "object", "properties": {}}},
}


def event(kind: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **data}))


def start(**usage: int) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1", "content": []}
    counted = {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1, **usage}
    return event("message_start", message={**message, "stop_reason": None, "usage": counted})


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    told = [event("content_block_start", index=index, content_block=content)]
    told += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return b"".join([*told, event("content_block_stop", index=index)])


def words(index: int, *texts: str) -> bytes:
    return block(
        index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": each} for each in texts)
    )


def use(index: int, name: str, *parts: str) -> bytes:
    content = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
    return block(index, content, *({"type": "input_json_delta", "partial_json": each} for each in parts))


def end(stop_reason: str = "end_turn", **more: Any) -> bytes:
    delta = {"stop_reason": stop_reason, "stop_sequence": None, **more}
    return event("message_delta", delta=delta, usage={"output_tokens": 20}) + event("message_stop")


THINKING = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "hm"},
    {"type": "signature_delta", "signature": "s"},
)
WHOLE = b"".join(
    [
        start(),
        event("ping"),
        THINKING,
        words(1, "Good ", "däy"),
        event("something_new", index=9),
        use(2, "a", "", '{"x":', '"é"}'),
        block(
            3,
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": "{"},
        ),
        use(4, "b", "", "{}"),
        use(5, "c"),
        end("tool_use"),
    ]
)


def run(
    pieces: Sequence[bytes], *, endpoint: str = "/v1/chat/completions", **body: Any
) -> tuple[list[Any], Reply]:
    call = Call(endpoint, "claude", body or {"messages": []})
    reader = Anthropic().parse_stream(call, HEADERS)
    chunks = [orjson.loads(chunk) for piece in pieces for chunk in reader.feed(piece)]
    return chunks, reader.finish()


def said(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


@pytest.mark.ability("anthropic", "parallel tools")
def test_a_stream_is_told_in_chunks_and_as_a_whole() -> None:
    chunks, reply = run([WHOLE])
    assert {(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks} == {
        ("msg_1", "claude-1", 784123200)
    }
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "reasoning_content": "hm"}
    assert said(chunks) == "Good däy"
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["prompt_tokens"] == 15
    message = orjson.loads(reply.body)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Good däy", "hm")
    called = [(call["id"], *call["function"].values()) for call in message["tool_calls"]]
    assert called == [("toolu_2", "a", '{"x":"é"}'), ("toolu_4", "b", "{}"), ("toolu_5", "c", "{}")]
    assert (reply.usage, reply.request_id) == (Usage(15, 20, 5), "req_1")


EXPECTED = run([WHOLE])


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
@settings(max_examples=20)
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    assert run([WHOLE[a:b] for a, b in itertools.pairwise(edges)]) == EXPECTED


def test_each_single_cut_gives_the_same_answer() -> None:
    for k in range(0, len(WHOLE), 7):
        assert run([WHOLE[:k], WHOLE[k:]]) == EXPECTED
    assert run([WHOLE[k : k + 1] for k in range(len(WHOLE))]) == EXPECTED


def test_a_stream_that_stops_before_its_end_is_no_answer() -> None:
    last = WHOLE.rindex(b"event: message_stop")
    for k in range(0, last, 37):
        with pytest.raises(UnusableReply):
            run([WHOLE[:k]])


@pytest.mark.ability("anthropic", "usage")
def test_the_last_counts_win() -> None:
    counted = event(
        "message_delta",
        delta={"stop_reason": "end_turn"},
        usage={
            "input_tokens": 30,
            "output_tokens": 9,
            "cache_read_input_tokens": None,
            "cache_creation_input_tokens": 4,
        },
    )
    _, reply = run([start(), words(0, "x"), counted, event("message_stop")])
    assert reply.usage == Usage(39, 9, 5, 0, 4)


@pytest.mark.ability("anthropic", "schema")
def test_the_answer_tools_input_is_streamed_as_text() -> None:
    asked: dict[str, Any] = {"messages": [], "response_format": WANTED}
    chunks, reply = run([start(), words(0, "Here:"), use(1, "song", '{"a"', ":1}"), end("tool_use")], **asked)
    choice = orjson.loads(reply.body)["choices"][0]
    assert (said(chunks), choice["message"]["content"], choice["finish_reason"]) == (
        '{"a":1}',
        '{"a":1}',
        "stop",
    )
    assert "tool_calls" not in choice["message"]
    assert said(run([start(), use(0, "song"), end("tool_use")], **asked)[0]) == "{}"
    assert said(run([start(), words(0, "I ", "cannot"), end()], **asked)[0]) == "I cannot"


def test_a_tool_input_that_comes_at_once_is_kept() -> None:
    content = {"type": "tool_use", "id": "t", "name": "a", "input": {"x": 1}}
    _, reply = run([start(), block(0, content), end("tool_use")])
    call = orjson.loads(reply.body)["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["arguments"] == '{"x":1}'


def test_a_responses_stream_ends_in_a_response_object() -> None:
    _, reply = run([start(), words(0, "hi"), end()], endpoint="/v1/responses", input="hello")
    assert orjson.loads(reply.body)["object"] == "response"


def test_a_refusal_before_the_first_word_is_an_error() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": None}
    with pytest.raises(ContentBlocked) as refused:
        run([start(), end("refusal", stop_details=details)])
    assert (refused.value.message, refused.value.usage) == ("refused: cyber", Usage(15, 20, 5))
    _, reply = run([start(), words(0, "Well"), end("refusal")])
    assert orjson.loads(reply.body)["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    ("kind", "expected", "status"),
    [
        ("overloaded_error", errors.Overloaded, 529),
        ("rate_limit_error", errors.RateLimited, 429),
        ("invalid_request_error", errors.RequestRefused, 400),
        ("new_error", errors.Overloaded, 500),
    ],
)
@pytest.mark.ability("anthropic", "errors")
def test_an_error_inside_a_stream_is_the_streams(
    kind: str, expected: type[ProviderError], status: int
) -> None:
    told = event("error", error={"type": kind, "message": "no more"})
    with pytest.raises(ProviderError) as raised:
        run([start(), words(0, "He"), told])
    assert type(raised.value) is expected
    assert (raised.value.status, raised.value.request_id) == (status, "req_1")


@given(st.integers(0, len(WHOLE)), st.binary(max_size=8), st.integers(0, 20))
def test_any_bytes_give_an_answer_or_a_provider_error(at: int, noise: bytes, dropped: int) -> None:
    try:
        _, reply = run([WHOLE[:at], noise, WHOLE[at + dropped :]])
    except ProviderError:
        return
    assert b"\n" not in reply.body


@given(
    st.sampled_from(
        ["message_start", "content_block_start", "content_block_delta", "message_delta", "error"]
    ),
    st.dictionaries(
        st.sampled_from(["index", "delta", "content_block", "message", "usage", "error"]),
        st.recursive(
            st.none() | st.integers(-1, 3) | st.sampled_from(["text", "tool_use", "text_delta"]),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["type", "text", "id", "name", "input", "stop_reason"]), inner
                )
            ),
            max_leaves=5,
        ),
    ),
)
def test_any_event_gives_an_answer_or_a_provider_error(kind: str, data: dict[str, Any]) -> None:
    try:
        run([start(), words(0, "x"), event(kind, **data), end()])
    except ProviderError as error:
        raised = error.provider
    else:
        raised = "anthropic"
    assert raised == "anthropic"


def test_parts_of_a_stream_that_a_chat_has_no_place_for_are_named() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    cited = block(
        1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "a"}, {"type": "citations_delta"}
    )
    stream = Anthropic().parse_stream(Call("/v1/chat/completions", "claude", {}), {})
    stream.feed(start() + block(0, search) + cited + end())
    assert [warning.split(":")[0] for warning in stream.finish().warnings] == ["server_tool_use", "citations"]
