"""Anthropic's system prompt and messages, checked and brought into OpenAI's shape. Pure.

A block with `cache_control` leaves its lifetime beside the part that it became; anthropic_cache.py counts from
there. Field names and rules follow the published Messages API.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.simulator.errors import ApiError

_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")


@dataclass(slots=True)
class Turn:
    """One message in OpenAI's shape, its content always a list while it is built."""

    role: str
    parts: list[dict[str, Any]] = field(default_factory=list)
    marks: list[str | None] = field(default_factory=list)  # one a part: the lifetime of a breakpoint after it
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    end_mark: str | None = None  # of a breakpoint after the whole message
    tool_call_id: str | None = None

    def add(self, part: dict[str, Any], mark: str | None) -> None:
        self.parts.append(part)
        self.marks.append(mark)

    def message(self) -> dict[str, Any]:
        """The message: content of one text as a plain string, as most callers of other dialects send it."""
        content: Any = self.parts
        if len(self.parts) == 1 and self.parts[0]["type"] == "text":
            content = self.parts[0]["text"]
        shown: dict[str, Any] = {"role": self.role, "content": content or None}
        if self.tool_calls:
            shown["tool_calls"] = self.tool_calls
        if self.tool_call_id is not None:
            shown["tool_call_id"] = self.tool_call_id
        return shown


def refused(at: str, message: str) -> ApiError:
    """400 with the path of what is wrong before the message, as the API puts it."""
    return ApiError(400, f"{at}: {message}")


def lifetime(block: Mapping[str, Any], at: str) -> str | None:
    """`5m` or `1h` for a block with a cache breakpoint, else None.

    Raises: ApiError 400.
    """
    control = block.get("cache_control")
    if control is None:
        return None
    if not isinstance(control, dict) or control.get("type") != "ephemeral":
        raise refused(f"{at}.cache_control.type", "Input should be 'ephemeral'")
    ttl = control.get("ttl", "5m")
    if ttl not in ("5m", "1h"):
        raise refused(f"{at}.cache_control.ttl", "Input should be '5m' or '1h'")
    return str(ttl)


def system_turns(system: object) -> list[Turn]:
    """The system prompt as a turn, none without one.

    Raises: ApiError 400.
    """
    if system is None or system == "":
        return []
    turn = Turn("system")
    if isinstance(system, str):
        turn.add({"type": "text", "text": system}, None)
        return [turn]
    if not isinstance(system, list):
        raise refused("system", "Input should be a valid string or array")
    for k, block in enumerate(system):
        at = f"system.{k}"
        if not isinstance(block, dict) or block.get("type") != "text":
            raise refused(f"{at}.type", "Input should be 'text'")
        turn.add(_text(block, at, "system"), lifetime(block, at))
    return [turn] if turn.parts else []


def message_turns(messages: object) -> list[Turn]:
    """All messages as turns; one with tool results becomes several.

    Raises: ApiError 400 for a malformed block, an unanswered tool call or a result nobody asked for.
    """
    if messages is None:
        raise refused("messages", "Field required")
    if not isinstance(messages, list):
        raise refused("messages", "Input should be a valid array")
    if not messages:
        raise refused("messages", "at least one message is required")
    turns: list[Turn] = []
    open_calls: list[str] = []
    for k, message in enumerate(messages):
        at = f"messages.{k}"
        blocks = _blocks(message, at, last=k == len(messages) - 1)
        _check_results(blocks, open_calls, at)
        if message["role"] == "user":
            turns += _user_turns(blocks, at)
            open_calls = []
        else:
            turns.append(_assistant_turn(blocks, at))
            open_calls = [call["id"] for call in turns[-1].tool_calls]
    if open_calls:
        raise _unanswered(f"messages.{len(messages) - 1}", open_calls)
    return turns


def _blocks(message: object, at: str, *, last: bool) -> list[dict[str, Any]]:
    if not isinstance(message, dict):
        raise refused(at, "Input should be an object")
    if message.get("role") not in ("user", "assistant"):
        raise refused(f"{at}.role", "Input should be 'user' or 'assistant'")
    extra = set(message) - {"role", "content"}
    if extra:
        raise refused(f"{at}.{min(extra)}", "Extra inputs are not permitted")
    content = message.get("content")
    if not isinstance(content, str | list):
        problem = "Field required" if content is None else "Input should be a valid string or array"
        raise refused(f"{at}.content", problem)
    prefill = last and message["role"] == "assistant"
    if not content and not prefill:
        allowed = "except for the optional final assistant message"
        raise refused(at, f"all messages must have non-empty content {allowed}")
    if isinstance(content, str):
        if prefill and content != content.rstrip():
            raise refused("messages", "final assistant content cannot end with trailing whitespace")
        return [{"type": "text", "text": content}] if content else []
    for m, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise refused(f"{at}.content.{m}.type", "Field required")
    return content


def _check_results(blocks: list[dict[str, Any]], open_calls: list[str], at: str) -> None:
    """Every call of the message before must be answered here, and nothing else."""
    results = [str(block.get("tool_use_id")) for block in blocks if block["type"] == "tool_result"]
    for m, each in enumerate(results):
        if each not in open_calls:
            raise refused(
                f"{at}.content.{m}",
                f"unexpected `tool_use_id` found in `tool_result` blocks: {each}. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message.",
            )
    missing = [each for each in open_calls if each not in results]
    if missing:
        raise _unanswered(f"messages.{int(at.partition('.')[2]) - 1}", missing)


def _unanswered(at: str, calls: list[str]) -> ApiError:
    return refused(
        at,
        "`tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(calls)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
        "next message.",
    )


def _user_turns(blocks: list[dict[str, Any]], at: str) -> list[Turn]:
    results, turn = [], Turn("user")
    for m, block in enumerate(blocks):
        here = f"{at}.content.{m}"
        mark = lifetime(block, here)
        if block["type"] == "tool_result":
            results.append(_result_turn(block, here, mark))
        else:
            turn.add(_part(block, here), mark)
    return [*results, turn] if turn.parts else results


def _result_turn(block: Mapping[str, Any], at: str, mark: str | None) -> Turn:
    turn = Turn("tool", end_mark=mark, tool_call_id=str(block["tool_use_id"]))
    content = block.get("content")
    if isinstance(content, str):
        turn.add({"type": "text", "text": content}, None)
    elif isinstance(content, list):
        for m, inner in enumerate(content):
            here = f"{at}.content.{m}"
            if not isinstance(inner, dict):
                raise refused(here, "Input should be an object")
            turn.add(_part(inner, here), lifetime(inner, here))
    elif content is not None:
        raise refused(f"{at}.content", "Input should be a valid string or array")
    return turn


def _assistant_turn(blocks: list[dict[str, Any]], at: str) -> Turn:
    turn = Turn("assistant")
    for m, block in enumerate(blocks):
        here, kind = f"{at}.content.{m}", block["type"]
        mark = lifetime(block, here)
        if kind == "text":
            turn.add(_text(block, here, "messages"), mark)
        elif kind == "tool_use":
            turn.tool_calls.append(_tool_use(block, here))
            turn.end_mark = mark or turn.end_mark
        elif kind == "thinking":
            if not isinstance(block.get("signature"), str):
                raise refused(f"{here}.thinking.signature", "Field required")
        elif kind != "redacted_thinking":  # thinking of earlier turns is neither read nor paid
            raise refused(
                f"{here}.type",
                f"Input tag '{kind}' found using 'type' does not match any of the expected tags",
            )
    return turn


def _tool_use(block: Mapping[str, Any], at: str) -> dict[str, Any]:
    for name, kind in (("id", str), ("name", str), ("input", dict)):
        if not isinstance(block.get(name), kind):
            raise refused(f"{at}.tool_use.{name}", "Field required")
    function = {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()}
    return {"id": block["id"], "type": "function", "function": function}


def _text(block: Mapping[str, Any], at: str, where: str) -> dict[str, Any]:
    text = block.get("text")
    if not isinstance(text, str):
        raise refused(f"{at}.text.text", "Field required")
    if not text:
        raise refused(where, "text content blocks must be non-empty")
    return {"type": "text", "text": text}


def _part(block: Mapping[str, Any], at: str) -> dict[str, Any]:
    kind = block.get("type")
    if kind == "text":
        return _text(block, at, "messages")
    if kind == "search_result":
        return {"type": "text", "text": orjson.dumps(block.get("content")).decode()}
    if kind not in ("image", "document"):
        raise refused(
            f"{at}.type", f"Input tag '{kind}' found using 'type' does not match any of the expected tags"
        )
    source = block.get("source")
    if not isinstance(source, dict):
        raise refused(f"{at}.{kind}.source", "Field required")
    if kind == "document" and source.get("type") == "text" and isinstance(source.get("data"), str):
        return {"type": "text", "text": source["data"]}
    url = _url(source, f"{at}.{kind}.source", _IMAGE_TYPES if kind == "image" else ("application/pdf",))
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"file_data": url}}


def _url(source: Mapping[str, Any], at: str, media_types: tuple[str, ...]) -> str:
    kind = source.get("type")
    if kind in ("url", "file"):
        name = "url" if kind == "url" else "file_id"
        if not isinstance(source.get(name), str):
            raise refused(f"{at}.{kind}.{name}", "Field required")
        return str(source[name])
    if kind != "base64":
        raise refused(at, f"Input tag '{kind}' found using 'type' does not match any of the expected tags")
    media_type, data = source.get("media_type"), source.get("data")
    if media_type not in media_types:
        listed = " or ".join(f"'{each}'" for each in media_types)
        raise refused(f"{at}.base64.media_type", f"Input should be {listed}")
    try:
        base64.b64decode(data if isinstance(data, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise refused(f"{at}.base64.data", "invalid base64 data") from error
    return f"data:{media_type};base64,{data}"
