"""Whether anything holds calls back now: limits, rests and breakers as the control Redis has them for all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.doctor.findings import Finding
from config.settings import Provider
from workers.core.lanes import LaneState, LimitState, Rates
from workers.core.rate import must_park
from workers.store.limit_state import read_state
from workers.store.redis import REDIS_DOWN, connect

NAME = "limits"
_WAY_OUT = "it goes on by itself; `batchwright why ID` says what a batch waits for"


def check_limits(url: str, providers: Sequence[Provider]) -> Sequence[Finding]:
    """One finding for each provider that rests, or one that none does. Without Redis none: its own check says so."""
    try:
        return findings(asyncio.run(_states(url, providers)))
    except REDIS_DOWN:
        return []


async def _states(url: str, providers: Sequence[Provider]) -> list[LimitState]:
    async with connect(url, max_connections=2, timeout_s=2.0) as redis:
        return [await read_state(redis, one.name, _rates(one), 0.0) for one in providers]


def findings(states: Sequence[LimitState]) -> list[Finding]:
    """What holds calls back, by provider."""
    held = [(state, why) for state in states if (why := _why(state))]
    if not held:
        return [Finding(NAME, "ok", "no limit and no breaker holds calls back")]
    return [
        Finding(
            NAME, "warning", f"{state.provider}: {'; '.join(why)}", _WAY_OUT, {"provider": state.provider}
        )
        for state, why in held
    ]


def _why(state: LimitState) -> list[str]:
    waits = (
        ("the provider asked to wait", state.paused_s),
        ("requests are used up", state.request_wait_s),
        ("tokens are used up", state.token_wait_s),
    )
    # A limit that lets the next call go within two seconds is at work, and nobody waits for it.
    said = [f"{text} for {wait_s:.0f} s" for text, wait_s in waits if must_park(wait_s)]
    return said + [text for lane in state.lanes if (text := _lane(lane))]


def _lane(lane: LaneState) -> str:
    if lane.breaker == "open":
        return f"{lane.model} failed {lane.failures} times in a row and is tried again in {lane.opens_in_s:.0f} s"
    if lane.breaker == "half-open":
        return f"{lane.model} failed {lane.failures} times in a row and is being tried again"
    return f"{lane.model} rests for {lane.rests_s:.0f} s after refusals" if must_park(lane.rests_s) else ""


def _rates(provider: Provider) -> Rates:
    limits = provider.limits
    return Rates(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)
