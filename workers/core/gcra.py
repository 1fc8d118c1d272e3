"""Requests and tokens a minute as leaky buckets with a virtual clock: the generic cell rate algorithm.

Source: ITU-T I.371 (2004), annex A. `tat` is the theoretical arrival time: when the bucket would be full again.
store/lua/reserve_calls.lua is the same arithmetic where all processes share a bucket; tests hold the two equal.
Pure: times are milliseconds of whatever clock the caller has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from workers.core.lanes import Ask, Go, NotNow, Rates, Verdict
from workers.core.rate import PARK_AFTER_S, burst_of

AHEAD_MS = PARK_AFTER_S * 1000
BLIND_WAIT_S = 5.0  # until somebody asks again whether Redis is back
BUSY_WAIT_S = 0.25  # until somebody asks again for a place among the calls under way


@dataclass(slots=True)
class Bucket:
    """One unit comes back every `step_ms`, up to `burst` of them."""

    step_ms: float
    burst: float
    tat_ms: float
    counts_tokens: bool = False

    def cost(self, tokens: float) -> float:
        """What a call of so many tokens takes from this bucket."""
        return tokens if self.counts_tokens else 1

    def earliest_ms(self, cost: float) -> float:
        """When so much may be taken. More than the whole burst goes from a full bucket into debt."""
        return self.tat_ms + self.step_ms * (min(cost, self.burst) - self.burst)

    def take(self, at_ms: float, cost: float) -> None:
        """Take it at `at_ms`, which is not before `earliest_ms`."""
        self.tat_ms = max(self.tat_ms, at_ms) + self.step_ms * cost

    def left(self, now_ms: float) -> float:
        """What could be taken at once; below nothing for a bucket in debt."""
        return self.burst - max(0.0, self.tat_ms - now_ms) / self.step_ms


def forgotten(per_minute: float, burst: float, now_ms: float, *, counts_tokens: bool) -> Bucket:
    """A bucket of which nothing is known: without burst, so one request now, and tokens as they come."""
    step_ms = 60_000 / per_minute
    first = 0 if counts_tokens else 1
    return Bucket(step_ms, burst, now_ms + step_ms * (burst - first), counts_tokens)


def grant(buckets: Sequence[Bucket], asks: Iterable[Ask], now_ms: float) -> list[Verdict]:
    """Permit asks in order as all buckets allow, at most two seconds ahead, and take what is permitted.

    Who comes after a refused one is refused, too: else a large call would wait for ever behind small ones.
    """
    verdicts: list[Verdict] = []
    refused: NotNow | None = None
    for ask in asks:
        at_ms = max([now_ms, *(bucket.earliest_ms(bucket.cost(ask.tokens)) for bucket in buckets)])
        if refused is None and at_ms > now_ms + AHEAD_MS:
            refused = NotNow("limit", (at_ms - now_ms) / 1000)
        if refused is not None:
            verdicts.append(refused)
            continue
        for bucket in buckets:
            bucket.take(at_ms, bucket.cost(ask.tokens))
        verdicts.append(Go((at_ms - now_ms) / 1000))
    return verdicts


@dataclass(slots=True)
class Share:
    """What one of `processes` keeps of a limit by itself while nobody can be asked: half of its part.

    Half, so that those who still reach Redis and those who do not stay together near the limit. A part of
    concurrency below one call is none at all: never over a limit.
    """

    rates: Rates
    processes: int
    _buckets: list[Bucket] = field(default_factory=list)

    def reserve(self, asks: Sequence[Ask], in_flight: int, now_ms: float) -> list[Verdict]:
        """One verdict per ask, in order; `in_flight`: this process's calls under way at the provider."""
        parts = 2 * self.processes
        if not self._buckets:
            self._buckets = [
                forgotten(most / parts, max(1.0, burst_of(most) / parts), now_ms, counts_tokens=tokens)
                for most, tokens in (
                    (self.rates.requests_per_minute, False),
                    (self.rates.tokens_per_minute, True),
                )
                if most
            ]
        free = len(asks)
        if self.rates.concurrency is not None:
            if self.rates.concurrency < parts:
                return [NotNow("redis", BLIND_WAIT_S)] * len(asks)
            free = max(0, self.rates.concurrency // parts - in_flight)
        verdicts = grant(self._buckets, asks[:free], now_ms)
        return verdicts + [NotNow("concurrency", BUSY_WAIT_S)] * (len(asks) - len(verdicts))

    def waits_s(self, now_ms: float) -> tuple[float, float]:
        """How long a request and a token would have to wait now."""
        waits = [0.0, 0.0]
        for bucket in self._buckets:
            waits[bucket.counts_tokens] = max(0.0, bucket.earliest_ms(1) - now_ms) / 1000
        return waits[0], waits[1]

    def settle(self, tokens: float) -> None:
        """Take in addition, or give back, the tokens by which the estimates were wrong."""
        for bucket in self._buckets:
            if bucket.counts_tokens:
                bucket.tat_ms += bucket.step_ms * tokens
