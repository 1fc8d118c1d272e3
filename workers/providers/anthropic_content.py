"""The turns of a chat as Anthropic's messages of content blocks. Pure.

Roles alternate there: neighbouring turns of one role become one message, and a tool's result is part of a user's.

Source: Anthropic's published API reference, POST /v1/messages: text, image, document, tool_use and tool_result
blocks.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any

import orjson

from workers.core.errors import Untranslatable
from workers.providers.chat import Media, Text, Turn

_NO_SIGN_OF_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def messages_of(name: str, turns: Sequence[Turn], warnings: list[str]) -> list[dict[str, Any]]:
    """The messages without those of the system. Raises Untranslatable with the part's path."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn.role == "system":
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = blocks_of(name, turn, warnings)
        if turn.role == "tool":
            blocks = [_result(turn, blocks)]
        elif turn.calls:
            blocks += _calls(name, turn)
        if not blocks:
            warnings.append(f"{turn.at}: {name} takes no empty message; it was left out")
        elif messages and messages[-1]["role"] == role:
            told = messages[-1]["content"]
            # Results stand before everything else that the user says: the API looks for them nowhere else.
            place = _results(told) if turn.role == "tool" else len(told)
            told[place:place] = blocks
        else:
            messages.append({"role": role, "content": blocks})
    return messages


def _results(blocks: list[dict[str, Any]]) -> int:
    """How many a message begins with."""
    return next((k for k, block in enumerate(blocks) if block["type"] != "tool_result"), len(blocks))


def blocks_of(name: str, turn: Turn, warnings: list[str]) -> list[dict[str, Any]]:
    """What a turn says and shows, without its calls."""
    blocks: list[dict[str, Any]] = []
    for k, part in enumerate(turn.parts):
        if not isinstance(part, Text):
            blocks.append(_media(name, part, f"{turn.at}.content[{k}]", warnings))
        elif part.text and not part.text.isspace():  # a text block without a sign is refused
            blocks.append({"type": "text", "text": part.text})
    return blocks


def _result(turn: Turn, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(turn.call_id)}
    if blocks:
        result["content"] = blocks
    return result


def _calls(name: str, turn: Turn) -> list[dict[str, Any]]:
    blocks = []
    for k, call in enumerate(turn.calls):
        try:
            arguments = orjson.loads(call.arguments)
        except orjson.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            param = f"{turn.at}.tool_calls[{k}].function.arguments"
            raise Untranslatable("expected a JSON object", provider=name, param=param)
        blocks.append({"type": "tool_use", "id": _id(call.id), "name": call.name, "input": arguments})
    return blocks


def _id(given: str) -> str:
    """A call's name in the signs that the API takes: other providers' have dots and colons too."""
    return _NO_SIGN_OF_IDS.sub("_", given)


def _media(name: str, media: Media, at: str, warnings: list[str]) -> dict[str, Any]:
    if media.kind == "audio":
        raise Untranslatable("its models do not listen", provider=name, param=at)
    if media.kind == "image":
        if media.detail not in ("", "auto"):
            warnings.append(f"{at}.image_url.detail: {name} has no such parameter; it was left out")
        return {"type": "image", "source": _image_source(name, media, at)}
    block = {"type": "document", "source": _document_source(name, media, at)}
    if media.filename:
        block["title"] = media.filename
    return block


def _image_source(name: str, media: Media, at: str) -> dict[str, str]:
    if not media.data:
        if media.url[:5].lower() == "data:":
            raise Untranslatable("expected base64 in a data: URL", provider=name, param=f"{at}.image_url.url")
        return {"type": "url", "url": media.url}
    if media.media_type not in _IMAGE_TYPES:
        message = f"expected {', '.join(sorted(_IMAGE_TYPES))}"
        raise Untranslatable(message, provider=name, param=f"{at}.image_url.url")
    return {"type": "base64", "media_type": media.media_type, "data": media.data}


def _document_source(name: str, media: Media, at: str) -> dict[str, str]:
    if media.url:
        return {"type": "url", "url": media.url}
    if not media.data:
        message = "only content that is sent along can be read"
        raise Untranslatable(message, provider=name, param=f"{at}.file.file_id")
    if media.media_type == "application/pdf":
        return {"type": "base64", "media_type": media.media_type, "data": media.data}
    try:
        if media.media_type == "text/plain":
            text = base64.b64decode(media.data, validate=True).decode()
            return {"type": "text", "media_type": media.media_type, "data": text}
    except ValueError:
        pass
    message = "expected application/pdf or UTF-8 text/plain, in base64"
    raise Untranslatable(message, provider=name, param=f"{at}.file.file_data")
