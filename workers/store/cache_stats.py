"""What the cache has done: counted in each process, added up by day in the cache Redis, read with its state.

cache.py counts per chunk and hands the counts over every few seconds, so that no look-up costs a round trip more.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import redis.exceptions
from redis.asyncio import Redis

from workers.store import keys
from workers.store.redis import REDIS_DOWN, run_script

KEPT_DAYS = 7
SCAN_PAGE = 1_000
# Twenty pages are some ten milliseconds of Redis; beyond them the number of all keys must do.
SCAN_AT_MOST = 20_000
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """Sums over some time and every process.

    Attributes:
        misses: look-ups without an answer at first sight. For `early` of them a warmed answer was there, but near
            its end; `late` of them found one when they looked again before calling.
        kept, too_large: answers stored, and answers over the bound, which were not.
        corrupt: entries that could not be read; they are misses, too.
        raw_bytes, packed_bytes: answers that were compressed, before and after.
    """

    hits: int = 0
    misses: int = 0
    kept: int = 0
    too_large: int = 0
    corrupt: int = 0
    early: int = 0
    late: int = 0
    raw_bytes: int = 0
    packed_bytes: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Look-ups that were answered, of all of them; None without any."""
        asked = self.hits + self.misses
        return (self.hits + self.late) / asked if asked else None

    def as_dict(self) -> dict[str, Any]:
        """The API's words."""
        return {**asdict(self), "hit_rate": self.hit_rate}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """The cache as it is now.

    Attributes:
        away: the cache Redis does not answer: every look-up misses, and the rest here is empty.
        last_7_days: today and the six days before; days are UTC's.
        keys_by_dbsize: every key of the Redis database, ours or not.
        entries_by_scan: answers by the kind of their key, of the first keys that a bounded SCAN came by;
            `scan_complete` says that it has seen all of them.
        memory_limit_bytes: 0 is no limit. This and what follows is None where the server does not tell.
    """

    away: bool = False
    today: CacheCounts = field(default_factory=CacheCounts)
    last_7_days: CacheCounts = field(default_factory=CacheCounts)
    keys_by_dbsize: int | None = None
    entries_by_scan: Mapping[str, int] = field(default_factory=dict)
    scan_complete: bool = False
    memory_used_bytes: int | None = None
    memory_limit_bytes: int | None = None
    eviction_policy: str | None = None
    evicted_keys: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The API's words."""
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        counts = {"today": self.today.as_dict(), "last_7_days": self.last_7_days.as_dict()}
        return {**shown, **counts, "entries_by_scan": dict(self.entries_by_scan)}


@dataclass(frozen=True, slots=True)
class _Addition:
    id: str
    day: datetime
    counts: Mapping[str, int]


class Counting:
    """One process's counts on their way to Redis: added once, whatever is repeated or lost on the way.

    Attributes:
        total: since the start; numbers never fall.
    """

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._unsent: _Addition | None = None

    def add(self, **counts: int) -> None:
        """Count; names are those of CacheCounts."""
        for name, number in counts.items():
            self.total[name] += number

    async def flush(self, client: Redis) -> None:
        """Hand over what is new. Raises REDIS_DOWN; it is kept for the next time then."""
        if self._unsent is None:
            counts = self.total - self._sent
            if not counts:
                return
            self._sent = self.total.copy()
            self._unsent = _Addition(secrets.token_hex(8), datetime.now(UTC), counts)
        sent = self._unsent
        oldest = sent.day - timedelta(days=KEPT_DAYS - 1)
        args: list[str | bytes | float] = [_word(sent.day), _word(oldest), (KEPT_DAYS + 1) * _DAY_S]
        for name, number in sent.counts.items():
            args += [name, number]
        await run_script(client, "add_counts", keys=[keys.CACHE_COUNTS, keys.counted(sent.id)], args=args)
        if self._unsent is sent:
            self._unsent = None


async def read_stats(client: Redis) -> CacheStats:
    """Ask Redis for everything. Raises REDIS_DOWN."""
    today, week = await _counts(client)
    entries, is_whole = await _scanned(client)
    return CacheStats(
        today=today,
        last_7_days=week,
        keys_by_dbsize=int(await client.dbsize()),
        entries_by_scan=entries,
        scan_complete=is_whole,
        **await _server(client),
    )


async def _counts(client: Redis) -> tuple[CacheCounts, CacheCounts]:
    now = datetime.now(UTC)
    days = {_word(now - timedelta(days=ago)) for ago in range(KEPT_DAYS)}
    names = {each.name for each in fields(CacheCounts)}
    today: Counter[str] = Counter()
    week: Counter[str] = Counter()
    counts: Any = await client.hgetall(keys.CACHE_COUNTS)
    for field_, number in counts.items():
        day, _, name = field_.decode().partition(":")
        if day not in days or name not in names:
            continue
        week[name] += int(number)
        if day == _word(now):
            today[name] += int(number)
    return CacheCounts(**today), CacheCounts(**week)


async def _scanned(client: Redis) -> tuple[dict[str, int], bool]:
    found = dict.fromkeys(keys.ANSWER_KINDS, 0)
    cursor, seen = 0, 0
    while seen < SCAN_AT_MOST:
        page: Any
        cursor, page = await client.scan(cursor, count=SCAN_PAGE)
        seen += len(page)
        for key in page:
            kind = key.partition(b":")[0].decode("utf-8", "replace")
            if kind in found:
                found[kind] += 1
        if cursor == 0:
            return found, True
    return found, False


async def _server(client: Redis) -> dict[str, Any]:
    """What the server tells of itself; nothing where it is not allowed to, as with some hosted ones."""
    try:
        memory, stats = await client.info("memory"), await client.info("stats")
    except redis.exceptions.ResponseError:
        return {}
    return {
        "memory_used_bytes": memory.get("used_memory"),
        "memory_limit_bytes": memory.get("maxmemory"),
        "eviction_policy": memory.get("maxmemory_policy"),
        "evicted_keys": stats.get("evicted_keys"),
    }


def _word(day: datetime) -> str:
    return day.strftime("%Y-%m-%d")


async def stats_or_away(client: Redis) -> CacheStats:
    """`read_stats`, or that nobody answers."""
    try:
        return await read_stats(client)
    except REDIS_DOWN:
        return CacheStats(away=True)
