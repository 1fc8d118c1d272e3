"""Sound through OpenAI's API: forms out, transcripts and speech back as JSON objects."""

from __future__ import annotations

import base64
import json
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import orjson
import pytest

from workers.core.errors import Untranslatable, UnusableReply
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply, Usage
from workers.providers.openai import OpenAI

pytestmark = pytest.mark.fast
TRANSCRIPTIONS, SPEECH = "/v1/audio/transcriptions", "/v1/audio/speech"
OPENAI = OpenAI()
SOUND = base64.b64encode(b"RIFF\r\n--\x00\xff").decode()


def ok(body: bytes, content_type: str = "application/json") -> HttpResponse:
    return HttpResponse(200, {"x-request-id": "req_1", "content-type": content_type}, body)


def read(value: Any, endpoint: str) -> Reply:
    return OPENAI.parse_response(call({}, endpoint), ok(json.dumps(value).encode()))


def call(body: dict[str, Any], endpoint: str) -> Call:
    return Call(endpoint, "gpt-4o", body)


def built(asked: Call) -> HttpRequest:
    return OPENAI.build_request(asked, "sk-1").request


def form(body: dict[str, Any]) -> tuple[HttpRequest, dict[str, list[bytes]], Any]:
    """The request, its fields by name, and the file's part, as the standard library reads a form."""
    request = built(call(body, TRANSCRIPTIONS))
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts: list[Any] = list(BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts())
    fields: dict[str, list[bytes]] = {}
    for part in parts[:-1]:
        name = part.get_param("name", header="content-disposition")
        fields.setdefault(name, []).append(part.get_payload(decode=True))
    return request, fields, parts[-1]


@pytest.mark.ability("openai", "audio")
@pytest.mark.parametrize("field", ["file", "file_url"])
def test_a_sound_is_sent_as_a_form(field: str) -> None:
    request, fields, file = form(
        {
            field: f"data:audio/mpeg;base64,{SOUND}",
            "language": "de",
            "temperature": 0.5,
            "timestamp_granularities": ["word", "segment"],
            "chunking_strategy": {"type": "server_vad", "threshold": 1},
            'a"\r\nb': True,
            "prompt": None,
        }
    )
    assert request.path == "/audio/transcriptions"
    assert fields == {
        "model": [b"gpt-4o"],
        "language": [b"de"],
        "temperature": [b"0.5"],
        "timestamp_granularities[]": [b"word", b"segment"],
        "chunking_strategy[type]": [b"server_vad"],
        "chunking_strategy[threshold]": [b"1"],
        "a%22%0D%0Ab": [b"true"],
    }
    assert file.get_filename() == "audio.mp3" and file.get_content_type() == "audio/mpeg"
    start = request.body.index(b"audio/mpeg\r\n\r\n") + len(b"audio/mpeg\r\n\r\n")
    assert request.body[start:].startswith(base64.b64decode(SOUND) + b"\r\n--form-")


@pytest.mark.parametrize(
    ("media_type", "filename"),
    [("audio/wav", "audio.wav"), ("audio/x-wav", "audio.wav"), ("audio/mp4", "audio.m4a"), ("audio/ogg", "audio.ogg")],
)  # fmt: skip
def test_a_sounds_file_name_ends_as_its_type_wants(media_type: str, filename: str) -> None:
    assert form({"file_url": f"data:{media_type};base64,{SOUND}"})[2].get_filename() == filename


def test_the_same_sound_is_the_same_bytes_and_another_one_is_not() -> None:
    one = {"file_url": f"data:audio/wav;base64,{SOUND}"}
    assert built(call(one, TRANSCRIPTIONS)) == built(call(dict(one), TRANSCRIPTIONS))
    other = built(call({**one, "language": "en"}, TRANSCRIPTIONS))
    assert other.headers["content-type"] != built(call(one, TRANSCRIPTIONS)).headers["content-type"]


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}, Usage(14, 45)),
        ({"type": "duration", "seconds": 9}, Usage()),
        (None, Usage()),
    ],
)
def test_a_transcript_is_an_answer_with_its_usage(usage: Any, counted: Usage) -> None:
    assert read({"text": "hello", "usage": usage}, TRANSCRIPTIONS).usage == counted


@pytest.mark.parametrize("asked", ["text", "srt", "vtt"])
def test_a_transcript_in_plain_text_becomes_an_object(asked: str) -> None:
    body = {"response_format": asked}
    reply = OPENAI.parse_response(call(body, TRANSCRIPTIONS), ok("1\nHallo ü\n".encode(), "text/plain"))
    assert orjson.loads(reply.body) == {"text": "1\nHallo ü\n"} and reply.model == "gpt-4o"
    ready = OPENAI.parse_response(call(body, TRANSCRIPTIONS), ok(b'{"text": "x"}'))
    assert ready.body == b'{"text": "x"}'


@pytest.mark.ability("openai", "audio")
def test_speech_becomes_an_object_with_the_sound_in_base64() -> None:
    asked = call({"input": "x", "voice": "alloy", "stream_format": "sse"}, SPEECH)
    made = OPENAI.build_request(asked, None)
    assert made.request.path == "/audio/speech" and b"stream_format" not in made.request.body
    assert made.warnings == ("stream_format: a batch gets the sound whole; it was left out",)
    reply = OPENAI.parse_response(asked, ok(b"\xff\xf3sound", "audio/mpeg"))
    assert orjson.loads(reply.body) == {
        "object": "audio.speech",
        "content_type": "audio/mpeg",
        "data": base64.b64encode(b"\xff\xf3sound").decode(),
    }


@pytest.mark.parametrize(
    ("endpoint", "body", "content_type"),
    [
        (SPEECH, b"", "audio/mpeg"),
        (SPEECH, b"{}", "application/json"),
        (SPEECH, b"<html>", "text/html"),
        (TRANSCRIPTIONS, b"<html>", "text/html"),
        (TRANSCRIPTIONS, b"\xff", "text/plain"),
        (TRANSCRIPTIONS, b'{"words": []}', "application/json"),
    ],
)
def test_what_is_no_sound_and_no_transcript_is_unusable(
    endpoint: str, body: bytes, content_type: str
) -> None:
    with pytest.raises(UnusableReply):
        OPENAI.parse_response(call({"response_format": "text"}, endpoint), ok(body, content_type))


def test_a_field_that_json_has_no_word_for_is_refused_and_no_bug() -> None:
    body = {"file_url": "data:audio/wav;base64,AAAA", "temperature": 2**64}
    with pytest.raises(Untranslatable):
        OpenAI().build_request(Call("/v1/audio/transcriptions", "whisper-1", body), "k")
