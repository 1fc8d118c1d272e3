"""Anthropic's prompt cache: what a request reads from it, writes to it, and pays in full. Pure but for the cache.

A breakpoint ends a beginning of the prompt: tools, schema, system, messages. It is written when nothing did so
before; read is the longest beginning written before that ends at a breakpoint or up to 20 blocks above one.
Beginnings under 1,024 tokens are never cached. A breakpoint on one tool counts as one after all tools.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.simulator.anthropic_turns import Turn
from app.simulator.chat import ChatRequest
from app.simulator.promptcache import PromptCache, beginnings
from app.simulator.usage import BYTES_PER_TOKEN, message_bytes, prompt_bytes

_LOOK_BACK_BLOCKS = 20


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens read and written; `keep` makes the written ones known once the call is answered."""

    read_tokens: int
    written_5m_tokens: int
    written_1h_tokens: int
    keep: Callable[[], None]

    @property
    def written_tokens(self) -> int:
        return self.written_5m_tokens + self.written_1h_tokens


def cache_use(
    request: ChatRequest, turns: list[Turn], tools_mark: str | None, cache: PromptCache
) -> CacheUse:
    """Work out what a request has of the cache."""
    ends = _block_ends(request, turns, tools_mark)
    marked = [k for k, (_, mark) in enumerate(ends) if mark]
    if not marked:
        return CacheUse(0, 0, 0, _keep_nothing)
    prompt = prompt_bytes(request.messages, request.tools, request.schema)
    known = dict(beginnings(f"anthropic {request.model}", prompt, [tokens for tokens, _ in ends]))
    near = {ends[k][0] for m in marked for k in range(max(0, m - _LOOK_BACK_BLOCKS), m + 1)}
    read = cache.longest([(tokens, digest) for tokens, digest in known.items() if tokens in near])
    written, done = {"5m": 0, "1h": 0}, read
    for tokens, mark in (ends[m] for m in marked):
        if tokens > done and mark and tokens in known:
            written[mark] += tokens - done
            done = tokens
    kept = [(tokens, known[tokens]) for tokens in (ends[m][0] for m in marked) if tokens in known]
    return CacheUse(read, written["5m"], written["1h"], partial(cache.keep, kept))


def _block_ends(
    request: ChatRequest, turns: list[Turn], tools_mark: str | None
) -> list[tuple[int, str | None]]:
    """(tokens up to the end of each block, lifetime of the breakpoint there)."""
    at = len(prompt_bytes((), request.tools, request.schema)) // BYTES_PER_TOKEN
    ends: list[tuple[int, str | None]] = [(at, tools_mark)] if at else []
    for turn, message in zip(turns, request.messages, strict=True):
        head, *parts = (len(part) // BYTES_PER_TOKEN for part in message_bytes(message))
        at += head
        for k, part_tokens in enumerate(parts):
            at += part_tokens
            mark = turn.marks[k] if k < len(turn.marks) else None
            ends.append((at, (turn.end_mark or mark) if k == len(parts) - 1 else mark))
    return ends


def _keep_nothing() -> None:
    """No breakpoint, nothing to keep."""
