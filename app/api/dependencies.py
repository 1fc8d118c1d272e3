"""What this process needs of others, and whether each answers: asked for `/ready`, remembered for `/health`.

All are asked at the same time, and nobody waits longer than `PATIENCE_S`. A question that hangs is not asked again
before it has ended, so a server that is away costs one thread however often somebody looks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from workers import metrics
from workers.observed import OBSERVED
from workers.store.redis import connect

log = logging.getLogger("batchwright.api")

PATIENCE_S = 1.8
LOOK_EVERY_S = 5.0
# An answer may be that old: a balancer and a person who look at once cost one question.
FRESH_S = 0.5
State = Literal["up", "down", "unknown"]
# Without it everything works, and costs more.
OPTIONAL = frozenset({"cache_redis"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one dependency last: `ms` its round trip if it answered, `at` monotonic seconds."""

    state: State
    ms: float | None
    at: float

    def as_dict(self, now: float) -> dict[str, Any]:
        """As a reply shows it."""
        age_s = None if self.state == "unknown" else round(max(0.0, now - self.at), 1)
        return {"state": self.state, "ms": self.ms, "age_seconds": age_s}


class RedisPing:
    """A connection of its own to one Redis, made at the first question."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Redis | None = None

    async def __call__(self) -> None:
        """Ask. Raises what redis-py raises."""
        if self._client is None:
            self._client = connect(self._url, max_connections=1, timeout_s=PATIENCE_S, repeats_late=False)
        ping: Awaitable[object] = self._client.ping()
        await ping

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            await self._client.aclose()


class Dependencies:
    """One per process, in its event loop.

    Args:
        asks: by name, any question; whatever it raises means that the answer did not come.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        asks: Mapping[str, Callable[[], Awaitable[object]]],
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asks, self._patience_s, self._clock = dict(asks), patience_s, clock
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._seen = {name: Seen("unknown", None, 0.0) for name in asks}

    def known(self) -> dict[str, Seen]:
        """What was seen last; asks nobody."""
        return dict(self._seen)

    async def look(self) -> dict[str, Seen]:
        """Ask all of them now, within `patience_s`."""
        waits = [self._ask(name) for name in self._asks if not self._is_fresh(name)]
        if waits:
            _, late = await asyncio.wait(waits, timeout=self._patience_s)
            for name, task in self._asking.items():
                if task in late:
                    self._note(name, Seen("down", None, self._clock()))
        return self.known()

    async def watch(self) -> None:
        """Look for ever, so that `known` is never old; cancel to stop."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        """Ask no more, and close what was opened for it."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        for ask in self._asks.values():
            if isinstance(ask, RedisPing):
                await ask.close()

    def _is_fresh(self, name: str) -> bool:
        seen = self._seen[name]
        return seen.state == "up" and self._clock() - seen.at < FRESH_S

    def _ask(self, name: str) -> asyncio.Task[None]:
        asking = self._asking.get(name)
        if asking is None or asking.done():
            asking = self._asking[name] = asyncio.create_task(self._try(name))
        return asking

    async def _try(self, name: str) -> None:
        began = self._clock()
        try:
            await self._asks[name]()
        except Exception as error:  # noqa: BLE001 - drivers have no common class, and any of them means the same here
            log.debug("%s does not answer: %s", name, type(error).__name__)
            self._note(name, Seen("down", None, self._clock()))
        else:
            took_s = self._clock() - began
            OBSERVED.time(metrics.DEPENDENCY_SECONDS, name, seconds=took_s)
            self._note(name, Seen("up", round(took_s * 1000, 3), self._clock()))

    def _note(self, name: str, seen: Seen) -> None:
        if seen.state == "down":
            OBSERVED.count(metrics.DEPENDENCY_FAILURES, name)
        before, self._seen[name] = self._seen[name].state, seen
        if seen.state == "down" and before != "down":
            log.warning("a server does not answer", extra={"dependency": name})
        elif seen.state == "up" and before == "down":
            log.info("a server answers again", extra={"dependency": name})


def readiness(seen: Mapping[str, Seen], *, stopping: bool) -> Literal["ready", "degraded", "not_ready"]:
    """Whether requests should come here: not while it stops, nor where something is away that everything needs."""
    down = {name for name, each in seen.items() if each.state != "up"}
    if stopping or down - OPTIONAL:
        return "not_ready"
    return "degraded" if down else "ready"
