"""Ollama's JSON: one object, or the lines of a streamed answer, with counts and durations. Pure.

Durations follow from the counts: they are made up, and the same for the same call. Shapes: Ollama's published
API document, docs/api.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from app.simulator.chat import ChatAnswer, Choice
from app.simulator.dialect import Stamp
from app.simulator.ollama_read import Asked
from app.simulator.pieces import pieces_of

_LOAD_NS = 12_000_000
_PROMPT_TOKEN_NS = 150_000
_TOKEN_NS = 8_000_000


def chat_lines(asked: Asked, answer: ChatAnswer, stamp: Stamp) -> Iterator[dict[str, Any]]:
    """The lines of a streamed /api/chat."""
    head = _head(asked, stamp)
    choice = answer.choices[0]
    for piece in pieces_of(choice.thinking) if choice.thinking else ():
        yield {**head, "message": {"role": "assistant", "content": "", "thinking": piece}, "done": False}
    if choice.calls:
        called = {"role": "assistant", "content": "", "tool_calls": _calls(choice, stamp)}
        yield {**head, "message": called, "done": False}
    for piece in pieces_of(choice.text) if choice.text else ():
        yield {**head, "message": {"role": "assistant", "content": piece}, "done": False}
    yield {**head, "message": {"role": "assistant", "content": ""}, **_end(asked, answer)}


def chat_reply(asked: Asked, answer: ChatAnswer, stamp: Stamp) -> dict[str, Any]:
    """The one object of /api/chat."""
    choice = answer.choices[0]
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or ""}
    if choice.thinking:
        message["thinking"] = choice.thinking
    if choice.calls:
        message["tool_calls"] = _calls(choice, stamp)
    return {**_head(asked, stamp), "message": message, **_end(asked, answer)}


def generate_lines(asked: Asked, answer: ChatAnswer, stamp: Stamp) -> Iterator[dict[str, Any]]:
    """The lines of a streamed /api/generate."""
    head = _head(asked, stamp)
    choice = answer.choices[0]
    for piece in pieces_of(choice.thinking) if choice.thinking else ():
        yield {**head, "response": "", "thinking": piece, "done": False}
    for piece in pieces_of(choice.text) if choice.text else ():
        yield {**head, "response": piece, "done": False}
    yield {**head, "response": "", **_end(asked, answer), **_context(asked, answer)}


def generate_reply(asked: Asked, answer: ChatAnswer, stamp: Stamp) -> dict[str, Any]:
    """The one object of /api/generate."""
    choice = answer.choices[0]
    thought = {"thinking": choice.thinking} if choice.thinking else {}
    said = {"response": choice.text or "", **thought}
    return {**_head(asked, stamp), **said, **_end(asked, answer), **_context(asked, answer)}


def loaded(asked: Asked, stamp: Stamp, *, chat: bool) -> dict[str, Any]:
    """The answer to a request without a prompt: the model has been loaded, or unloaded."""
    said: dict[str, Any] = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
    return {
        **_head(asked, stamp),
        **said,
        "done": True,
        "done_reason": "unload" if not asked.keep_alive_s else "load",
    }


def embedded(model: str, vectors: Sequence[Sequence[float]], tokens: int) -> dict[str, Any]:
    """The answer of /api/embed."""
    took = _LOAD_NS + tokens * _PROMPT_TOKEN_NS
    return {
        "model": model,
        "embeddings": vectors,
        "total_duration": took,
        "load_duration": _LOAD_NS,
        "prompt_eval_count": tokens,
    }


def as_lines(objects: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """NDJSON."""
    for each in objects:
        yield orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE)


def _head(asked: Asked, stamp: Stamp) -> dict[str, Any]:
    made = datetime.fromtimestamp(stamp.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    return {"model": asked.model, "created_at": made}


def _end(asked: Asked, answer: ChatAnswer) -> dict[str, Any]:
    """What the last line says: why it ended, and what was counted. Ollama counts thinking as output."""
    prompt_tokens = asked.options.fitted(answer.prompt_tokens)
    prompt_ns = prompt_tokens * _PROMPT_TOKEN_NS
    answer_ns = answer.completion_tokens * _TOKEN_NS
    return {
        "done": True,
        "done_reason": "length" if answer.choices[0].finish_reason == "length" else "stop",
        "total_duration": _LOAD_NS + prompt_ns + answer_ns,
        "load_duration": _LOAD_NS,
        "prompt_eval_count": prompt_tokens,
        "prompt_eval_duration": prompt_ns,
        "eval_count": answer.completion_tokens,
        "eval_duration": answer_ns,
    }


def _context(asked: Asked, answer: ChatAnswer) -> dict[str, Any]:
    """Token ids that continue this talk; a raw request gets none."""
    return {} if asked.raw else {"context": [answer.prompt_tokens, answer.completion_tokens]}


def _calls(choice: Choice, stamp: Stamp) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{stamp.id}{k}",
            "function": {"index": k, "name": call.name, "arguments": orjson.loads(call.arguments)},
        }
        for k, call in enumerate(choice.calls)
    ]
