"""Anthropic's message as a chat.completion. Pure.

Source: Anthropic's published API reference, POST /v1/messages: Message, its content blocks, stop reasons and usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from workers.core.messages import HttpResponse, Reply, Usage
from workers.providers.anthropic_errors import blocked, error_of
from workers.providers.base import request_id
from workers.providers.chat import ToolCall
from workers.providers.shape import Answer, Choice, FinishReason, completion_bytes, created_of

_MAX_NAME_CHARACTERS = 200  # it is stored inside the result, whose size the database bounds
_MAX_TOKENS = 2**53  # what JSON readers and the database count exactly

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",  # of a tool that the provider ran itself, or of the one that carries the answer
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
}
_HIDDEN = ("redacted_thinking",)
_PAUSED = "stop_reason: the provider paused a long turn (pause_turn); the answer is not complete"


def read_message(name: str, response: HttpResponse, answer_tool: str) -> Reply:
    """The reply in a success; `answer_tool` is the tool whose input is the answer, or empty.

    Raises: ContentBlocked for a refusal without a word; ValueError, KeyError, TypeError for what is no message.
    """
    data = orjson.loads(response.body)
    if data.get("type") == "error":
        raise error_of(name, response)
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    answers: list[str] = []
    others: dict[str, None] = {}
    for block in data["content"]:
        kind = block["type"]
        if kind == "text":
            texts.append(block["text"])
            if block.get("citations"):
                others["citations"] = None
        elif kind == "thinking":
            thoughts.append(block["thinking"])
        elif kind == "tool_use":
            arguments = orjson.dumps(block["input"]).decode()
            if block["name"] == answer_tool:
                answers.append(arguments)
            else:
                calls.append(ToolCall(name_of(block["id"]), name_of(block["name"]), arguments))
        else:
            others[kind] = None
    usage = usage_of(data["usage"])
    text = "".join(answers[:1] or texts)
    stop_reason = data["stop_reason"]
    if stop_reason == "refusal" and not text and not calls:
        error = blocked(name, data.get("stop_details"), response.headers)
        error.usage = usage
        raise error
    choice = Choice(
        text if text or not calls else None, finish_reason(stop_reason, calls), calls, "".join(thoughts)
    )
    model = name_of(data["model"])
    answer = Answer(name_of(data["id"]), model, [choice], usage, created_of(response.headers))
    warnings = left_out(name, others)
    return reply_of(answer, stop_reason, data["usage"], response.headers, warnings)


def finish_reason(stop_reason: Any, calls: Any) -> FinishReason:
    """The chat's word for why it ended; `calls` are those that the caller has to run, if any.

    Raises: TypeError without a reason, which only an answer cut short has.
    """
    if not isinstance(stop_reason, str):
        raise TypeError("it has no stop_reason")
    finish = _FINISH.get(stop_reason, "stop")
    return "tool_calls" if finish == "stop" and calls else finish


def left_out(name: str, kinds: Iterable[Any]) -> tuple[str, ...]:
    """The warnings for blocks that a chat has no place for. A hidden thought is nothing that was said."""
    shown = [kind[:_MAX_NAME_CHARACTERS] for kind in kinds if isinstance(kind, str) and kind not in _HIDDEN]
    return tuple([f"{kind}: a part of {name}'s answer that has no place in this one" for kind in shown[:20]])


def reply_of(
    answer: Answer,
    stop_reason: Any,
    usage: Mapping[str, Any],
    headers: Mapping[str, str],
    warnings: tuple[str, ...],
) -> Reply:
    """The whole answer with what stands beside it; `usage` is the provider's own object."""
    tier = usage.get("service_tier")
    return Reply(
        body=completion_bytes(answer),
        usage=answer.usage,
        model=answer.model,
        request_id=request_id(headers),
        warnings=(*warnings, _PAUSED) if stop_reason == "pause_turn" else warnings,
        tier=name_of(tier) if tier else "",
    )


def usage_of(data: Mapping[str, Any]) -> Usage:
    """Token counts; `input_tokens` there are only those that the prompt cache had no part in.

    Raises: ValueError for what is no count.
    """
    cached = _count(data.get("cache_read_input_tokens"))
    written = _count(data.get("cache_creation_input_tokens"))
    output = _count(data.get("output_tokens"))
    details = data.get("output_tokens_details") or {}
    return Usage(
        input_tokens=_count(data.get("input_tokens")) + cached + written,
        output_tokens=output,
        cached_tokens=cached,
        reasoning_tokens=min(_count(details.get("thinking_tokens")), output),
        cache_write_tokens=written,
    )


def _count(value: Any) -> int:
    if value is None:
        return 0
    # A third of the bound, so that the sum of the three kinds of input keeps it.
    if type(value) is not int or not 0 <= value <= _MAX_TOKENS // 3:
        raise ValueError("a count of tokens is none")
    return value


def name_of(value: Any) -> str:
    """An id or a name, bounded. Raises TypeError for what is no text."""
    if not isinstance(value, str):
        raise TypeError("a name is no text")
    return value[:_MAX_NAME_CHARACTERS]
