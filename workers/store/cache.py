"""Answers, kept in the cache Redis. Losing it costs money and time, never a result.

An entry is one JSON header line (version, usage, model, request id, warnings) and the answer's bytes. What cannot
be read is a miss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import orjson
from redis.asyncio import Redis

from workers.core.messages import Reply, Usage
from workers.store.redis import REDIS_DOWN

ENTRY_VERSION = 2


class Cache:
    """Look up and keep answers, a chunk at a time. Without Redis every look-up misses."""

    def __init__(self, client: Redis, *, max_entry_bytes: int) -> None:
        self._redis = client
        self._max_entry_bytes = max_entry_bytes

    async def find(self, keys: Sequence[str]) -> dict[str, Reply]:
        """Those of the keys that have an answer."""
        if not keys:
            return {}
        try:
            values = await self._redis.mget(list(keys))
        except REDIS_DOWN:
            return {}
        found = ((key, unpack(value)) for key, value in zip(keys, values, strict=True) if value is not None)
        return {key: reply for key, reply in found if reply is not None}

    async def holds(self, keys: Sequence[str]) -> list[bool]:
        """For each key, whether something is kept under it; nothing is read. All False without Redis."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.exists(key)
                return [bool(found) for found in await pipe.execute()]
        except REDIS_DOWN:
            return [False] * len(keys)

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def keep(self, replies: Mapping[str, Reply], ttl_s: Mapping[str, int]) -> set[str]:
        """Store answers for their time to live; gives the keys that are really there now."""
        entries = {key: pack(reply) for key, reply in replies.items()}
        small = {key: entry for key, entry in entries.items() if len(entry) <= self._max_entry_bytes}
        if not small:
            return set()
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key, entry in small.items():
                    pipe.set(key, entry, ex=ttl_s[key])
                done = await pipe.execute(raise_on_error=False)
        except REDIS_DOWN:
            return set()
        return {key for key, ok in zip(small, done, strict=True) if ok is True}


def pack(reply: Reply) -> bytes:
    """The stored form of an answer."""
    usage = reply.usage
    head: dict[str, Any] = {
        "v": ENTRY_VERSION,
        "usage": astuple(usage),
        "model": reply.model,
        "request_id": reply.request_id,
    }
    if reply.warnings:
        head["warnings"] = reply.warnings
    return orjson.dumps(head) + b"\n" + reply.body


def unpack(entry: bytes | str) -> Reply | None:
    """Read a stored answer; None for anything that is not one of ours, whole."""
    data = entry if isinstance(entry, bytes) else entry.encode()
    head_bytes, newline, body = data.partition(b"\n")
    if not newline or not body.startswith(b"{") or not body.endswith(b"}"):
        return None
    try:
        head = orjson.loads(head_bytes)
        if head["v"] != ENTRY_VERSION:
            return None
        return Reply(
            body,
            Usage(*(int(count) for count in head["usage"])),
            str(head["model"]),
            head["request_id"],
            tuple(str(warning) for warning in head.get("warnings", ())),
        )
    except (ValueError, KeyError, TypeError):
        return None
