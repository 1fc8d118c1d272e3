"""Answers, kept in the cache Redis. Losing it costs money and time, never a result.

cache_entry.py   the stored form; what cannot be read is a miss
cache_stats.py   what was hit, missed and kept, over all processes
core/ttl.py      how long an answer lives; core/xfetch.py, when a warmed one is asked for anew before its end
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from workers.core.messages import Reply
from workers.core.xfetch import is_due
from workers.store import keys as key_forms
from workers.store.cache_entry import Codec, Unread, Warm, Warmed
from workers.store.cache_stats import SCAN_PAGE, CacheCounts, CacheStats, Counting, stats_or_away
from workers.store.contact import Contact
from workers.store.redis import REDIS_DOWN, run_script

# Redis does nothing else while it runs a script; this much is a few milliseconds.
_KEEP_AT_ONCE = 128
_KEEP_BYTES = 4_000_000
_REFUSED_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Cleared:
    """How many entries went; `away`: the cache Redis stopped answering, so there may be more."""

    entries: int
    away: bool = False


class Cache:
    """Look up and keep answers, a chunk at a time. Without Redis every look-up misses. Belongs to one event loop."""

    def __init__(
        self,
        client: Redis,
        *,
        max_entry_bytes: int,
        compress_over_bytes: int = 2_048,
        early_refresh: float = 1.0,
        now_s: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Three settings of the section `cache`, then Unix time and a uniform draw in [0, 1) for XFetch."""
        self._redis = client
        self._codec = Codec(compress_over_bytes=compress_over_bytes, max_body_bytes=max_entry_bytes)
        self._beta, self._now_s, self._draw = early_refresh, now_s, draw
        self._counting = Counting()
        self._contact = Contact("the cache Redis", "answers are neither looked up nor kept")
        # Warmed answers that a look-up has just refused, by key: they stay warmed when they are renewed.
        self._refused: dict[str, Warm] = {}

    async def find(
        self, keys: Sequence[str], *, again: bool = False, lives_until_s: Mapping[str, float] | None = None
    ) -> dict[str, Reply]:
        """Those of the keys that have an answer, except a warmed one that is to be renewed now (XFetch).

        Args:
            again: the second look of somebody whose first one missed. What was refused then is refused once more,
                or nothing would ever be renewed; and one miss is not counted as two.
            lives_until_s: an answer to one of these counts only if it lives so long (Unix seconds); who warms asks so.
        """
        if not keys:
            return {}
        values = await self._values(keys)
        short = await self._short_lived(lives_until_s) if lives_until_s else ()
        found: dict[str, Reply] = {}
        corrupt = early = 0
        unpack = self._codec.unpack
        for key, value in zip(keys, values, strict=True):
            if value is None:
                continue
            if key in short:
                early += 1
                continue
            read = unpack(value)
            if isinstance(read, Reply):
                found[key] = read
            elif isinstance(read, Warmed):
                if self._is_due(key, read.warm, again=again):
                    early += 1
                else:
                    found[key] = read.reply
            elif read is Unread.CORRUPT:
                corrupt += 1
        if again:
            self._counting.add(late=len(found))
        else:
            self._counting.add(hits=len(found), misses=len(keys) - len(found), corrupt=corrupt, early=early)
        return found

    async def _values(self, keys: Sequence[str]) -> list[Any]:
        asked_at = self._contact.now()
        try:
            values: list[Any] = [None] * len(keys) if self._contact.away else await self._redis.mget(keys)
        except REDIS_DOWN as error:
            self._contact.lost(error, asked_at)
            return [None] * len(keys)
        if not self._contact.away:
            self._contact.found()
        return values

    async def _short_lived(self, lives_until_s: Mapping[str, float]) -> frozenset[str]:
        """Those whose answers end before; without Redis none."""
        if self._contact.away:
            return frozenset()
        left_s = await self.left_s(list(lives_until_s))
        now_s = self._now_s()
        return frozenset(
            key
            for (key, until_s), left in zip(lives_until_s.items(), left_s, strict=True)
            if left is not None and now_s + left < until_s
        )

    async def left_s(self, keys: Sequence[str]) -> list[float | None]:
        """For each key, how long its answer still lives, in seconds; None without one, or without Redis."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.pttl(key)
                return [ms / 1000.0 if ms >= 0 else None for ms in await pipe.execute()]
        except REDIS_DOWN:
            return [None] * len(keys)

    async def holds(self, keys: Sequence[str]) -> list[bool]:
        """For each key, whether something is kept under it; nothing is read. All False without Redis."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.exists(key)
                return [bool(found) for found in await pipe.execute()]
        except REDIS_DOWN:
            return [False] * len(keys)

    async def keep(
        self,
        replies: Mapping[str, Reply],
        ttl_s: Mapping[str, int],
        *,
        warmed_ms: Mapping[str, float] | None = None,
    ) -> set[str]:
        """Store answers for their time to live, or as long as those they replace if that is longer.

        Args:
            warmed_ms: the keys that are fetched ahead of their askers, with the milliseconds each answer took:
                they are renewed before they expire.
        Returns: the keys that are really there now.
        """
        kept: set[str] = set()
        if self._contact.away:
            return kept
        asked_at = self._contact.now()
        try:
            for chunk in self._chunks(replies, ttl_s, warmed_ms or {}):
                args: list[str | bytes | float] = []
                for key, entry in chunk:
                    args += [entry, ttl_s[key] * 1000]
                names = [key for key, _ in chunk]
                await run_script(self._redis, "keep_answers", keys=names, args=args)
                kept.update(names)
        except REDIS_DOWN as error:
            self._contact.lost(error, asked_at)
        self._counting.add(kept=len(kept))
        return kept

    async def clear(self, prefix: str | None = None) -> Cleared:
        """Take away the answers whose keys begin with these whole words (`ai:v2:openai`); None: all of them.

        Nothing else is touched, whatever lives in the same Redis. Raises UserError for a prefix of no answer.
        """
        entries = 0
        try:
            for pattern in key_forms.answer_patterns(prefix):
                cursor = 0
                while True:
                    cursor, page = await self._redis.scan(cursor, match=pattern, count=SCAN_PAGE)
                    entries += int(await self._redis.unlink(*page)) if page else 0
                    if cursor == 0:
                        break
        except REDIS_DOWN:
            return Cleared(entries, away=True)
        return Cleared(entries)

    @property
    def counts(self) -> CacheCounts:
        """What this process has counted since its start."""
        return CacheCounts(**self._counting.total)

    async def flush_counts(self) -> None:
        """Add this process's counts to those of all; without Redis they wait for the next time."""
        try:
            await self._counting.flush(self._redis)
        except REDIS_DOWN:
            return

    async def stats(self) -> CacheStats:
        """What the cache did and how full it is, over all processes; those tell it every few seconds."""
        await self.flush_counts()
        return await stats_or_away(self._redis)

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    def _chunks(
        self, replies: Mapping[str, Reply], ttl_s: Mapping[str, int], warmed_ms: Mapping[str, float]
    ) -> Iterator[list[tuple[str, bytes]]]:
        """Entries for one script each. An answer over the bound is counted and left out."""
        raw, packed = self._codec.raw_bytes, self._codec.packed_bytes
        chunk: list[tuple[str, bytes]] = []
        size = too_large = 0
        for key, reply in replies.items():
            entry = self._codec.pack(reply, self._warm_of(key, ttl_s[key], warmed_ms.get(key)))
            if entry is None:
                too_large += 1
                continue
            if chunk and (len(chunk) == _KEEP_AT_ONCE or size + len(entry) > _KEEP_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append((key, entry))
            size += len(entry)
        self._counting.add(
            too_large=too_large,
            raw_bytes=self._codec.raw_bytes - raw,
            packed_bytes=self._codec.packed_bytes - packed,
        )
        if chunk:
            yield chunk

    def _warm_of(self, key: str, ttl_s: int, took_ms: float | None) -> Warm | None:
        before = self._refused.pop(key, None)
        if took_ms is None and before is not None:
            took_ms = before.took_ms
        return None if took_ms is None else Warm(self._now_s() + ttl_s, took_ms)

    def _is_due(self, key: str, warm: Warm, *, again: bool) -> bool:
        if again:
            return self._refused.get(key) == warm
        due = is_due(
            self._now_s(), expires_s=warm.expires_s, took_ms=warm.took_ms, beta=self._beta, draw=self._draw()
        )
        if due:
            if len(self._refused) >= _REFUSED_AT_MOST:
                self._refused.clear()
            self._refused[key] = warm
        else:
            self._refused.pop(key, None)
        return due
