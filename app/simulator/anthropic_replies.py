"""Anthropic's JSON: one message, or the events of a streamed one. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from blake3 import blake3

from app.simulator.anthropic_cache import CacheUse
from app.simulator.anthropic_request import Asked
from app.simulator.chat import ChatAnswer, Choice
from app.simulator.dialect import Stamp
from app.simulator.pieces import pieces_of

Block = dict[str, Any]


def message_reply(asked: Asked, answer: ChatAnswer, cache: CacheUse, stamp: Stamp) -> dict[str, Any]:
    """A whole message."""
    choice = answer.choices[0]
    message = _head(asked, stamp)
    message["content"] = [whole for whole, _, _ in _blocks(asked, choice, stamp)]
    message["stop_reason"], message["stop_sequence"] = _stopped(choice)
    message["usage"] = {**usage_of(answer, cache), "service_tier": "standard"}
    return message


def message_events(asked: Asked, answer: ChatAnswer, cache: CacheUse, stamp: Stamp) -> Iterator[bytes]:
    """The events of a streamed message."""
    choice, usage = answer.choices[0], usage_of(answer, cache)
    begun = {**usage, "output_tokens": min(1, answer.completion_tokens), "service_tier": "standard"}
    del begun["output_tokens_details"]
    yield _event({"type": "message_start", "message": {**_head(asked, stamp), "usage": begun}})
    for k, (_, empty, deltas) in enumerate(_blocks(asked, choice, stamp)):
        yield _event({"type": "content_block_start", "index": k, "content_block": empty})
        if k == 0:
            yield _event({"type": "ping"})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": k, "delta": delta})
        yield _event({"type": "content_block_stop", "index": k})
    reason, sequence = _stopped(choice)
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    del usage["cache_creation"]
    yield _event({"type": "message_delta", "delta": delta, "usage": usage})
    yield _event({"type": "message_stop"})


def usage_of(answer: ChatAnswer, cache: CacheUse) -> dict[str, Any]:
    """The usage object. Its `input_tokens` are only those that the cache had no part in."""
    return {
        "input_tokens": answer.prompt_tokens - cache.read_tokens - cache.written_tokens,
        "cache_creation_input_tokens": cache.written_tokens,
        "cache_read_input_tokens": cache.read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": cache.written_5m_tokens,
            "ephemeral_1h_input_tokens": cache.written_1h_tokens,
        },
        "output_tokens": answer.completion_tokens,
        "output_tokens_details": {"thinking_tokens": answer.reasoning_tokens},
    }


def _head(asked: Asked, stamp: Stamp) -> dict[str, Any]:
    return {
        "id": f"msg_{stamp.id}",
        "type": "message",
        "role": "assistant",
        "model": asked.chat.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stopped(choice: Choice) -> tuple[str, str | None]:
    if choice.calls:
        return "tool_use", None
    if choice.finish_reason == "length":
        return "max_tokens", None
    return ("stop_sequence", choice.stopped_by) if choice.stopped_by else ("end_turn", None)


def _blocks(asked: Asked, choice: Choice, stamp: Stamp) -> Iterator[tuple[Block, Block, Iterator[Block]]]:
    """Each block whole, as its stream begins, and the deltas in between."""
    if choice.thinking:
        shown = choice.thinking if asked.shows_thinking else ""
        signature = blake3(choice.thinking.encode()).hexdigest()
        whole = {"type": "thinking", "thinking": shown, "signature": signature}
        yield whole, {**whole, "thinking": "", "signature": ""}, _thinking_deltas(shown, signature)
    if choice.text:
        whole = {"type": "text", "text": choice.text}
        deltas = ({"type": "text_delta", "text": piece} for piece in pieces_of(choice.text))
        yield whole, {**whole, "text": ""}, deltas
    for k, call in enumerate(choice.calls):
        used: Block = {
            "type": "tool_use",
            "id": f"toolu_{stamp.id}{k}",
            "name": call.name,
            "input": orjson.loads(call.arguments),
            "caller": {"type": "direct"},
        }
        yield used, {**used, "input": {}}, _input_deltas(call.arguments)


def _thinking_deltas(shown: str, signature: str) -> Iterator[Block]:
    for piece in pieces_of(shown) if shown else ():
        yield {"type": "thinking_delta", "thinking": piece}
    yield {"type": "signature_delta", "signature": signature}


def _input_deltas(arguments: str) -> Iterator[Block]:
    yield {"type": "input_json_delta", "partial_json": ""}
    for piece in pieces_of(arguments):
        yield {"type": "input_json_delta", "partial_json": piece}


def _event(data: Block) -> bytes:
    kind: str = data["type"]
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
