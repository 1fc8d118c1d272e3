"""Answers put into OpenAI's shape, whole or chunk by chunk, as its own SDK takes them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest

from workers.core.messages import Usage
from workers.providers.chat import ToolCall
from workers.providers.shape import (
    Answer,
    Choice,
    ChunkWriter,
    completion_bytes,
    created_of,
    embeddings_bytes,
    usage_object,
)

pytestmark = pytest.mark.fast
USAGE = Usage(9, 12, 4, 5, 2)


@pytest.fixture(scope="module")
def chat_types() -> Any:
    from openai.types import chat

    return chat


@pytest.fixture(scope="module")
def embeddings_type() -> Any:
    from openai.types import CreateEmbeddingResponse

    return CreateEmbeddingResponse


@pytest.mark.parametrize(
    "choice",
    [
        Choice("hello", "stop"),
        Choice("hel", "length"),
        Choice(None, "content_filter", refusal="no"),
        Choice("x", "stop", reasoning="hm"),
        Choice(None, "tool_calls", [ToolCall("c1", "f", "{}"), ToolCall("c2", "g", '{"x":1}')]),
    ],
)
def test_the_official_sdk_takes_every_completion(choice: Choice, chat_types: Any) -> None:
    raw = completion_bytes(Answer("id", "m", [choice, Choice("y", "stop")], USAGE, 7))
    read = chat_types.ChatCompletion.model_validate_json(raw, strict=True)
    assert [each.index for each in read.choices] == [0, 1]
    assert read.choices[0].message.content == choice.text
    assert read.choices[0].message.refusal == choice.refusal
    calls = read.choices[0].message.tool_calls or []
    assert [ToolCall(call.id, call.function.name, call.function.arguments) for call in calls] == list(
        choice.calls
    )
    shown = orjson.loads(raw)["choices"][0]["message"]
    assert shown.get("reasoning_content", "") == choice.reasoning


def test_usage_says_what_was_read_from_the_cache_and_what_was_written_to_it() -> None:
    assert usage_object(USAGE) == {
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert usage_object(Usage(1))["prompt_tokens_details"] == {"cached_tokens": 0}


def test_an_answer_is_made_when_the_provider_says() -> None:
    assert created_of({"date": "Sun, 06 Nov 1994 12:00:00 GMT"}) == 784123200
    assert created_of({}) == 0


def test_deltas_become_chunks_and_then_the_whole(chat_types: Any) -> None:
    writer = ChunkWriter("id", "m", 7)
    chunks = [
        writer.reasoning("hm"),
        writer.text("Hel"),
        writer.text("lo"),
        writer.call(0, id="c1", name="f"),
        writer.call(1, id="c2", name="g", arguments='{"y":'),
        writer.arguments(0, '{"x":1}'),
        writer.arguments(1, "2}"),
        writer.end("tool_calls", USAGE),
    ]
    read = [chat_types.ChatCompletionChunk.model_validate_json(chunk, strict=True) for chunk in chunks]
    assert [each.choices[0].delta.role for each in read] == ["assistant", *[None] * 7]
    assert read[-1].choices[0].finish_reason == "tool_calls" and read[-1].usage.total_tokens == 21
    assert read[4].choices[0].delta.tool_calls[0].index == 1
    calls = [ToolCall("c1", "f", '{"x":1}'), ToolCall("c2", "g", '{"y":2}')]
    assert writer.answer("tool_calls", USAGE) == Answer(
        "id", "m", [Choice("Hello", "tool_calls", calls, reasoning="hm")], USAGE, 7
    )


def test_an_answer_of_calls_alone_has_no_words_and_one_of_nothing_has_empty_ones() -> None:
    writer = ChunkWriter("id", "m")
    writer.call(0, id="c1", name="f")
    (choice,) = writer.answer("tool_calls", USAGE).choices
    assert (choice.text, choice.calls) == (None, [ToolCall("c1", "f", "{}")])
    assert ChunkWriter("id", "m").answer("stop", USAGE).choices[0].text == ""


def test_embeddings_are_numbers_or_packed_as_asked(embeddings_type: Any) -> None:
    vectors = [[0.5, -1.0], [0.25, 2.0]]
    raw = embeddings_bytes(vectors, model="e", usage=Usage(3))
    read = embeddings_type.model_validate_json(raw, strict=True)
    assert [each.embedding for each in read.data] == vectors and read.usage.prompt_tokens == 3
    packed = orjson.loads(embeddings_bytes(vectors, model="e", usage=Usage(3), encoding="base64"))
    assert [struct.unpack("<2f", base64.b64decode(each["embedding"])) for each in packed["data"]] == [
        (0.5, -1.0),
        (0.25, 2.0),
    ]
