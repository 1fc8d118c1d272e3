"""Requests and tokens a minute as leaky buckets with a virtual clock: the generic cell rate algorithm.

Source: ITU-T I.371 (2004), annex A. `tat` is the theoretical arrival time: when the bucket would be full again.
store/lua/reserve_calls.lua is the same arithmetic where all processes share a bucket; tests hold the two equal.
Pure: times are milliseconds of whatever clock the caller has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from workers.core.lanes import Ask, Blocked, Go, NotNow, Rates, Verdict
from workers.core.rate import PARK_AFTER_S, burst_of

AHEAD_MS = PARK_AFTER_S * 1000
BLIND_WAIT_S = 5.0  # until somebody asks again whether Redis is back
BUSY_WAIT_S = 0.25  # until somebody asks again for a place among the calls under way


@dataclass(slots=True)
class Bucket:
    """One unit comes back every `step_ms`, up to `burst` of them. No call counts for more than `most` tokens."""

    step_ms: float
    burst: float
    tat_ms: float
    counts_tokens: bool = False
    most: float = inf

    def cost(self, tokens: float) -> float:
        """What a call of so many tokens takes from this bucket."""
        return min(tokens, self.most) if self.counts_tokens else 1

    def earliest_ms(self, cost: float) -> float:
        """When so much may be taken. More than the whole burst goes from a full bucket into debt."""
        return self.tat_ms + self.step_ms * (min(cost, self.burst) - self.burst)

    def take(self, at_ms: float, cost: float) -> None:
        """Take it at `at_ms`, which is not before `earliest_ms`."""
        self.tat_ms = max(self.tat_ms, at_ms) + self.step_ms * cost

    def give_back(self, cost: float, age_ms: float) -> None:
        """What was taken up to `age_ms` ago was not used after all.

        A bucket that would have been full meanwhile would have lost what came back in that time: so that much stays
        taken, or the returned would let more through within a minute than the bucket ever may.
        """
        self.tat_ms -= max(0.0, self.step_ms * cost - age_ms)

    def left(self, now_ms: float) -> float:
        """What could be taken at once; below nothing for a bucket in debt."""
        return self.burst - max(0.0, self.tat_ms - now_ms) / self.step_ms


def forgotten(per_minute: float, burst: float, now_ms: float, *, counts_tokens: bool) -> Bucket:
    """A bucket of which nothing is known: without burst, so one request now, and tokens as they come."""
    step_ms = 60_000 / per_minute
    first = 0 if counts_tokens else 1
    return Bucket(step_ms, burst, now_ms + step_ms * (burst - first), counts_tokens)


def grant(
    buckets: Sequence[Bucket], asks: Iterable[Ask], now_ms: float, theirs: Sequence[Bucket] = ()
) -> list[Verdict]:
    """Permit asks in order as all buckets allow, at most two seconds ahead, and take what is permitted.

    Who comes after a refused one is refused, too: else a large call would wait for ever behind small ones.

    Args:
        theirs: the buckets of the tenant whose calls these are.
    """
    verdicts: list[Verdict] = []
    refused: NotNow | None = None
    together = [*buckets, *theirs]
    for ask in asks:
        free_ms = [bucket.earliest_ms(bucket.cost(ask.tokens)) for bucket in together]
        at_ms = max([now_ms, *free_ms])
        if refused is None and at_ms > now_ms + AHEAD_MS:
            slowest = free_ms.index(at_ms)
            why = _theirs(together[slowest]) if slowest >= len(buckets) else "limit"
            refused = NotNow(why, (at_ms - now_ms) / 1000)
        if refused is not None:
            verdicts.append(refused)
            continue
        for bucket in together:
            bucket.take(at_ms, bucket.cost(ask.tokens))
        verdicts.append(Go((at_ms - now_ms) / 1000))
    return verdicts


def _theirs(bucket: Bucket) -> Blocked:
    return "tenant_tokens" if bucket.counts_tokens else "tenant_requests"


@dataclass(slots=True)
class Share:
    """What one of `processes` keeps of a limit by itself while nobody can be asked: half of its part.

    Half, so that those who still reach Redis and those who do not stay together near the limit. A part of
    concurrency below one call is none at all: never over a limit.
    """

    rates: Rates
    processes: int
    buckets: list[Bucket] = field(default_factory=list)

    def reserve(
        self,
        asks: Sequence[Ask],
        in_flight: int,
        now_ms: float,
        *,
        theirs: Share | None = None,
        of_theirs: int = 0,
    ) -> list[Verdict]:
        """One verdict per ask, in order; `in_flight`: this process's calls under way at the provider.

        Args:
            theirs: the same of the tenant whose calls these are, with `of_theirs` of its calls under way here.
        """
        free = self.places(in_flight, len(asks), now_ms)
        free_of_theirs = theirs.places(of_theirs, len(asks), now_ms) if theirs else len(asks)
        if free is None or free_of_theirs is None:
            return [NotNow("redis", BLIND_WAIT_S)] * len(asks)
        most = min(free, free_of_theirs)
        verdicts = grant(self.buckets, asks[:most], now_ms, theirs.buckets if theirs else ())
        busy = NotNow("tenant_concurrency" if free_of_theirs < free else "concurrency", BUSY_WAIT_S)
        return verdicts + [busy] * (len(asks) - len(verdicts))

    def places(self, in_flight: int, asked: int, now_ms: float) -> int | None:
        """How many of so many calls may start beside those under way; None where our part is below one."""
        parts = 2 * self.processes
        if not self.buckets:
            self.buckets = [
                replace(
                    forgotten(most / parts, max(1.0, burst_of(most) / parts), now_ms, counts_tokens=tokens),
                    most=most,
                )
                for most, tokens in (
                    (self.rates.requests_per_minute, False),
                    (self.rates.tokens_per_minute, True),
                )
                if most
            ]
        if self.rates.concurrency is None:
            return asked
        if self.rates.concurrency < parts:
            return None
        return min(asked, max(0, self.rates.concurrency // parts - in_flight))

    def waits_s(self, now_ms: float) -> tuple[float, float]:
        """How long a request and a token would have to wait now."""
        waits = [0.0, 0.0]
        for bucket in self.buckets:
            waits[bucket.counts_tokens] = max(0.0, bucket.earliest_ms(1) - now_ms) / 1000
        return waits[0], waits[1]

    def settle(self, tokens: float) -> None:
        """Take in addition, or give back, the tokens by which the estimates were wrong."""
        for bucket in self.buckets:
            if bucket.counts_tokens:
                bucket.tat_ms += bucket.step_ms * tokens

    def give_back(self, requests: int, age_ms: float) -> None:
        """So many calls, the first granted `age_ms` ago, were not made."""
        for bucket in self.buckets:
            if not bucket.counts_tokens:
                bucket.give_back(requests, age_ms)
