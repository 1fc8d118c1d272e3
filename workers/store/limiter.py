"""A provider's limits, shared by every worker process through the control Redis; by Redis's clock.

Before a chunk's calls start, `reserve` asks for all of them at once; what became of calls goes back by `report`.
The deciding stands in lua/reserve_calls.lua and lua/report_calls.lua, and without Redis in core/gcra.py: then each
process keeps half of its part of a limit by itself. `state` shows a person why nothing moves.

One question of a process is under way per provider at a time, under numbers that grow. So a script that
redis-py repeats is known by its number, and a count of calls can leave out no call that was granted meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby

import orjson
from redis.asyncio import Redis

from workers.core.gcra import AHEAD_MS, Share
from workers.core.lanes import Ask, Blocked, BreakerRules, Go, LimitState, NotNow, Rates, Seen, Verdict
from workers.core.rate import burst_of
from workers.core.rate_headers import LONGEST_S, allowances
from workers.store import keys
from workers.store.limit_state import away_state, read_state
from workers.store.redis import REDIS_DOWN, run_script

# A process that says nothing for so long is dead, and its calls under way count no more.
HOLDER_MS = 15_000
# After Redis has failed: until this is over nobody waits for its time-outs again.
AWAY_S = 1.0

_GO_NOW = Go(0.0)
_WORDS: dict[str, Blocked] = {"p": "paused", "l": "limit", "c": "concurrency"}
_WORDS_OF_A_LANE: dict[str, Blocked] = {"w": "paused", "g": "limit", "b": "breaker"}


@dataclass(slots=True)
class _Provider:
    """What this process knows of one provider by itself."""

    names: tuple[str, ...]
    numbers: Iterator[int]
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    questions: int = 0  # that are under way or wait for their turn
    granted: Counter[str] = field(default_factory=Counter)  # by model, while there are any
    outstanding_tokens: int = 0  # reserved by calls that are not reported yet
    paused_until_s: float = 0.0
    share: Share | None = None


class Limiter:
    """Reserve, report, state. Belongs to one event loop.

    `processes`: how many share the limits, as was heard last; what each may keep without Redis follows from it.
    """

    def __init__(
        self,
        client: Redis,
        *,
        holder: str,
        processes: int,
        breaker: BreakerRules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            holder: this process's name, which no other one has or had within the last minute.
            processes: how many share the limits until it is heard how many live.
            clock: monotonic seconds, for what is kept without Redis.
        """
        self._redis, self._holder, self.processes, self._clock = client, holder, processes, clock
        self._rules = orjson.dumps(
            [breaker.failures, round(breaker.open_s * 1000), round(breaker.max_open_s * 1000)]
        )
        self._providers: dict[str, _Provider] = {}
        self._away_until_s = 0.0

    async def reserve(
        self, provider: str, rates: Rates, asks: Sequence[Ask], *, in_flight: Mapping[str, int]
    ) -> list[Verdict]:
        """One verdict per ask, in order, and at once: nobody waits here for a limit.

        Args:
            in_flight: this process's calls under way by model, without those asked for. A call is under way from
                its `Go` on: count it before anything else is awaited.
        """
        if not asks:
            return []
        own = self._own(provider)
        calls = dict(in_flight)
        async with _turn(own, calls):
            if (wait_s := self.paused_s(provider)) > 0:
                return [NotNow("paused", wait_s)] * len(asks)
            verdicts = await self._asked(own, rates, asks, calls)
            _remember(own, asks, verdicts)
        return verdicts

    async def report(self, provider: str, rates: Rates, seen: Seen) -> None:
        """Say what became of calls, and what is under way. Say it within five seconds, and a refusal at once."""
        own = self._own(provider)
        calls = dict(seen.in_flight)
        pause_s = min(
            max((lane.retry_after_s or 0.0 for lane in seen.lanes.values()), default=0.0), LONGEST_S
        )
        if pause_s > 0:
            own.paused_until_s = max(own.paused_until_s, self._clock() + pause_s)
        async with _turn(own, calls):
            own.outstanding_tokens = max(0, own.outstanding_tokens - seen.reserved_tokens) if calls else 0
            if not await self._told(own, rates, seen, calls, pause_s) and own.share is not None:
                own.share.settle(seen.used_tokens - seen.reserved_tokens)

    async def state(self, provider: str, rates: Rates) -> LimitState:
        """How the limits stand now; changes nothing."""
        own = self._own(provider)
        paused_s = self.paused_s(provider)
        try:
            return await read_state(self._redis, provider, rates, paused_s)
        except REDIS_DOWN:
            return away_state(provider, rates, paused_s, own.share, self._clock() * 1000)

    def paused_s(self, provider: str) -> float:
        """How long nobody may call this provider yet, as far as this process has heard; 0 if it may."""
        return max(0.0, self._own(provider).paused_until_s - self._clock())

    def _own(self, provider: str) -> _Provider:
        own = self._providers.get(provider)
        if own is None:
            names = (
                keys.limit(provider),
                keys.calls(provider),
                keys.lanes(provider),
                keys.grant(provider, self._holder),
            )
            # A limiter that is made anew under the same name goes on above its last number.
            own = self._providers[provider] = _Provider(names, itertools.count(time.time_ns() // 1000))
        return own

    async def _asked(
        self, own: _Provider, rates: Rates, asks: Sequence[Ask], calls: dict[str, int]
    ) -> list[Verdict]:
        if self._clock() >= self._away_until_s:
            args = _reservation(rates, asks, calls, own.outstanding_tokens)
            try:
                reply = await run_script(
                    self._redis,
                    "reserve_calls",
                    keys=own.names,
                    args=[next(own.numbers), self._holder, *args],
                )
            except REDIS_DOWN:
                self._away_until_s = self._clock() + AWAY_S
            else:
                return self._read(own, reply.decode(), len(asks))
        if not rates.limited:
            return [_GO_NOW] * len(asks)
        if own.share is None or (own.share.rates, own.share.processes) != (rates, self.processes):
            own.share = Share(rates, self.processes)
        return own.share.reserve(asks, sum(calls.values()), self._clock() * 1000)

    def _read(self, own: _Provider, reply: str, asked: int) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for run in reply.split(",") if reply else ():
            word, _, count = run.partition("*")
            verdict = _verdict(word)
            if word[0] == "p":
                own.paused_until_s = max(own.paused_until_s, self._clock() + verdict.wait_s)
            verdicts += [verdict] * int(count)
        # No reply is for a question that was given up: nobody reads this, and nothing was taken for it.
        return verdicts or [NotNow("redis", AWAY_S)] * asked

    async def _told(
        self, own: _Provider, rates: Rates, seen: Seen, calls: dict[str, int], pause_s: float
    ) -> bool:
        """Whether Redis has taken it in. What it has not is lost: an estimate stands, a refusal comes again."""
        if self._clock() < self._away_until_s:
            return False
        lanes = [(model, lane.answered, lane.throttled, lane.failed) for model, lane in seen.lanes.items()]
        said = [
            (one.kind, one.limit, one.left, one.step_ms, one.fresh_s * 1000)
            for one in allowances(seen.headers, now_s=time.time())
        ]
        args: list[str | bytes | float] = [
            next(own.numbers),
            self._holder,
            rates.tokens_per_minute or 0,
            seen.used_tokens - seen.reserved_tokens,
            math.ceil(pause_s * 1000),
            HOLDER_MS,
            own.outstanding_tokens,
            orjson.dumps(calls),
            orjson.dumps(lanes),
            orjson.dumps(said),
            self._rules,
        ]
        try:
            await run_script(self._redis, "report_calls", keys=own.names, args=args)
        except REDIS_DOWN:
            self._away_until_s = self._clock() + AWAY_S
            return False
        return True


@asynccontextmanager
async def _turn(own: _Provider, calls: dict[str, int]) -> AsyncIterator[None]:
    """One question at a time. What is granted until its turn is added to its `calls`: its caller could not know."""
    before = dict(own.granted)
    own.questions += 1
    try:
        async with own.asking:
            for model, count in own.granted.items():
                if more := count - before.get(model, 0):
                    calls[model] = calls.get(model, 0) + more
            yield
    finally:
        own.questions -= 1
        if not own.questions:
            own.granted.clear()


def _remember(own: _Provider, asks: Sequence[Ask], verdicts: Sequence[Verdict]) -> None:
    # Nearly always all or nothing at once, and then nobody looks at each.
    started = asks
    if verdicts.count(_GO_NOW) < len(asks):
        started = [ask for ask, verdict in zip(asks, verdicts, strict=True) if isinstance(verdict, Go)]
    if started:
        own.granted.update([ask.model for ask in started])
        own.outstanding_tokens += sum([ask.tokens for ask in started])


def _reservation(
    rates: Rates, asks: Sequence[Ask], calls: dict[str, int], outstanding_tokens: int
) -> list[str | bytes | float]:
    rpm, tpm = rates.requests_per_minute or 0, rates.tokens_per_minute or 0
    tokens = [ask.tokens for ask in asks]
    number: dict[str, int] = {}
    runs, after = [], calls.copy()
    for model, run in groupby([ask.model for ask in asks]):
        count = len(list(run))
        runs.append(f"{count}:{number.setdefault(model, len(number) + 1)}")
        after[model] = after.get(model, 0) + count
    return [
        rpm,
        burst_of(rpm) if rpm else 0,
        tpm,
        burst_of(tpm) if tpm else 0,
        rates.concurrency or 0,
        AHEAD_MS,
        HOLDER_MS,
        outstanding_tokens,
        orjson.dumps(calls),
        orjson.dumps(after),
        len(asks),
        sum(tokens),
        ",".join(runs),
        str(tokens),  # the script takes the digits; this is the fastest way to write them
        *number,
    ]


def _verdict(word: str) -> Verdict:
    if word == "0":
        return _GO_NOW
    if word[0] in _WORDS:
        return NotNow(_WORDS[word[0]], int(word[1:]) / 1000)
    if word[0] in _WORDS_OF_A_LANE:
        return NotNow(_WORDS_OF_A_LANE[word[0]], int(word[1:]) / 1000, lane=True)
    return Go(int(word) / 1000)
