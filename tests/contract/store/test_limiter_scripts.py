"""The scripts of the limiter decide as the pure parts of workers/core do, on random histories of three processes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from tests.support.timed_redis import BUSY, RULES, Timed
from workers.core.aimd import Throttle
from workers.core.breaker import Breaker
from workers.core.gcra import AHEAD_MS, Bucket, forgotten
from workers.core.lanes import Ask, Go, LaneSeen, NotNow, Rates, Seen, Verdict
from workers.core.rate import burst_of

pytestmark = pytest.mark.integration
SEED = 11
PHASES = (
    (6, 1, 1),
    (1, 1, 6),
    (2, 5, 1),
)  # how often calls of a random history are answered, throttled, failed


@dataclass
class Model:
    """The law of all processes together, from the pure parts."""

    rates: Rates
    buckets: list[Bucket] = field(default_factory=list)
    lanes: dict[str, tuple[Throttle, Breaker]] = field(default_factory=dict)
    held: dict[str, Counter[str]] = field(default_factory=dict)
    paused_till_ms: float = 0

    def under_way(self, model: str) -> int:
        return sum(held[model] for held in self.held.values())

    def reserve(self, holder: str, wanted: list[Ask], now_ms: float) -> list[Verdict]:
        if now_ms < self.paused_till_ms:
            return [NotNow("paused", (self.paused_till_ms - now_ms) / 1000)] * len(wanted)
        if not self.buckets:
            for most, tokens in (
                (self.rates.requests_per_minute, False),
                (self.rates.tokens_per_minute, True),
            ):
                if most:
                    self.buckets.append(forgotten(most, burst_of(most), now_ms, counts_tokens=tokens))
        stop: NotNow | None = None
        verdicts: list[Verdict] = []
        for ask in wanted:
            verdict = stop or self._lane_says(holder, ask.model, now_ms) or self._provider_says(ask, now_ms)
            if isinstance(verdict, Go):
                self._start(holder, ask, now_ms + verdict.wait_s * 1000, now_ms)
            elif stop is None and self._lane_says(holder, ask.model, now_ms) is None:
                stop = verdict
            verdicts.append(verdict)
        return verdicts

    def report(self, holder: str, what: Seen, now_ms: float) -> None:
        for model, lane in what.lanes.items():
            pause_ms = (lane.retry_after_s or 0) * 1000
            self.paused_till_ms = max(self.paused_till_ms, now_ms + pause_ms)
            others = self.under_way(model) - self.held[holder][model]
            mine = max(self.held[holder][model], what.in_flight.get(model, 0) + lane.throttled)
            if model not in self.lanes and not lane.throttled + lane.failed:
                continue
            throttle, breaker = self.lanes.setdefault(model, (Throttle(), Breaker()))
            throttle.heard(now_ms, answered=lane.answered, throttled=lane.throttled, in_flight=others + mine)
            breaker.heard(now_ms, alive=lane.answered + lane.throttled, failed=lane.failed, rules=RULES)
            if not throttle.concurrency + breaker.failures + breaker.opened:
                del self.lanes[model]
        self.held[holder] = Counter(what.in_flight)
        for bucket in self.buckets:
            if bucket.counts_tokens:
                bucket.tat_ms += bucket.step_ms * (what.used_tokens - what.reserved_tokens)

    def _lane_says(self, holder: str, model: str, now_ms: float) -> NotNow | None:
        if model not in self.lanes:
            return None
        throttle, breaker = self.lanes[model]
        probing = bool(breaker.probe) and self.held[breaker.probe][model] > 0
        return breaker.not_now(now_ms, probing=probing) or throttle.not_now(now_ms, self.under_way(model))

    def _provider_says(self, ask: Ask, now_ms: float) -> Verdict:
        under_way = sum(held.total() for held in self.held.values())
        if self.rates.concurrency is not None and under_way >= self.rates.concurrency:
            return BUSY
        at_ms = now_ms
        for bucket in self.buckets:
            bucket.tat_ms = max(bucket.tat_ms, now_ms)
            at_ms = max(at_ms, bucket.earliest_ms(bucket.cost(ask.tokens)))
        wait_s = (at_ms - now_ms) / 1000
        return Go(wait_s) if at_ms <= now_ms + AHEAD_MS else NotNow("limit", wait_s)

    def _start(self, holder: str, ask: Ask, at_ms: float, now_ms: float) -> None:
        for bucket in self.buckets:
            bucket.take(at_ms, bucket.cost(ask.tokens))
        self.held[holder][ask.model] += 1
        if ask.model in self.lanes:
            throttle, breaker = self.lanes[ask.model]
            throttle.start(now_ms)
            breaker.start(holder)


@pytest.mark.parametrize(
    "rates", [Rates(), Rates(600, 60_000), Rates(6000, None, 20), Rates(None, 600_000, 40)], ids=str
)
async def test_the_scripts_decide_as_the_pure_parts_do(control: Redis, rates: Rates) -> None:
    timed = Timed(control)
    draw, model = random.Random(SEED), Model(rates)
    limiters = {name: timed.limiter(name) for name in "abc"}
    model.held = {name: Counter() for name in limiters}
    reasons: Counter[str] = Counter()
    for step in range(160):
        timed.now_ms += draw.choice([0, 3, 40, 400, 1_100, 4_000])
        holder = draw.choice("abc")
        under_way = model.held[holder].copy()
        if draw.random() < 0.5:
            wanted = [Ask(draw.choice("mmn"), draw.randint(1, 900)) for _ in range(draw.choice([1, 4, 20]))]
            said = await limiters[holder].reserve("p", rates, wanted, in_flight=under_way)
            expected = model.reserve(holder, wanted, timed.now_ms)
            for verdict, other in zip(said, expected, strict=True):
                assert type(verdict) is type(other) and getattr(verdict, "why", "") == getattr(
                    other, "why", ""
                )
                # Who knows of a pause asks nobody whether it has grown longer since.
                shorter = 0 < limiters[holder].paused_s("p") < other.wait_s
                assert shorter or verdict.wait_s == pytest.approx(other.wait_s, abs=0.0011)
                reasons[getattr(verdict, "why", "go")] += 1
        else:
            what = _random_report(draw, under_way, PHASES[step // 20 % len(PHASES)])
            await limiters[holder].report("p", rates, what)
            model.report(holder, what, timed.now_ms)
        for name, limiter in limiters.items():  # the living say so now and then
            if draw.random() < 0.8:
                await limiter.report("p", rates, Seen(in_flight=model.held[name]))
    assert {"go", "concurrency", "breaker", "paused"} <= set(reasons), "and all of it was met"


def _random_report(draw: random.Random, under_way: Counter[str], weights: tuple[int, ...]) -> Seen:
    what = Seen(in_flight=under_way)
    for model in [name for name, count in under_way.items() if count]:
        ended = draw.randint(1, under_way[model])
        under_way[model] -= ended
        outcome = draw.choices(["answered", "throttled", "failed"], weights)[0]
        lane = what.lanes[model] = LaneSeen()
        setattr(lane, outcome, ended)
        if draw.random() < 0.05:
            lane.retry_after_s = 3.0
        what.reserved_tokens += 400 * ended
        what.used_tokens += draw.randint(100, 500) * ended
    return what
