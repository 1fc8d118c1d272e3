"""Tokens by size: four UTF-8 bytes each. One rule for prompts, answers and limits, so that sums agree.

No tokenizer: it would weigh more than the whole simulator and still be right for one model only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4  # role and separators, about what chat formats cost
TOKENS_PER_IMAGE = 85


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
            images = sum(1 for part in content if isinstance(part, dict) and part.get("type") == "image_url")
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
