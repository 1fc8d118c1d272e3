"""The provider's JSON: one chat completion, or the events of a streamed one. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.simulator.chat import ChatAnswer, ChatRequest, Choice

DONE = b"data: [DONE]\n\n"
_PIECE_WORDS = 3
_BIG_PIECE_CHARS = 16_384
_FINGERPRINT = "fp_simulator"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes one reply differ from another with the same answer."""

    id: str
    created: int


def chat_reply(request: ChatRequest, answer: ChatAnswer, stamp: Stamp) -> dict[str, Any]:
    """A whole chat.completion."""
    choices = [
        {
            "index": k,
            "message": _message(choice, stamp, k),
            "logprobs": None,
            "finish_reason": choice.finish_reason,
        }
        for k, choice in enumerate(answer.choices)
    ]
    return {
        "id": stamp.id,
        "object": "chat.completion",
        "created": stamp.created,
        "model": request.model,
        "choices": choices,
        "usage": usage_of(answer),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def chat_events(request: ChatRequest, answer: ChatAnswer, stamp: Stamp) -> Iterator[bytes]:
    """The events of a streamed completion, [DONE] included; made one by one: a huge one is not held twice."""
    head = {
        "id": stamp.id,
        "object": "chat.completion.chunk",
        "created": stamp.created,
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    tail = {"usage": None} if request.include_usage else {}
    for k, choice in enumerate(answer.choices):
        for delta, reason in _deltas(choice, stamp, k):
            shown = {"index": k, "delta": delta, "logprobs": None, "finish_reason": reason}
            yield _event({**head, "choices": [shown], **tail})
    if request.include_usage:
        yield _event({**head, "choices": [], "usage": usage_of(answer)})
    yield DONE


def usage_of(answer: ChatAnswer) -> dict[str, Any]:
    """The usage object, details included."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _call_id(stamp: Stamp, index: int) -> str:
    return f"call_{stamp.id.removeprefix('chatcmpl-')}{index}"


def _message(choice: Choice, stamp: Stamp, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text,
        "refusal": None,
        "annotations": [],
    }
    if choice.tool_name is not None:
        function = {"name": choice.tool_name, "arguments": choice.tool_arguments}
        message["tool_calls"] = [{"id": _call_id(stamp, index), "type": "function", "function": function}]
    return message


def _deltas(choice: Choice, stamp: Stamp, index: int) -> Iterator[tuple[dict[str, Any], str | None]]:
    if choice.tool_name is None:
        yield {"role": "assistant", "content": "", "refusal": None}, None
        for piece in pieces_of(choice.text or ""):
            yield {"content": piece}, None
    else:
        function = {"name": choice.tool_name, "arguments": ""}
        call = {"index": 0, "id": _call_id(stamp, index), "type": "function", "function": function}
        yield {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}, None
        for piece in pieces_of(choice.tool_arguments):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, None
    yield {}, choice.finish_reason


def pieces_of(text: str) -> Iterator[str]:
    """The text cut as a model would send it: a few words at a time, large answers in large pieces."""
    if len(text) > _BIG_PIECE_CHARS:
        for start in range(0, len(text), _BIG_PIECE_CHARS):
            yield text[start : start + _BIG_PIECE_CHARS]
        return
    words = text.split(" ")
    for start in range(0, len(words), _PIECE_WORDS):
        piece = " ".join(words[start : start + _PIECE_WORDS])
        yield piece if start == 0 else " " + piece
