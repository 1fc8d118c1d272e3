"""What Ollama answers: whole objects, streams cut anywhere, failures; shapes of its published API document."""

from __future__ import annotations

import base64
import struct
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers.core.errors import (
    ContextTooLong,
    KeyRefused,
    ModelUnknown,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    UnusableReply,
)
from workers.core.messages import Call, HttpResponse, Reply, Usage
from workers.providers.ollama import Ollama

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
OLLAMA = Ollama()
AT = "2024-07-22T20:33:28.123648215Z"
AT_S = 1721680408
END = {
    "done_reason": "stop",
    "done": True,
    "total_duration": 885095291,
    "prompt_eval_count": 26,
    "eval_count": 12,
}
WEATHER = {"function": {"name": "weather", "arguments": {"place": "Rome", "days": 2}}}


def chat_object(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "llama3.2", "created_at": AT, "message": {"role": "assistant", **message}, **END, **more}


def read(data: object, endpoint: str = CHAT, **body: Any) -> Reply:
    response = HttpResponse(200, {}, data if isinstance(data, bytes) else orjson.dumps(data))
    return OLLAMA.parse_response(Call(endpoint, "llama3.2", body), response)


def choice_of(reply: Reply) -> dict[str, Any]:
    choice: dict[str, Any] = orjson.loads(reply.body)["choices"][0]
    return choice


@pytest.mark.ability("ollama", "chat")
@pytest.mark.ability("ollama", "usage")
def test_an_answer_is_a_chat_completion_with_its_counts() -> None:
    reply = read(chat_object({"content": "hi", "thinking": "a greeting"}))
    data = orjson.loads(reply.body)
    assert reply.usage == Usage(input_tokens=26, output_tokens=12)
    assert reply.model == "llama3.2"
    assert (data["object"], data["created"], data["id"]) == (
        "chat.completion",
        AT_S,
        "chatcmpl-20240722203328123648215",
    )
    assert data["usage"]["total_tokens"] == 38
    message = choice_of(reply)["message"]
    assert (message["content"], message["reasoning_content"]) == ("hi", "a greeting")
    assert choice_of(reply)["finish_reason"] == "stop"


@pytest.mark.ability("ollama", "parallel tools")
@pytest.mark.ability("ollama", "tools")
def test_calls_get_json_text_and_names_where_the_server_gives_none() -> None:
    named = {"id": "call_x7", **WEATHER}
    choice = choice_of(read(chat_object({"content": "", "tool_calls": [WEATHER, named]})))
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["call_0", "call_x7"]
    assert choice["message"]["tool_calls"][0]["function"] == {
        "name": "weather",
        "arguments": '{"place":"Rome","days":2}',
    }


@pytest.mark.parametrize(
    ("done_reason", "finish_reason"), [("stop", "stop"), ("length", "length"), ("load", "stop"), ("", "stop")]
)
def test_done_reasons_are_finish_reasons(done_reason: str, finish_reason: str) -> None:
    found = choice_of(read(chat_object({"content": "x"}, done_reason=done_reason)))
    assert found["finish_reason"] == finish_reason


def test_missing_counts_and_times_are_zero() -> None:
    reply = read({"message": {"content": "x"}, "done": True})
    assert reply.usage == Usage()
    assert orjson.loads(reply.body)["created"] == 0


def test_log_probabilities_have_openais_shape_and_their_lack_is_said() -> None:
    top = {"token": "h", "logprob": -1.5}
    told = [{"token": "hi", "logprob": -0.25, "bytes": [104, 105], "top_logprobs": [top]}]
    reply = read(chat_object({"content": "hi"}, logprobs=told), logprobs=True)
    assert reply.warnings == ()
    assert choice_of(reply)["logprobs"] == {
        "content": [
            {
                "token": "hi",
                "logprob": -0.25,
                "bytes": [104, 105],
                "top_logprobs": [{"token": "h", "logprob": -1.5, "bytes": None}],
            }
        ],
        "refusal": None,
    }
    assert "logprobs" in read(chat_object({"content": "hi"}), logprobs=True).warnings[0]


def test_a_completion_is_a_text_completion() -> None:
    data = {"model": "m", "created_at": AT, "response": "return b", **END}
    completion = orjson.loads(read(data, COMPLETIONS).body)
    assert completion["object"] == "text_completion"
    assert completion["id"].startswith("cmpl-")
    assert completion["choices"] == [
        {"index": 0, "logprobs": None, "finish_reason": "stop", "text": "return b"}
    ]


def test_a_response_is_told_as_a_response_object() -> None:
    reply = read(chat_object({"content": "hi"}), RESPONSES, input="hello")
    assert orjson.loads(reply.body)["object"] == "response"
    assert reply.usage == Usage(26, 12)


@pytest.mark.ability("ollama", "embedding")
def test_embeddings_come_as_floats_or_packed() -> None:
    data = {"model": "nomic-embed-text", "embeddings": [[0.5, 1], [0.25, -1.0]], "prompt_eval_count": 8}
    reply = read(data, EMBEDDINGS, input=["a", "b"])
    assert reply.usage == Usage(input_tokens=8)
    assert [each["embedding"] for each in orjson.loads(reply.body)["data"]] == [[0.5, 1], [0.25, -1.0]]
    packed = read(data, EMBEDDINGS, input=["a", "b"], encoding_format="base64")
    first = base64.b64decode(orjson.loads(packed.body)["data"][0]["embedding"])
    assert struct.unpack("<2f", first) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("data", "more"),
    [
        ({"embeddings": [[0.5]]}, {"input": ["a", "b"]}),
        ({"embeddings": [["x"]]}, {"input": "a"}),
        ({"embeddings": [[1e300]]}, {"input": "a", "encoding_format": "base64"}),
        ({"embeddings": None}, {"input": "a"}),
    ],
)
def test_other_embeddings_than_asked_for_are_no_answer(data: dict[str, Any], more: dict[str, Any]) -> None:
    with pytest.raises(UnusableReply):
        read(data, EMBEDDINGS, **more)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"message":null}',
        orjson.dumps(chat_object({"content": "cut"}, done=False)),
        orjson.dumps(chat_object({"content": 1})),
        orjson.dumps(chat_object({"content": "x"}, eval_count=-1)),
        orjson.dumps(chat_object({"content": "x"}, eval_count="9")),
        orjson.dumps(chat_object({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]})),
    ],
)
def test_what_is_no_answer_is_asked_for_again(data: bytes) -> None:
    with pytest.raises(UnusableReply):
        read(data)


def test_a_stored_model_name_is_bounded() -> None:
    assert len(read(chat_object({"content": "x"}, model="m" * 5000)).model) == 200


# --- streams


def lines(*objects: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps({"model": "llama3.2", "created_at": AT, **each}) + b"\n" for each in objects)


def message(**fields: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "", **fields}, "done": False}


STREAM = lines(
    message(thinking="a gr"),
    message(thinking="eeting"),
    message(content="gru\u0308"),
    message(content="\u00df dich"),
    message(tool_calls=[WEATHER]),
    message(tool_calls=[WEATHER]),
    {**message(), **END},
)
WHOLE = chat_object(
    {"content": "gru\u0308\u00df dich", "thinking": "a greeting", "tool_calls": [WEATHER, WEATHER]}
)


def streamed(pieces: list[bytes], endpoint: str = CHAT, **body: Any) -> tuple[list[dict[str, Any]], Reply]:
    reader = OLLAMA.parse_stream(Call(endpoint, "llama3.2", body), {})
    chunks = [orjson.loads(chunk) for piece in pieces for chunk in reader.feed(piece)]
    return chunks, reader.finish()


@pytest.mark.ability("ollama", "stream")
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=6))
@example(cuts=list(range(len(STREAM))))
def test_a_stream_cut_anywhere_is_the_whole_answer(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(STREAM)]
    chunks, reply = streamed([STREAM[a:b] for a, b in pairwise(at)])
    assert reply == read(WHOLE)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content") or "" for delta in deltas) == "gru\u0308\u00df dich"
    assert deltas[0]["role"] == "assistant"
    assert [delta["tool_calls"][0]["index"] for delta in deltas if "tool_calls" in delta] == [0, 1]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["prompt_tokens"] == 26


def test_the_last_line_may_lack_its_end() -> None:
    _, reply = streamed([STREAM.removesuffix(b"\n")])
    assert reply == read(WHOLE)


def test_a_stream_of_a_completion_gives_text_chunks() -> None:
    pieces = lines(
        {"response": "a", "done": False}, {"response": "b", "done": False}, {"response": "", **END}
    )
    chunks, reply = streamed([pieces], COMPLETIONS)
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a", "b", ""]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert choice_of(reply)["text"] == "ab"


def test_a_stream_tells_log_probabilities_with_their_words() -> None:
    told = [{"token": "a", "logprob": -1.0}]
    pieces = lines(
        {**message(content="a"), "logprobs": told}, {**message(), "logprobs": told}, {**message(), **END}
    )
    chunks, reply = streamed([pieces], logprobs=True)
    assert chunks[0]["choices"][0]["logprobs"]["content"][0]["token"] == "a"
    assert len(choice_of(reply)["logprobs"]["content"]) == 2


def test_a_streamed_response_ends_as_a_response_object() -> None:
    _, reply = streamed([lines(message(content="a"), {**message(), **END})], RESPONSES, input="x")
    assert orjson.loads(reply.body)["object"] == "response"


def test_a_stream_that_is_cut_short_is_no_answer() -> None:
    reader = OLLAMA.parse_stream(Call(CHAT, "m", {}), {})
    reader.feed(lines(message(content="a")))
    with pytest.raises(UnusableReply):
        reader.finish()


def test_an_error_inside_a_stream_is_that_error() -> None:
    reader = OLLAMA.parse_stream(Call(CHAT, "m", {}), {})
    reader.feed(lines(message(content="a")))
    with pytest.raises(Overloaded, match="llama runner process has terminated"):
        reader.feed(b'{"error":"llama runner process has terminated: signal: killed"}\n')


# --- failures


def failure(sentence: object, status: int, **headers: str) -> ProviderError:
    response = HttpResponse(status, headers, orjson.dumps({"error": sentence}))
    error = OLLAMA.parse_error(response)
    assert b"\n" not in (error.body or b"")
    assert set(orjson.loads(error.body or b"")["error"]) == {"message", "type", "param", "code"}
    return error


@pytest.mark.ability("ollama", "errors")
@pytest.mark.parametrize(
    ("sentence", "status", "kind"),
    [
        ("model 'qwen9:7b' not found", 404, ModelUnknown),
        ('model "qwen9:7b" not found, try pulling it first', 404, ModelUnknown),
        ('"llama2" does not support tools', 400, RequestRefused),
        ("the input length exceeds the context length", 400, ContextTooLong),
        ("prompt too long; exceeded max context length by 4 tokens", 400, ContextTooLong),
        ("invalid JSON schema in format", 500, RequestRefused),
        ("error parsing tool call: raw='{'", 500, UnusableReply),
        ("llama runner process has terminated: exit status 2", 500, Overloaded),
        ("model requires more system memory (5.6 GiB) than is available (4.1 GiB)", 500, ModelUnknown),
        ("server busy, please try again.  maximum pending requests exceeded", 503, Overloaded),
        ("request canceled", 499, Overloaded),
        ("unauthorized", 401, KeyRefused),
        ("you've reached your usage limit", 402, QuotaExhausted),
        ("too many requests", 429, RateLimited),
        ("missing request body", 400, RequestRefused),
        ({"message": "a proxy's words"}, 502, Overloaded),
    ],
)
def test_failures_are_sorted_by_what_to_do(sentence: object, status: int, kind: type[ProviderError]) -> None:
    error = failure(sentence, status)
    assert type(error) is kind
    assert error.status == status


def test_an_unknown_model_is_told_how_to_get_it() -> None:
    error = failure("model 'qwen9:7b' not found", 404)
    assert error.message == "model 'qwen9:7b' not found; get it with `batchwright models pull qwen9:7b`"
    assert orjson.loads(error.body or b"")["error"]["code"] == "model_not_found"


def test_a_prompt_too_long_is_told_of_num_ctx() -> None:
    assert "num_ctx" in failure("the input length exceeds the context length", 400).message


def test_the_wait_that_is_asked_for_is_kept() -> None:
    assert failure("slow down", 429, **{"retry-after": "7"}).retry_after_s == 7


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "status 502 without a readable error"),
        (b"<html>bad gateway</html>", "status 502 without a readable error"),
        (b"404 page not found", "status 502: 404 page not found"),
        (b'{"error":', "status 502 without a readable error"),
        (b'{"error":null}', "an error without a message"),
    ],
)
def test_what_is_not_ollamas_own_error_is_one_all_the_same(body: bytes, message: str) -> None:
    assert OLLAMA.parse_error(HttpResponse(502, {}, body)).message == message


def test_an_error_under_a_success_status_is_an_error() -> None:
    with pytest.raises(ModelUnknown):
        read({"error": "model 'x' not found", "status": 404})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "message",
    "response",
    "error",
    "status",
    "embeddings",
    "done",
    "logprobs",
    "eval_count",
    "created_at",
)
MESSAGES = st.fixed_dictionaries({}, optional={"content": JSON, "thinking": JSON, "tool_calls": JSON})
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), JSON | MESSAGES, max_size=5)


@given(
    data=st.binary(max_size=40) | JSON.map(orjson.dumps) | OBJECTS.map(orjson.dumps),
    endpoint=st.sampled_from((CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)),
    status=st.integers(400, 599),
)
def test_any_bytes_are_a_reply_or_a_provider_error(data: bytes, endpoint: str, status: int) -> None:
    assert isinstance(OLLAMA.parse_error(HttpResponse(status, {}, data)), ProviderError)
    call = Call(endpoint, "m", {"input": "a"})
    for read_it in (at_once, as_stream):
        try:
            reply = read_it(call, data)
        except ProviderError:
            continue
        assert b"\n" not in reply.body


def at_once(call: Call, data: bytes) -> Reply:
    return OLLAMA.parse_response(call, HttpResponse(200, {}, data))


def as_stream(call: Call, data: bytes) -> Reply:
    reader = OLLAMA.parse_stream(call, {})
    reader.feed(data + b"\n")
    return reader.finish()


def test_a_hosted_models_spent_week_sends_the_request_elsewhere() -> None:
    body = b'{"error": "you have reached your weekly usage limit, please upgrade to continue"}'
    assert Ollama().parse_error(HttpResponse(429, {}, body)).action == "reroute"


@pytest.mark.parametrize(
    "odd",
    [
        {"token": 1},
        {"logprob": None},
        {"logprob": True},
        {"bytes": "x"},
        {"bytes": [2.5]},
        {"top_logprobs": [{}]},
    ],
)
def test_log_probabilities_that_no_client_could_read_are_no_answer(odd: dict[str, Any]) -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97], **odd}
    answer = {"model": "l", "message": {"content": "a"}, "done": True, "logprobs": [token]}
    with pytest.raises(UnusableReply):
        Ollama().parse_response(Call(CHAT, "l", {}), HttpResponse(200, {}, orjson.dumps(answer)))
