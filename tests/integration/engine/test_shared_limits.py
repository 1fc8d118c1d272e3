"""Four processes' limiters before one real Redis, by its own clock: together exactly what one limit allows.

The same under worker processes, for minutes: tests/load.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tests.support.apart import apart
from tests.support.servers import TestServers
from workers.core.lanes import Ask, BreakerRules, Go, Rates, Seen
from workers.store.limiter import Limiter
from workers.store.redis import connect

pytestmark = [pytest.mark.integration, pytest.mark.stack]
HOLDERS = ("a", "b", "c", "d")
PER_S = 200
AHEAD_S = 2.0
ASKED_FOR_S = 0.3
TOKENS = 100
CALL_S = 0.005


@pytest.fixture
async def limiters(servers: TestServers) -> AsyncIterator[dict[str, Limiter]]:
    url = apart(servers, "busy").redis_url
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(url)) for _ in HOLDERS]
        await clients[0].flushdb()
        yield {
            name: Limiter(client, holder=name, processes=len(HOLDERS), breaker=BreakerRules())
            for name, client in zip(HOLDERS, clients, strict=True)
        }


def most_within(starts: list[float], stretch_s: float) -> int:
    """The most that start within any stretch of this length."""
    starts.sort()
    first = most = 0
    for last, start in enumerate(starts):
        while starts[first] <= start - stretch_s:
            first += 1
        most = max(most, last - first + 1)
    return most


class Asking:
    """Four limiters that ask as fast as they can for a while, and what they may have had by the clock."""

    def __init__(self, limiters: dict[str, Limiter], rates: Rates, asks: list[Ask]) -> None:
        self.rates, self._limiters, self._asks = rates, limiters, asks
        self._began = self._last_asked = self._ended = time.monotonic()

    async def run(self, granted: Callable[[Limiter, list[Go]], Awaitable[None]]) -> None:
        await asyncio.gather(*(self._ask_on(limiter, granted) for limiter in self._limiters.values()))
        self._ended = time.monotonic()

    async def _ask_on(
        self, limiter: Limiter, granted: Callable[[Limiter, list[Go]], Awaitable[None]]
    ) -> None:
        refused = False
        # Not before all is used up: on a busy machine much may have come together since the last question.
        while (now := time.monotonic()) - self._began < ASKED_FOR_S or not refused:
            self._last_asked = now
            verdicts = await limiter.reserve("p", self.rates, self._asks, in_flight={})
            goes = [verdict for verdict in verdicts if isinstance(verdict, Go)]
            refused = len(goes) < len(verdicts)
            if goes:
                await granted(limiter, goes)

    @property
    def allowed(self) -> tuple[float, float]:
        """Calls that were to be had when they last asked, and at the end, up to two seconds ahead."""
        least, most = (PER_S * (at - self._began + AHEAD_S) for at in (self._last_asked, self._ended))
        return least, most


async def test_four_processes_use_up_one_limit_of_requests_and_never_more(
    limiters: dict[str, Limiter],
) -> None:
    asking = Asking(limiters, Rates(requests_per_minute=PER_S * 60), [Ask("m", 1)] * 20)
    starts: list[float] = []

    async def granted(_: Limiter, goes: list[Go]) -> None:
        now = time.monotonic()
        starts.extend(now + go.wait_s for go in goes)

    await asking.run(granted)
    least, most = asking.allowed
    assert 0.95 * least <= len(starts) <= most + 1
    # A start is known to the millisecond, and by how long its reply took to come.
    assert most_within(starts, 1.0) <= PER_S * 1.1


@pytest.mark.parametrize("truly", [0.5, 1.0, 2.0], ids=lambda share: f"{share} of the estimate")
async def test_tokens_are_used_up_by_what_calls_truly_cost_not_by_what_was_estimated(
    limiters: dict[str, Limiter], truly: float
) -> None:
    asking, used = Asking(limiters, Rates(tokens_per_minute=PER_S * 60 * TOKENS), [Ask("m", TOKENS)] * 5), 0

    async def granted(limiter: Limiter, goes: list[Go]) -> None:
        nonlocal used
        reserved = len(goes) * TOKENS
        used += int(reserved * truly)
        seen = Seen(reserved_tokens=reserved, used_tokens=int(reserved * truly))
        await limiter.report("p", asking.rates, seen)

    await asking.run(granted)
    least, most = (calls * TOKENS for calls in asking.allowed)
    # What was granted and is not settled yet stands at its estimate.
    unsettled = len(HOLDERS) * 5 * TOKENS
    assert 0.95 * least - unsettled <= used <= most + unsettled * truly


async def test_calls_at_once_stay_below_the_limit_however_many_ask_in_each_process(
    limiters: dict[str, Limiter],
) -> None:
    rates, most = Rates(concurrency=10), 0
    under_way = {name: Counter[str]() for name in HOLDERS}

    async def call_on(name: str) -> None:
        nonlocal most
        for _ in range(15):
            verdicts = await limiters[name].reserve("p", rates, [Ask("m", 1)] * 3, in_flight=under_way[name])
            started = sum(isinstance(verdict, Go) for verdict in verdicts)
            under_way[name]["m"] += started
            most = max(most, sum(count.total() for count in under_way.values()))
            await asyncio.sleep(CALL_S)  # the call
            under_way[name]["m"] -= started
            await limiters[name].report("p", rates, Seen(in_flight=under_way[name]))

    await asyncio.gather(*(call_on(name) for name in HOLDERS for _ in range(5)))
    assert most == 10
