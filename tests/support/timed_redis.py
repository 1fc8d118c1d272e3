"""The limiter with a time of ours: its very scripts, with what Redis's TIME says put in its place.

So no test waits, and one may look at minutes. Also the short words of its tests.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from redis.asyncio import Redis

from workers.core.lanes import Ask, BreakerRules, Go, LaneSeen, NotNow, Seen, Verdict
from workers.store.limiter import Limiter
from workers.store.redis import source

RULES = BreakerRules(failures=3, open_s=5.0, max_open_s=20.0)
NOW = Go(0.0)
BUSY = NotNow("concurrency", 0.25)
_KINDS = {
    hashlib.sha1(source(kind).encode(), usedforsecurity=False).hexdigest(): kind
    for kind in ("reserve_calls", "report_calls")
}


class Timed:
    """A Redis whose scripts see our time, which may repeat each of them as redis-py does."""

    def __init__(self, redis: Redis) -> None:
        self.redis, self.now_ms, self.repeats = redis, float(time.time_ns() // 1_000_000), 0

    def pipeline(self, **options: Any) -> Any:
        return self.redis.pipeline(**options)

    async def execute_command(self, name: str, sha: str, *words: Any) -> Any:
        assert name == "EVALSHA"
        kind = _KINDS[sha]
        text = source(kind).replace("redis.call('TIME')", f"{{0, {self.now_ms * 1000:.0f}}}")
        run: Any = self.redis.execute_command
        replies = [await run("EVAL", text, *words) for _ in range(1 + self.repeats)]
        assert kind == "report_calls" or replies == replies[:1] * len(replies)
        return replies[0]

    def clock(self) -> float:
        return self.now_ms / 1000

    def limiter(self, holder: str, processes: int = 4) -> Limiter:
        client: Any = self
        return Limiter(client, holder=holder, processes=processes, breaker=RULES, clock=self.clock)


def asks(count: int, model: str = "m", tokens: int = 1) -> list[Ask]:
    return [Ask(model, tokens)] * count


def seen(model: str = "m", under_way: int = 0, **counts: Any) -> Seen:
    return Seen(lanes={model: LaneSeen(**counts)}, in_flight={model: under_way})


def goes(verdicts: list[Verdict]) -> int:
    return sum(isinstance(verdict, Go) for verdict in verdicts)
