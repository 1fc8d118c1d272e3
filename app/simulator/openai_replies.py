"""OpenAI's JSON: one chat completion, or the events of a streamed one. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.simulator.chat import ChatAnswer, ChatRequest, Choice
from app.simulator.dialect import Stamp
from app.simulator.pieces import pieces_of

DONE = b"data: [DONE]\n\n"
_FINGERPRINT = "fp_simulator"


def chat_reply(
    request: ChatRequest, answer: ChatAnswer, stamp: Stamp, cached_tokens: int = 0
) -> dict[str, Any]:
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
        "id": f"chatcmpl-{stamp.id}",
        "object": "chat.completion",
        "created": stamp.created,
        "model": request.model,
        "choices": choices,
        "usage": usage_of(answer, cached_tokens),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def chat_events(
    request: ChatRequest, answer: ChatAnswer, stamp: Stamp, cached_tokens: int = 0
) -> Iterator[bytes]:
    """The events of a streamed completion, [DONE] included; made one by one: a huge one is not held twice."""
    head = {
        "id": f"chatcmpl-{stamp.id}",
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
        yield _event({**head, "choices": [], "usage": usage_of(answer, cached_tokens)})
    yield DONE


def usage_of(answer: ChatAnswer, cached_tokens: int) -> dict[str, Any]:
    """The usage object, details included."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _call_id(stamp: Stamp, index: int, of_calls: int) -> str:
    return f"call_{stamp.id}{index}" if of_calls == 0 else f"call_{stamp.id}{index}_{of_calls}"


def _message(choice: Choice, stamp: Stamp, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text,
        "refusal": None,
        "annotations": [],
    }
    if choice.calls:
        message["tool_calls"] = [
            {
                "id": _call_id(stamp, index, m),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for m, call in enumerate(choice.calls)
        ]
    return message


def _deltas(choice: Choice, stamp: Stamp, index: int) -> Iterator[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": None if choice.calls else "", "refusal": None}, None
    for piece in pieces_of(choice.text or "") if not choice.calls else ():
        yield {"content": piece}, None
    for m, call in enumerate(choice.calls):
        function = {"name": call.name, "arguments": ""}
        begun = {"index": m, "id": _call_id(stamp, index, m), "type": "function", "function": function}
        yield {"tool_calls": [begun]}, None
        for piece in pieces_of(call.arguments):
            yield {"tool_calls": [{"index": m, "function": {"arguments": piece}}]}, None
    yield {}, choice.finish_reason
