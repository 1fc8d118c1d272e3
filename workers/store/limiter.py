"""The limits of providers and tenants, shared by every worker process through the control Redis; by Redis's clock.

Before a chunk's calls start, `reserve` asks for all of them at once, at their provider and, where it has limits, at
their tenant: one script, so neither is charged for what the other refuses. What became of calls goes back by `report`.
The deciding stands in lua/reserve_calls.lua and lua/report_calls.lua (limit_words.py speaks with them), and without
Redis in core/gcra.py: then each process keeps half of its part of a limit by itself. `state` shows a person why
nothing moves.

One question of a process is under way per provider at a time, under numbers that grow. So a script that
redis-py repeats is known by its number, and a count of calls can leave out no call that was granted meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from redis.asyncio import Redis

from workers.core.gcra import Share
from workers.core.lanes import Ask, BreakerRules, Go, LimitState, NotNow, Owner, Rates, Seen, Verdict
from workers.core.rate_headers import LONGEST_S
from workers.store import keys, limit_words
from workers.store.limit_state import away_state, read_state
from workers.store.redis import REDIS_DOWN, run_script

# After Redis has failed: until this is over nobody waits for its time-outs again.
AWAY_S = 1.0


@dataclass(slots=True)
class _Provider:
    """What this process knows of one provider by itself; `calls_as`: its name among those who call for a tenant."""

    names: tuple[str, ...]
    calls_as: str
    numbers: Iterator[int]
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    questions: int = 0  # that are under way or wait for their turn
    granted: Counter[str] = field(default_factory=Counter)  # by model, while there are any
    granted_to: Counter[str] = field(default_factory=Counter)  # by tenant with limits, as long
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
        self._shares_of: dict[str, Share] = {}  # by tenant, of what is kept without Redis
        self._away_until_s = 0.0

    async def reserve(
        self,
        provider: str,
        rates: Rates,
        asks: Sequence[Ask],
        *,
        in_flight: Mapping[str, int],
        owner: Owner | None = None,
    ) -> list[Verdict]:
        """One verdict per ask, in order, and at once: nobody waits here for a limit.

        Args:
            in_flight: this process's calls under way by model, without those asked for. A call is under way from
                its `Go` on: count it before anything else is awaited.
            owner: the tenant of all these calls, if it has limits.
        """
        if not asks:
            return []
        own = self._own(provider)
        calls = dict(in_flight)
        theirs = {owner.tenant: owner.in_flight} if owner else {}
        async with _turn(own, calls, theirs):
            if (wait_s := self.paused_s(provider)) > 0:
                return [NotNow("paused", wait_s)] * len(asks)
            verdicts = await self._asked(own, rates, asks, calls, owner, theirs)
            started = _remember(own, asks, verdicts)
            if owner and started:
                own.granted_to[owner.tenant] += started
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
        theirs = {tenant: one.in_flight for tenant, one in seen.owners.items()}
        async with _turn(own, calls, theirs):
            own.outstanding_tokens = max(0, own.outstanding_tokens - seen.reserved_tokens) if calls else 0
            if not await self._told(own, rates, seen, calls, theirs, pause_s):
                self._keep(own, seen)

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
            numbers = itertools.count(time.time_ns() // 1000)
            own = self._providers[provider] = _Provider(names, f"{self._holder}/{provider}", numbers)
        return own

    async def _asked(
        self,
        own: _Provider,
        rates: Rates,
        asks: Sequence[Ask],
        calls: dict[str, int],
        owner: Owner | None,
        theirs: Mapping[str, int],
    ) -> list[Verdict]:
        if self._clock() >= self._away_until_s:
            names, args = own.names, limit_words.reservation(rates, asks, calls, own.outstanding_tokens)
            if owner:
                names = (*names, *_names_of(owner.tenant))
                args.append(limit_words.of_owner(owner, asks, theirs[owner.tenant], own.calls_as))
            try:
                reply = await run_script(
                    self._redis,
                    "reserve_calls",
                    keys=names,
                    args=[next(own.numbers), self._holder, *args],
                )
            except REDIS_DOWN:
                self._away_until_s = self._clock() + AWAY_S
            else:
                return self._read(own, reply.decode(), len(asks))
        return self._alone(own, rates, asks, sum(calls.values()), owner)

    def _alone(
        self, own: _Provider, rates: Rates, asks: Sequence[Ask], in_flight: int, owner: Owner | None
    ) -> list[Verdict]:
        """What this process may do by itself."""
        if not rates.limited and owner is None:
            return [limit_words.GO_NOW] * len(asks)
        own.share, now_ms = self._share(own.share, rates), self._clock() * 1000
        if owner is None:
            return own.share.reserve(asks, in_flight, now_ms)
        theirs = self._share(self._shares_of.get(owner.tenant), owner.rates)
        self._shares_of[owner.tenant] = theirs
        return own.share.reserve(asks, in_flight, now_ms, theirs=theirs, of_theirs=owner.everywhere)

    def _share(self, kept: Share | None, rates: Rates) -> Share:
        fits = kept is not None and (kept.rates, kept.processes) == (rates, self.processes)
        return kept if kept is not None and fits else Share(rates, self.processes)

    def _keep(self, own: _Provider, seen: Seen) -> None:
        """Settle by ourselves what Redis could not take in."""
        if own.share is not None:
            own.share.settle(seen.used_tokens - seen.reserved_tokens)
        for tenant, one in seen.owners.items():
            if (share := self._shares_of.get(tenant)) is not None:
                share.settle(one.used_tokens - one.reserved_tokens)
                share.give_back(one.unmade, one.unmade_age_s * 1000)

    def _read(self, own: _Provider, reply: str, asked: int) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for verdict, count in limit_words.verdicts(reply):
            if isinstance(verdict, NotNow) and verdict.why == "paused" and not verdict.lane:
                own.paused_until_s = max(own.paused_until_s, self._clock() + verdict.wait_s)
            verdicts += [verdict] * count
        # No reply is for a question that was given up: nobody reads this, and nothing was taken for it.
        return verdicts or [NotNow("redis", AWAY_S)] * asked

    async def _told(
        self,
        own: _Provider,
        rates: Rates,
        seen: Seen,
        calls: dict[str, int],
        theirs: Mapping[str, int],
        pause_s: float,
    ) -> bool:
        """Whether Redis has taken it in. What it has not is lost: an estimate stands, a refusal comes again."""
        if self._clock() < self._away_until_s:
            return False
        args: limit_words.Words = [next(own.numbers), self._holder]
        args += limit_words.report(rates, seen, calls, own.outstanding_tokens, pause_s)
        args.append(self._rules)
        if seen.owners:
            args.append(limit_words.of_owners(seen.owners, theirs, own.calls_as))
        names = (*own.names, *itertools.chain.from_iterable(map(_names_of, seen.owners)))
        try:
            await run_script(self._redis, "report_calls", keys=names, args=args)
        except REDIS_DOWN:
            self._away_until_s = self._clock() + AWAY_S
            return False
        return True


def _names_of(tenant: str) -> tuple[str, str]:
    return keys.tenant_limit(tenant), keys.tenant_calls(tenant)


@asynccontextmanager
async def _turn(own: _Provider, calls: dict[str, int], theirs: dict[str, int]) -> AsyncIterator[None]:
    """One question at a time. What is granted until its turn is added to its `calls`: its caller could not know.

    `theirs`: the same by tenant, of those that the question is about.
    """
    before, before_to = dict(own.granted), dict(own.granted_to)
    own.questions += 1
    try:
        async with own.asking:
            for model, count in own.granted.items():
                if more := count - before.get(model, 0):
                    calls[model] = calls.get(model, 0) + more
            for tenant in theirs:
                theirs[tenant] += own.granted_to[tenant] - before_to.get(tenant, 0)
            yield
    finally:
        own.questions -= 1
        if not own.questions:
            own.granted.clear()
            own.granted_to.clear()


def _remember(own: _Provider, asks: Sequence[Ask], verdicts: Sequence[Verdict]) -> int:
    """Keep what was granted; gives how many calls."""
    # Nearly always all or nothing at once, and then nobody looks at each.
    started = asks
    if verdicts.count(limit_words.GO_NOW) < len(asks):
        started = [ask for ask, verdict in zip(asks, verdicts, strict=True) if isinstance(verdict, Go)]
    if started:
        own.granted.update([ask.model for ask in started])
        own.outstanding_tokens += sum([ask.tokens for ask in started])
    return len(started)
