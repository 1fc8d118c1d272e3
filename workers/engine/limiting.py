"""The limits of every provider and tenant as this process meets them: ask before a call, tell what came of it.

    reserve -> Go | NotNow        store/limiter.py decides in Redis, for all processes together
    ended, saw -> report          told in parcels, since every call would be a round trip

A refusal is told at once: everybody waits then. The rest goes in parcels. Which tenants have limits is heard from
steward.py every second (`heed`); calls of any other tenant cost nothing more.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.core.errors import (
    BodyTooLarge,
    CallTimeout,
    InternalFault,
    Overloaded,
    ProviderError,
    RateLimited,
    TransportError,
    UnusableReply,
)
from workers.core.lanes import TENANT_LIMITS, Ask, Go, LaneSeen, Owner, Rates, Seen, Verdict
from workers.engine.counting import count_call, count_waits
from workers.engine.ports import Link
from workers.engine.tenant_calls import TenantCalls
from workers.engine.work import Answered, Failed
from workers.store.limiter import Limiter

# Where somebody waits for what we tell (a limit is set, or the provider has refused), and where nobody does.
TELL_SOON_S = 0.02
TELL_S = 0.25
# A process that says nothing for 15 s counts as dead, and its calls as ended.
RENEW_S = 5.0
_TROUBLE_S = 10.0


@dataclass(slots=True)
class _Provider:
    """What this process knows of one provider."""

    rates: Rates
    seen: Seen = field(default_factory=Seen)
    under_way: Counter[str] = field(default_factory=Counter)
    tenants: TenantCalls = field(default_factory=TenantCalls)
    untold: bool = False
    told_at: float = 0.0
    answered_at: float | None = None
    failed_at: float | None = None
    trouble_until: float = 0.0

    def counted(self, tokens: int) -> int:
        """What a call of so many tokens, estimated or used, counts for: no more than a minute's.

        A request may name any number as its cap, and a provider any usage. A debt of hours, which nobody settles when
        its process dies, would close the provider to all.
        """
        return min(tokens, self.rates.tokens_per_minute or tokens)

    @property
    def has_trouble(self) -> bool:
        """Whether calls have failed, been refused, or brought a pause since the last report."""
        return any(lane.failed or lane.throttled or lane.retry_after_s for lane in self.seen.lanes.values())

    def lane(self, model: str) -> LaneSeen:
        """What was seen of a model since the last report."""
        return self.seen.lanes.setdefault(model, LaneSeen())


class Limiting:
    """One per process, in its event loop."""

    def __init__(self, limiter: Limiter, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self._limiter, self._clock = limiter, clock
        self._providers: dict[str, _Provider] = {}
        self._limits_of: Mapping[str, Rates] = {}
        self._wake = asyncio.Event()

    def heed(self, limits_of: Mapping[str, Rates]) -> None:
        """These tenants have limits now, and no others."""
        self._limits_of = limits_of

    async def reserve(self, link: Link, asks: Sequence[Ask], tenant: str) -> list[Verdict]:
        """For each call of a tenant whether it may start.

        What may start counts as under way from here on: see `ended`.
        """
        one = self._of(link)
        if one.has_trouble:
            # Who asks now must not be granted what the failures and refusals of the last milliseconds forbid.
            await self._tell_now(link.name, one)
        asks = [Ask(ask.model, one.counted(ask.tokens)) for ask in asks]
        owner = self._owner(tenant, one) if tenant in self._limits_of else None
        verdicts = await self._limiter.reserve(
            link.name, one.rates, asks, in_flight=one.under_way, owner=owner
        )
        granted = 0
        count_waits(link.name, verdicts)
        for ask, verdict in zip(asks, verdicts, strict=True):
            if isinstance(verdict, Go):
                one.under_way[ask.model] += 1
                granted += 1
            elif verdict.why != "limit" and verdict.why not in TENANT_LIMITS:
                one.trouble_until = self._clock() + _TROUBLE_S
        if granted:
            one.tenants.under_way[tenant] += granted
        return verdicts

    def ended(self, link: Link, model: str, tenant: str) -> None:
        """A call that might start is over."""
        one = self._of(link)
        left = one.under_way[model] - 1
        if left:
            one.under_way[model] = left
        else:
            del one.under_way[model]
        one.tenants.ended(tenant, self._limits_of.get(tenant))
        self._tell(one)

    def not_made(self, link: Link, reserved_tokens: int, tenant: str, granted_at: float) -> None:
        """A call that has `ended` never left us: what it had reserved is free again.

        Args:
            granted_at: when it was granted, by `clock`.
        """
        one, rates = self._of(link), self._limits_of.get(tenant)
        self._settle(one, reserved_tokens, 0, tenant)
        if rates is not None:
            one.tenants.not_made(tenant, rates, granted_at)

    def cut_off(self, link: Link, reserved_tokens: int, tenant: str) -> None:
        """A call that has `ended` was ended by us: nobody knows what it used, so what it had reserved stays used."""
        self._settle(self._of(link), reserved_tokens, None, tenant)

    def is_paused(self, link: Link) -> bool:
        """Whether the provider has asked for a pause since the call was granted, as far as this process knows."""
        one = self._of(link)
        if one.trouble_until < self._clock():
            return False  # the usual case, and this is asked for every call
        untold = one.seen.lanes.values()
        return self._limiter.paused_s(link.name) > 0 or any(lane.retry_after_s for lane in untold)

    def saw(
        self, link: Link, model: str, outcome: Answered | Failed, reserved_tokens: int, tenant: str
    ) -> None:
        """What came of a call, for all processes to know."""
        one = self._of(link)
        count_call(link.name, outcome)
        if isinstance(outcome, Failed) and isinstance(outcome.error, TransportError):
            one.failed_at = self._clock()
        else:
            one.answered_at = self._clock()
        lane = one.lane(model)
        if isinstance(outcome, Answered):
            lane.answered += 1
        elif isinstance(outcome.error, RateLimited):
            lane.throttled += 1
        elif _is_the_providers_fault(outcome):
            broke_off = _broke_off(outcome)
            # A connection takes its fifty calls with it: one failure, or every break would open the breaker.
            lane.failed += not (broke_off and lane.broke_off)
            lane.broke_off |= broke_off
        elif not isinstance(outcome.error, InternalFault):
            # A refusal is an answer: the provider works. What never left us says nothing of it.
            lane.answered += outcome.error.bytes_sent
        if isinstance(outcome, Failed):
            one.trouble_until = self._clock() + _TROUBLE_S
            self._wake.set()
            if outcome.retry_after_s is not None:
                lane.retry_after_s = max(outcome.retry_after_s, lane.retry_after_s or 0.0)
        if outcome.headers:
            one.seen.headers = outcome.headers
        self._settle(one, reserved_tokens, _used_tokens(outcome), tenant)

    def last_seen(self, provider: str) -> tuple[float | None, float | None]:
        """Seconds since a call was answered, with an error or not, and since one got no answer; None: never."""
        one, now = self._providers.get(provider), self._clock()
        if one is None:
            return None, None
        answered_at, failed_at = one.answered_at, one.failed_at
        return (
            None if answered_at is None else now - answered_at,
            None if failed_at is None else now - failed_at,
        )

    async def run(self) -> None:
        """Tell what was seen, for ever; cancel to stop, after `flush`."""
        while True:
            if await self._woken(RENEW_S) and not any(
                one.untold and self._is_urgent(one) for one in self._providers.values()
            ):
                await self._woken(TELL_S)
            await asyncio.sleep(TELL_SOON_S)  # what comes together is told together
            await self.flush()

    async def _woken(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def flush(self) -> None:
        """Tell what is here now, and again of calls that last."""
        for name, one in list(self._providers.items()):
            if one.untold or (one.under_way and self._clock() - one.told_at >= RENEW_S):
                await self._tell_now(name, one)

    async def _tell_now(self, name: str, one: _Provider) -> None:
        one.untold, seen, one.seen, one.told_at = False, one.seen, Seen(), self._clock()
        seen.in_flight = dict(one.under_way)
        seen.owners = one.tenants.told(self._limits_of, self._clock())
        await self._limiter.report(name, one.rates, seen)

    def _of(self, link: Link) -> _Provider:
        found = self._providers.get(link.name)
        if found is None:
            found = self._providers[link.name] = _Provider(link.rates)
        found.rates = link.rates  # as the settings have them now
        return found

    def _owner(self, tenant: str, one: _Provider) -> Owner:
        everywhere = sum(provider.tenants.under_way[tenant] for provider in self._providers.values())
        return Owner(tenant, self._limits_of[tenant], one.tenants.under_way[tenant], everywhere)

    def _settle(self, one: _Provider, reserved_tokens: int, used_tokens: int | None, tenant: str) -> None:
        reserved, used = reserved_tokens, reserved_tokens if used_tokens is None else used_tokens
        one.seen.reserved_tokens += one.counted(reserved)
        one.seen.used_tokens += one.counted(used)
        if (rates := self._limits_of.get(tenant)) is not None:
            # The tenant's bucket was asked for what counted at the provider.
            one.tenants.settle(tenant, rates, one.counted(reserved), used)
        self._tell(one)

    def _tell(self, one: _Provider) -> None:
        if not one.untold:
            one.untold = True
            self._wake.set()

    def _is_urgent(self, one: _Provider) -> bool:
        return one.rates.limited or one.tenants.waits_to_be_told or one.trouble_until > self._clock()


def _used_tokens(outcome: Answered | Failed) -> int | None:
    """What a call took of its provider's tokens; None where nobody said: then the estimate stands."""
    if isinstance(outcome, Answered):
        usage = outcome.reply.usage
        return usage.input_tokens + usage.output_tokens or None
    error = outcome.error
    if isinstance(error, ProviderError) and error.usage is not None:
        return error.usage.input_tokens + error.usage.output_tokens
    # A success status around nonsense was worked for; a call of unknown outcome may have been.
    took_some = isinstance(error, UnusableReply | InternalFault | TransportError) and error.bytes_sent
    return None if took_some else 0


def _is_the_providers_fault(outcome: Failed) -> bool:
    error = outcome.error
    if isinstance(error, BodyTooLarge):
        return False
    return isinstance(error, Overloaded | UnusableReply | TransportError)


def _broke_off(outcome: Failed) -> bool:
    """Whether its connection broke under it, and under others with it. A deadline is each call's own."""
    error = outcome.error
    return isinstance(error, TransportError) and error.bytes_sent and not isinstance(error, CallTimeout)
