"""Tokens by size: four UTF-8 bytes each. One rule for prompts, answers and limits, so that sums agree.

No tokenizer: it would weigh more than the whole simulator and still be right for one model only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from blake3 import blake3

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4  # role and separators, about what chat formats cost
TOKENS_PER_IMAGE = 85
_SEEN = ("image_url", "file", "input_audio")  # parts that are no text; all cost as much as an image
_HEAD_BYTES = TOKENS_PER_MESSAGE * BYTES_PER_TOKEN


def count_tokens(text: str) -> int:
    """Tokens of one text; 0 only for the empty one."""
    size_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size_bytes // BYTES_PER_TOKEN)


def texts_of(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every text in the messages, in order, whether content is a string or a list of parts."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    yield part["text"]


def prompt_tokens(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = (), schema: object = None
) -> int:
    """Input tokens of a chat request: texts, images, tool calls of earlier turns, tools and schema."""
    total = sum(count_tokens(text) for text in texts_of(messages)) + TOKENS_PER_MESSAGE * len(messages)
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            images = sum(1 for part in content if isinstance(part, dict) and part.get("type") in _SEEN)
            total += TOKENS_PER_IMAGE * images
        if message.get("tool_calls"):
            total += size_tokens(message["tool_calls"])
    if tools:
        total += size_tokens(list(tools))
    if schema is not None:
        total += size_tokens(schema)
    return total


def size_tokens(value: object) -> int:
    """Tokens of a JSON value, by its compact size."""
    return -(-len(orjson.dumps(value)) // BYTES_PER_TOKEN)


def cut_to_tokens(text: str, max_tokens: int) -> str:
    """The longest prefix worth at most `max_tokens`, never cutting a character in two."""
    if count_tokens(text) <= max_tokens:
        return text
    return text.encode("utf-8", "replace")[: max_tokens * BYTES_PER_TOKEN].decode("utf-8", "ignore")


def prompt_bytes(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = (), schema: object = None
) -> bytes:
    """A prompt as bytes, exactly `BYTES_PER_TOKEN` for each of its `prompt_tokens`, in the order a provider
    caches it: tools, schema, messages. Equal beginnings are equal prompts so far."""
    parts: list[bytes] = []
    if tools:
        parts.append(_filled(orjson.dumps(list(tools))))
    if schema is not None:
        parts.append(_filled(orjson.dumps(schema)))
    parts += (part for message in messages for part in message_bytes(message))
    return b"".join(parts)


def message_bytes(message: Mapping[str, Any]) -> Iterator[bytes]:
    """The bytes of one message, as in `prompt_bytes`, part by part: its head first, its tool calls last."""
    yield str(message.get("role")).encode("utf-8", "replace").ljust(_HEAD_BYTES, b"\0")[:_HEAD_BYTES]
    content = message.get("content")
    if isinstance(content, str):
        yield _filled(content.encode("utf-8", "surrogatepass"))
    elif isinstance(content, list):
        for part in content:
            yield _part_bytes(part) if isinstance(part, dict) else b""
    if message.get("tool_calls"):
        yield _filled(orjson.dumps(message["tool_calls"]))


def _part_bytes(part: Mapping[str, Any]) -> bytes:
    text = part.get("text")
    filled = _filled(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else b""
    if part.get("type") in _SEEN:
        digest = blake3(orjson.dumps(part)).hexdigest().encode()
        filled += digest.ljust(TOKENS_PER_IMAGE * BYTES_PER_TOKEN, b"\0")
    return filled


def _filled(data: bytes) -> bytes:
    """Up to whole tokens."""
    return data + b"\0" * (-len(data) % BYTES_PER_TOKEN)
