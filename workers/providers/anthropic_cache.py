"""Where Anthropic's prompt cache is asked to keep a prefix. Pure.

The API caches from the start of the request (tools, then system, then messages) to each block that carries
`cache_control`. A mark stands at the end of each part that other requests are likely to begin with as well: the
tools, the system prompt, the documents that lead the first user message; three of the four marks the API allows. The
question itself is never marked: writing costs a quarter more than reading anew and nobody would read it.

Source: Anthropic's published pages on prompt caching and PDF support (1,500 to 3,000 tokens of text a page).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

_BYTES_PER_TOKEN = 4
_TOKENS_PER_PAGE = 1500
_BASE64_CHARACTERS_PER_PAGE = 100_000


def mark_prefixes(body: dict[str, Any], min_tokens: int | None, options: Mapping[str, Any]) -> None:
    """Put `cache_control` on the body's own blocks, where the prefix is long enough to be kept.

    `options` that say anything of `cache_control` at any depth keep us out: the caller places the marks, or wants
    none (`{"cache_control": null}`).

    Args:
        min_tokens: the shortest prefix that the model's cache takes; None: it has no cache. A prefix that turns out
            shorter is not cached and costs nothing extra, so a rough size will do.
    """
    if min_tokens is None or _names_cache_control(options):
        return
    tools: list[dict[str, Any]] = body.get("tools", [])
    system: list[dict[str, Any]] = body.get("system", [])
    tokens = 0
    for blocks, size in (
        (tools, _json_bytes(tools) // _BYTES_PER_TOKEN if tools else 0),
        (system, sum(_bytes(block["text"]) for block in system) // _BYTES_PER_TOKEN),
        _leading_documents(body["messages"]),
    ):
        tokens += size
        if blocks and tokens >= min_tokens:
            blocks[-1]["cache_control"] = {"type": "ephemeral"}


def _leading_documents(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Those that stand before the first words: what comes after a question is a prefix of nothing."""
    blocks: list[dict[str, Any]] = []
    tokens = 0
    for block in messages[0]["content"] if messages and messages[0]["role"] == "user" else ():
        if block["type"] != "document":
            break
        blocks.append(block)
        source = block["source"]
        if source["type"] == "text":
            tokens += _bytes(source["data"]) // _BYTES_PER_TOKEN
        else:
            tokens += _TOKENS_PER_PAGE * (1 + len(source.get("data", "")) // _BASE64_CHARACTERS_PER_PAGE)
    return blocks, tokens


def _json_bytes(tools: list[dict[str, Any]]) -> int:
    try:
        return len(orjson.dumps(tools))
    except TypeError:  # nor can the body be written: it is refused there
        return 0


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _names_cache_control(value: Any) -> bool:
    left = [value]  # not by recursion: how deep it goes is the caller's choice
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            if "cache_control" in each:
                return True
            left += each.values()
        elif isinstance(each, list):
            left += each
    return False
