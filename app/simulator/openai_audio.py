"""OpenAI's audio endpoints: transcriptions and speech, answered with what follows from the bytes. Pure.

`transcript` tells beforehand what a recording is heard as. Spoken answers are short and silent or noise; only
their format is true.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import orjson
from blake3 import blake3

from app.simulator import checks
from app.simulator.dialect import SSE, Reply, Stamp, Terms, Work
from app.simulator.errors import ApiError
from app.simulator.models import CHAT, model_for
from app.simulator.openai_multipart import Upload
from app.simulator.pieces import pieces_of
from app.simulator.usage import count_tokens

_WORDS = (
    "the", "harbour", "was", "quiet", "when", "first", "boats", "came", "back", "from", "their", "long", "night",
    "and", "someone", "lit", "a", "lamp", "above", "water", "so", "that", "every", "crew", "could", "find", "way",
    "home", "before", "morning", "rain", "began",
)  # fmt: skip
_WORDS_PER_S = 2.5
_MAX_WORDS = 400
_WORDS_PER_SEGMENT = 8
_ASSUMED_BYTES_PER_S = 16_000  # of what is no WAV: 128 kbit/s
_AUDIO_TOKENS_PER_S = 10
_TEXT_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")

_SAMPLE_RATE = 24_000
_SPEECH_S_PER_CHARACTER = 0.002  # much faster than anyone speaks: an answer should stay small
_SPEECH_TOKENS_PER_S = 20
_MAX_INPUT = 4096
_MP3_FRAME = b"\xff\xfb\x90\x64" + bytes(413)  # 26 ms of silence, MPEG-1 layer 3, 128 kbit/s, 44.1 kHz
_MP3_FRAME_S = 0.026
# format -> content type and what such a file begins with
_SPEECH: Mapping[str, tuple[str, bytes]] = {
    "mp3": ("audio/mpeg", b""),
    "opus": ("audio/opus", b"OggS"),
    "aac": ("audio/aac", b"\xff\xf1"),
    "flac": ("audio/flac", b"fLaC"),
    "wav": ("audio/wav", b""),
    "pcm": ("audio/pcm", b""),
}


def transcript(data: bytes, seed: int) -> str:
    """What a recording is heard as: words drawn from its bytes, as many as fit its duration."""
    count = min(_MAX_WORDS, max(3, round(duration_s(data) * _WORDS_PER_S)))
    drawn = blake3(f"{seed}\0".encode() + data).digest(length=count)
    words = [_WORDS[byte % len(_WORDS)] for byte in drawn]
    return " ".join([words[0].capitalize(), *words[1:]]) + "."


def duration_s(data: bytes) -> float:
    """Seconds of a recording: by the header of a WAV, else as if it had 128 kbit/s. Two decimals."""
    rate = _ASSUMED_BYTES_PER_S
    if data[:4] == b"RIFF" and len(data) >= 44:
        rate = struct.unpack_from("<I", data, 28)[0] or rate
        return round((len(data) - 44) / rate, 2)
    return round(len(data) / rate, 2)


def transcription(body: Mapping[str, Any], terms: Terms) -> Work:
    """POST /audio/transcriptions.

    Raises: ApiError for whatever the provider would refuse.
    """
    model = model_for(body, CHAT, all_models=terms.all_models)
    upload = body.get("file")
    if not isinstance(upload, Upload):
        raise checks.missing("file")
    if not upload.data:
        raise ApiError(
            400, "Audio file is too short. Minimum audio length is 0.1 seconds.", code="audio_too_short"
        )
    wanted = body.get("response_format") or "json"
    if wanted not in _TEXT_FORMATS:
        raise checks.wrong_value("response_format", wanted, _TEXT_FORMATS)
    text = transcript(upload.data, terms.seed)
    if terms.huge_bytes > len(text):
        text += " and so on" * (1 + (terms.huge_bytes - len(text)) // 10)
    seconds = duration_s(upload.data)
    audio_tokens = math.ceil(seconds * _AUDIO_TOKENS_PER_S)
    prompt = body.get("prompt")
    text_tokens = count_tokens(prompt) if isinstance(prompt, str) else 0
    spent = count_tokens(text)
    usage = {
        "type": "tokens",
        "input_tokens": audio_tokens + text_tokens,
        "input_token_details": {"text_tokens": text_tokens, "audio_tokens": audio_tokens},
        "output_tokens": spent,
        "total_tokens": audio_tokens + text_tokens + spent,
    }
    stream = wanted == "json" and str(body.get("stream")).lower() == "true"
    if stream:
        write: Callable[[Stamp], Reply] = partial(_write_stream, text, usage)
    else:
        write = partial(_write_transcript, wanted, text, seconds, usage, _with_words(body))
    return Work(model, audio_tokens + text_tokens, spent, write, stream=stream)


def _with_words(body: Mapping[str, Any]) -> bool:
    wanted = body.get("timestamp_granularities")
    return "word" in (wanted if isinstance(wanted, list) else [wanted])


def _write_stream(text: str, usage: dict[str, Any], _: Stamp) -> Reply:
    def events() -> Iterator[bytes]:
        for piece in pieces_of(text):
            yield _event({"type": "transcript.text.delta", "delta": piece})
        yield _event({"type": "transcript.text.done", "text": text, "usage": usage})

    return Reply(events=events(), content_type=SSE)


def _write_transcript(
    wanted: str, text: str, seconds: float, usage: dict[str, Any], with_words: bool, _: Stamp
) -> Reply:
    if wanted == "json":
        return Reply(orjson.dumps({"text": text, "usage": usage}))
    if wanted == "text":
        return Reply(text.encode() + b"\n", content_type="text/plain; charset=utf-8")
    segments = _segments(text, seconds, _WORDS_PER_SEGMENT)
    if wanted == "verbose_json":
        return Reply(orjson.dumps(_verbose(text, seconds, segments, with_words)))
    lines = ["WEBVTT\n"] if wanted == "vtt" else []
    for k, (start, end, words) in enumerate(segments):
        number = f"{k + 1}\n" if wanted == "srt" else ""
        times = f"{_clock(start, wanted)} --> {_clock(end, wanted)}"
        lines.append(f"{number}{times}\n{words}\n")
    return Reply("\n".join([*lines, ""]).encode(), content_type="text/plain; charset=utf-8")


def _verbose(
    text: str, seconds: float, segments: list[tuple[float, float, str]], with_words: bool
) -> dict[str, Any]:
    shown: dict[str, Any] = {"task": "transcribe", "language": "english", "duration": seconds, "text": text}
    shown["segments"] = [
        {
            "id": k,
            "seek": 0,
            "start": start,
            "end": end,
            "text": f" {words}",
            "tokens": list(words.encode()),
            "temperature": 0.0,
            "avg_logprob": -0.25,
            "compression_ratio": 1.0,
            "no_speech_prob": 0.01,
        }
        for k, (start, end, words) in enumerate(segments)
    ]
    if with_words:
        each = _segments(text, seconds, 1)
        shown["words"] = [{"word": word.strip("."), "start": start, "end": end} for start, end, word in each]
    shown["usage"] = {"type": "duration", "seconds": math.ceil(seconds)}
    return shown


def _segments(text: str, seconds: float, words_each: int) -> list[tuple[float, float, str]]:
    """(start, end, words) in turn, every word as long as the others."""
    words = text.split(" ")
    each_s = seconds / len(words)
    return [
        (
            round(k * each_s, 3),
            round(min(len(words), k + words_each) * each_s, 3),
            " ".join(words[k : k + words_each]),
        )
        for k in range(0, len(words), words_each)
    ]


def _clock(seconds: float, wanted: str) -> str:
    total_ms = round(seconds * 1000)
    minutes, rest_ms = divmod(total_ms, 60_000)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{rest_ms // 1000:02}.{rest_ms % 1000:03}"
    return clock.replace(".", ",") if wanted == "srt" else clock


def speech(body: Mapping[str, Any], terms: Terms) -> Work:
    """POST /audio/speech.

    Raises: ApiError for whatever the provider would refuse.
    """
    model = model_for(body, CHAT, all_models=terms.all_models)
    for param in ("input", "voice"):
        if body.get(param) in (None, ""):
            raise checks.missing(param)
    text, voice = body["input"], body["voice"]
    if not isinstance(text, str):
        raise checks.wrong_type("input", "a string", text)
    if not isinstance(voice, str | dict):
        raise checks.wrong_type("voice", "a string", voice)
    if len(text) > _MAX_INPUT:
        message = f"Invalid 'input': string too long. Expected a string with maximum length {_MAX_INPUT}."
        raise ApiError(400, message, param="input", code="string_above_max_length")
    checks.decimal(body, "speed", 0.25, 4)
    wanted = body.get("response_format") or "mp3"
    if not isinstance(wanted, str) or wanted not in _SPEECH:
        raise checks.wrong_value("response_format", wanted, tuple(_SPEECH))
    seconds = max(0.05, len(text) * _SPEECH_S_PER_CHARACTER / (body.get("speed") or 1))
    digest = blake3(orjson.dumps([model, text, voice, terms.seed]))
    sound = _sound(wanted, seconds, digest, terms.huge_bytes)
    paid, spent = count_tokens(text), math.ceil(seconds * _SPEECH_TOKENS_PER_S)
    stream = body.get("stream_format") == "sse"
    return Work(
        model, paid, spent, partial(_write_speech, wanted, sound, (paid, spent), stream), stream=stream
    )


def _sound(wanted: str, seconds: float, digest: Any, least_bytes: int) -> bytes:
    if wanted == "mp3":
        tag: bytes = digest.digest()  # in an ID3 tag, so that two texts do not sound the same to a test
        frames = max(math.ceil(seconds / _MP3_FRAME_S), math.ceil(least_bytes / len(_MP3_FRAME)))
        return b"ID3\x04\x00\x00\x00\x00\x00" + bytes([len(tag)]) + tag + _MP3_FRAME * frames
    size = max(2 * int(seconds * _SAMPLE_RATE), least_bytes)
    noise: bytes = digest.digest(length=size + size % 2)
    if wanted != "wav":
        return _SPEECH[wanted][1] + noise
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, _SAMPLE_RATE, 2 * _SAMPLE_RATE, 2, 16)
    riff = struct.pack("<4sI4s", b"RIFF", 36 + len(noise), b"WAVE")
    return b"".join((riff, form, struct.pack("<4sI", b"data", len(noise)), noise))


def _write_speech(wanted: str, sound: bytes, tokens: tuple[int, int], stream: bool, _: Stamp) -> Reply:
    if not stream:
        return Reply(sound, content_type=_SPEECH[wanted][0])
    paid, spent = tokens
    usage = {"input_tokens": paid, "output_tokens": spent, "total_tokens": paid + spent}

    def events() -> Iterator[bytes]:
        for start in range(0, len(sound), 8192):
            audio = base64.b64encode(sound[start : start + 8192]).decode()
            yield _event({"type": "speech.audio.delta", "audio": audio})
        yield _event({"type": "speech.audio.done", "usage": usage})

    return Reply(events=events(), content_type=SSE)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"
