"""Gemini's other endpoints: embeddings, transcription by prompt, the Responses API through chat."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest

from tests.support.gemini_requests import (
    ANSWER,
    EMBEDDINGS,
    GEMINI,
    MODEL,
    RESPONSES,
    TRANSCRIPTIONS,
    call,
    read,
)
from workers.core.errors import Untranslatable, UnusableReply
from workers.core.messages import Usage


def candidate(*parts: dict[str, Any], ends: str = "STOP") -> dict[str, Any]:
    return {"content": {"parts": list(parts), "role": "model"}, "finishReason": ends}


# --- other endpoints


@pytest.mark.ability("gemini", "embedding")
def test_all_inputs_are_embedded_in_one_call() -> None:
    body = {"input": ["a", "b"], "dimensions": 64, "user": "u", "encoding_format": "float"}
    options = {"taskType": "RETRIEVAL_QUERY"}
    asked = call(body, endpoint=EMBEDDINGS, model="gemini-embedding-001", provider_options=options)
    built = GEMINI.build_request(asked, "k")
    assert built.request.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert orjson.loads(built.request.body)["requests"] == [
        {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": text}]},
            "outputDimensionality": 64,
            "taskType": "RETRIEVAL_QUERY",
        }
        for text in ("a", "b")
    ]
    assert [warning.split(":")[0] for warning in built.warnings] == ["user"]


@pytest.mark.ability("gemini", "embedding")
def test_embeddings_keep_their_order_and_their_count_of_tokens() -> None:
    data = {
        "embeddings": [{"values": [0.5, 1]}, {"values": [-1.0, 0.0]}],
        "usageMetadata": {"promptTokenCount": 4},
    }
    reply = read(data, {"input": ["a", "b"], "encoding_format": "base64"}, EMBEDDINGS)
    packed = base64.b64decode(orjson.loads(reply.body)["data"][1]["embedding"])
    assert struct.unpack("<2f", packed) == (-1.0, 0.0)
    assert (reply.usage, reply.model, reply.warnings) == (Usage(input_tokens=4), MODEL, ())


def test_embeddings_without_a_count_of_tokens_say_so() -> None:
    reply = read({"embeddings": [{"values": [0.5]}]}, {"input": "a"}, EMBEDDINGS)
    assert reply.usage == Usage() and reply.warnings[0].startswith("usage:")


@pytest.mark.parametrize("values", [[], ["a"], [None], [True], "ab", [1e308]])
def test_vectors_that_are_none_are_unusable(values: Any) -> None:
    with pytest.raises(UnusableReply):
        read({"embeddings": [{"values": values}]}, {"input": "a", "encoding_format": "base64"}, EMBEDDINGS)


def test_fewer_vectors_than_inputs_are_unusable() -> None:
    with pytest.raises(UnusableReply):
        read({"embeddings": [{"values": [0.5]}]}, {"input": ["a", "b"]}, EMBEDDINGS)


@pytest.mark.ability("gemini", "audio")
def test_a_recording_is_transcribed_by_asking_for_its_words() -> None:
    body = {"file_url": "data:audio/wav;base64,UklG", "language": "fr", "prompt": "Léa", "temperature": 0}
    built = GEMINI.build_request(call(body, endpoint=TRANSCRIPTIONS), "k")
    sent = orjson.loads(built.request.body)
    words, sound = sent["contents"][0]["parts"]
    assert sound == {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}
    assert "fr" in words["text"] and "Léa" in words["text"]
    assert sent["generationConfig"] == {"temperature": 0}
    reply = read(ANSWER, body, TRANSCRIPTIONS)
    assert orjson.loads(reply.body)["text"] == "Hello"
    assert orjson.loads(reply.body)["usage"]["total_tokens"] == 28


def test_a_transcript_that_is_cut_says_so() -> None:
    cut = {**ANSWER, "candidates": [candidate({"text": "Hel"}, ends="MAX_TOKENS")]}
    assert read(cut, {}, TRANSCRIPTIONS).warnings[0].startswith("text:")


def test_a_responses_request_goes_the_way_of_chat() -> None:
    body = {"input": "hi", "instructions": "Be brief.", "max_output_tokens": 9}
    built = GEMINI.build_request(call(body, endpoint=RESPONSES), "k")
    sent = orjson.loads(built.request.body)
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert sent["generationConfig"] == {"maxOutputTokens": 9}
    reply = read(ANSWER, body, RESPONSES)
    assert orjson.loads(reply.body)["object"] == "response" and reply.usage.output_tokens == 17


def test_a_sound_is_taken_from_either_of_its_two_fields_and_from_one_only() -> None:
    sound = "data:audio/wav;base64,AAAA"
    first, second = (
        GEMINI.build_request(call({name: sound}, endpoint=TRANSCRIPTIONS), "k")
        for name in ("file", "file_url")
    )
    assert first == second and first.warnings == ()
    with pytest.raises(Untranslatable):
        GEMINI.build_request(call({"file": sound, "file_url": sound}, endpoint=TRANSCRIPTIONS), "k")
