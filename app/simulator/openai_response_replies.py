"""OpenAI's `response` object, whole and as the events of a stream, numbered in their order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from app.simulator.chat import ChatAnswer, ChatRequest
from app.simulator.dialect import Stamp
from app.simulator.pieces import pieces_of

Item = dict[str, Any]
_EMPTY: Mapping[str, Item] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "reasoning": {"summary": []},
}


def response_reply(
    body: Mapping[str, Any], request: ChatRequest, answer: ChatAnswer, cached_tokens: int, stamp: Stamp
) -> dict[str, Any]:
    """A whole response, completed or cut off by its output cap."""
    response = _head(body, request, stamp)
    incomplete = answer.choices[0].finish_reason == "length"
    response["status"] = "incomplete" if incomplete else "completed"
    response["incomplete_details"] = {"reason": "max_output_tokens"} if incomplete else None
    response["output"] = _items(body, answer, stamp)
    response["usage"] = {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": cached_tokens, "cache_write_tokens": 0},
        "output_tokens": answer.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }
    if not incomplete:
        response["completed_at"] = stamp.created
    return response


def response_events(
    body: Mapping[str, Any], request: ChatRequest, answer: ChatAnswer, cached_tokens: int, stamp: Stamp
) -> Iterator[bytes]:
    """The events of a streamed response, `sequence_number` counting from 0."""
    for number, (kind, data) in enumerate(_told(body, request, answer, cached_tokens, stamp)):
        event = orjson.dumps({"type": kind, "sequence_number": number, **data})
        yield b"event: " + kind.encode() + b"\ndata: " + event + b"\n\n"


def _told(
    body: Mapping[str, Any], request: ChatRequest, answer: ChatAnswer, cached_tokens: int, stamp: Stamp
) -> Iterator[tuple[str, Item]]:
    head = _head(body, request, stamp)
    yield "response.created", {"response": head}
    yield "response.in_progress", {"response": head}
    whole = response_reply(body, request, answer, cached_tokens, stamp)
    for k, item in enumerate(whole["output"]):
        at = {"output_index": k, "item_id": item["id"]}
        yield "response.output_item.added", {"output_index": k, "item": _begun(item)}
        if item["type"] == "message":
            yield from _text_told(item["content"], at)
        elif item["type"] == "function_call":
            yield from _arguments_told(item["arguments"], at)
        else:
            yield from _summary_told(item["summary"], at)
        yield "response.output_item.done", {"output_index": k, "item": item}
    yield f"response.{whole['status']}", {"response": whole}


def _begun(item: Item) -> Item:
    empty: dict[str, Item] = {
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "reasoning": {"summary": []},
    }
    return {**item, **empty[item["type"]], "status": "in_progress"}


def _text_told(parts: list[Item], at: Item) -> Iterator[tuple[str, Item]]:
    for m, part in enumerate(parts):
        here = {**at, "content_index": m}
        yield "response.content_part.added", {**here, "part": {**part, "text": ""}}
        for piece in pieces_of(part["text"]):
            yield "response.output_text.delta", {**here, "delta": piece, "logprobs": []}
        yield "response.output_text.done", {**here, "text": part["text"], "logprobs": []}
        yield "response.content_part.done", {**here, "part": part}


def _arguments_told(arguments: str, at: Item) -> Iterator[tuple[str, Item]]:
    for piece in pieces_of(arguments):
        yield "response.function_call_arguments.delta", {**at, "delta": piece}
    yield "response.function_call_arguments.done", {**at, "arguments": arguments}


def _summary_told(parts: list[Item], at: Item) -> Iterator[tuple[str, Item]]:
    for m, part in enumerate(parts):
        here = {**at, "summary_index": m}
        yield "response.reasoning_summary_part.added", {**here, "part": {**part, "text": ""}}
        for piece in pieces_of(part["text"]):
            yield "response.reasoning_summary_text.delta", {**here, "delta": piece}
        yield "response.reasoning_summary_text.done", {**here, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**here, "part": part}


def _items(body: Mapping[str, Any], answer: ChatAnswer, stamp: Stamp) -> list[Item]:
    choice = answer.choices[0]
    status = "incomplete" if choice.finish_reason == "length" else "completed"
    items: list[Item] = []
    if choice.thinking:
        asked_for = (body.get("reasoning") or {}).get("summary")
        summary = [{"type": "summary_text", "text": choice.thinking}] if asked_for else []
        items.append({"id": f"rs_{stamp.id}", "type": "reasoning", "summary": summary})
    if choice.text is not None:
        part = {"type": "output_text", "text": choice.text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{stamp.id}", "type": "message", "role": "assistant"}
        items.append({**message, "status": status, "content": [part]})
    for k, call in enumerate(choice.calls):
        ids = {"id": f"fc_{stamp.id}{k}", "call_id": f"call_{stamp.id}{k}"}
        called = {"type": "function_call", "name": call.name, "arguments": call.arguments, "status": status}
        items.append({**ids, **called})
    return items


def _head(body: Mapping[str, Any], request: ChatRequest, stamp: Stamp) -> dict[str, Any]:
    """The response as it begins, with the settings it was asked under."""
    text = body.get("text") or {}
    reasoning = body.get("reasoning") or {}
    told = {name: body.get(name) for name in ("instructions", "max_output_tokens", "max_tool_calls", "user")}
    return {
        "id": f"resp_{stamp.id}",
        "object": "response",
        "created_at": stamp.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        **told,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity") or "medium",
        },
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [{"parameters": None, "strict": True, **tool} for tool in body.get("tools") or []],
        "top_logprobs": 0,
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "metadata": body.get("metadata") or {},
    }
