"""How a provider's limits stand, read for a person; changes nothing. store/limiter.py's `state` is its door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

import orjson
from redis.asyncio import Redis

from workers.core.aimd import Throttle
from workers.core.breaker import Breaker
from workers.core.gcra import Bucket, Share, forgotten
from workers.core.lanes import AllowanceState, LaneState, LimitState, Rates
from workers.core.rate import burst_of
from workers.store import keys


async def read_state(client: Redis, provider: str, rates: Rates, paused_s: float) -> LimitState:
    """What Redis knows; `paused_s`: the pause this process has heard of. Raises: what REDIS_DOWN names."""
    async with client.pipeline(transaction=False) as pipe:
        pipe.time()
        for name in (keys.limit(provider), keys.calls(provider), keys.lanes(provider)):
            pipe.hgetall(name)
        (seconds, micros), limit, calls, lanes = await pipe.execute()
    now_ms = seconds * 1000 + micros / 1000
    learned = _learned(limit, now_ms)
    buckets = [*_configured(limit, rates, now_ms), *(bucket for _, bucket, _ in learned)]
    under_way, processes = _under_way(calls, now_ms)
    states = {name.decode(): orjson.loads(kept) for name, kept in lanes.items()}
    pause_till_ms = float(limit.get(b"paused", 0))
    return LimitState(
        provider=provider,
        paused_s=max(paused_s, (pause_till_ms - now_ms) / 1000),
        request_wait_s=_wait_s([bucket for bucket in buckets if not bucket.counts_tokens], now_ms),
        token_wait_s=_wait_s([bucket for bucket in buckets if bucket.counts_tokens], now_ms),
        lanes=tuple(
            _lane(model, under_way[model], states.get(model), now_ms)
            for model in sorted({*states, *under_way})
        ),
        in_flight=under_way.total(),
        concurrency=rates.concurrency,
        processes=processes,
        allowances=tuple(
            AllowanceState(
                kind,
                limit=int(bucket.burst),
                left=max(0, int(bucket.left(now_ms))),
                per_minute=60_000 / bucket.step_ms,
                forgotten_in_s=(till_ms - now_ms) / 1000,
            )
            for kind, bucket, till_ms in learned
        ),
    )


def away_state(
    provider: str, rates: Rates, paused_s: float, share: Share | None, now_ms: float
) -> LimitState:
    """What a process knows by itself while Redis is away."""
    request_wait_s, token_wait_s = share.waits_s(now_ms) if share else (0.0, 0.0)
    return LimitState(
        provider, paused_s, request_wait_s, token_wait_s, concurrency=rates.concurrency, redis=False
    )


def _configured(limit: Mapping[bytes, bytes], rates: Rates, now_ms: float) -> list[Bucket]:
    buckets = []
    for name, most in ((b"requests", rates.requests_per_minute), (b"tokens", rates.tokens_per_minute)):
        if most:
            bucket = forgotten(most, burst_of(most), now_ms, counts_tokens=name == b"tokens")
            bucket.tat_ms = float(limit.get(name, bucket.tat_ms))
            buckets.append(bucket)
    return buckets


_Learned = tuple[Literal["requests", "tokens"], Bucket, float]


def _learned(limit: Mapping[bytes, bytes], now_ms: float) -> list[_Learned]:
    """The buckets that headers told of, and until when they are believed."""
    found: list[_Learned] = []
    kinds: tuple[Literal["requests", "tokens"], ...] = ("requests", "tokens")
    for kind in kinds:
        if kept := limit.get(f"learned_{kind}".encode()):
            step_ms, size, till_ms, tat_ms = map(float, kept.split())
            if now_ms < till_ms:
                found.append((kind, Bucket(step_ms, size, tat_ms, kind == "tokens"), till_ms))
    return found


def _wait_s(buckets: list[Bucket], now_ms: float) -> float:
    return max([0.0, *((bucket.earliest_ms(1) - now_ms) / 1000 for bucket in buckets)])


def _under_way(calls: Mapping[bytes, bytes], now_ms: float) -> tuple[Counter[str], int]:
    """Calls under way by model over all processes, and how many processes they are."""
    counted: Counter[str] = Counter()
    living = [kept.split(b" ", 2) for kept in calls.values()]
    living = [parts for parts in living if float(parts[0]) > now_ms]
    for parts in living:
        counted.update(orjson.loads(parts[2]))
    return counted, len(living)


def _lane(model: str, in_flight: int, kept: Mapping[str, Any] | None, now_ms: float) -> LaneState:
    throttle, breaker = (
        (_read(Throttle, kept["throttle"]), _read(Breaker, kept["breaker"]))
        if kept
        else (Throttle(), Breaker())
    )
    return LaneState(
        model=model,
        in_flight=in_flight,
        concurrency=throttle.concurrency or None,
        breaker=breaker.state(now_ms),
        opens_in_s=max(0.0, breaker.open_till_ms - now_ms) / 1000,
        failures=breaker.failures,
        rests_s=max(0.0, throttle.rest_till_ms - now_ms, throttle.next_ms - now_ms) / 1000,
        gap_s=throttle.gap_ms / 1000,
        refusals=throttle.refusals,
    )


def _read(kind: type[Any], kept: Mapping[str, Any]) -> Any:
    return kind(**{each.name: kept[each.name] for each in fields(kind)})
