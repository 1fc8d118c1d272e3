"""A provider's limits, shared by every worker process through the control Redis (GCRA, Redis's clock).

A chunk reserves requests and estimated tokens together and settles the tokens by true usage. A provider's
refusal (429) pauses it for everyone.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from workers.core.rate import PARK_AFTER_S, burst_of
from workers.store import keys
from workers.store.redis import REDIS_DOWN, run_script

# With Redis away and a limit to keep, nobody can know what the others do: ask again in this time.
BLIND_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Rates:
    """A provider's limits for a minute; None: unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    @property
    def limited(self) -> bool:
        """Whether there is anything to keep."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None


@dataclass(frozen=True, slots=True)
class Grant:
    """How long each granted request must still wait, and how long the first refused one would have to."""

    waits_s: tuple[float, ...]
    next_wait_s: float


class Limits:
    """Reserve, settle, pause."""

    def __init__(self, client: Redis) -> None:
        self._redis = client

    async def reserve(self, provider: str, rates: Rates, est_tokens: Sequence[int]) -> Grant:
        """Ask for one request per estimate, in order; at most two seconds ahead are granted."""
        rpm, tpm = rates.requests_per_minute or 0, rates.tokens_per_minute or 0
        args: list[float | str | bytes] = [
            rpm,
            burst_of(rpm) if rpm else 0,
            tpm,
            burst_of(tpm) if tpm else 0,
            int(PARK_AFTER_S * 1000),
            *est_tokens,
        ]
        names = [keys.limit(provider), keys.grant(provider, secrets.token_hex(8))]
        try:
            reply = await run_script(self._redis, "reserve", keys=names, args=args)
        except REDIS_DOWN:
            if rates.limited:
                return Grant((), BLIND_WAIT_S)
            return Grant((0.0,) * len(est_tokens), 0.0)
        next_wait_ms, *waits_ms = (float(value) for value in reply)
        return Grant(tuple(ms / 1000 for ms in waits_ms), next_wait_ms / 1000)

    async def settle(self, provider: str, rates: Rates, *, reserved: int, used: int) -> None:
        """Give back, or take in addition, the tokens by which the estimate was wrong."""
        if rates.tokens_per_minute is None or reserved == used:
            return
        names = [keys.limit(provider), keys.grant(provider, secrets.token_hex(8))]
        try:
            await run_script(
                self._redis, "settle", keys=names, args=[rates.tokens_per_minute, used - reserved]
            )
        except REDIS_DOWN:
            return  # the estimate stands

    async def pause(self, provider: str, wait_s: float) -> None:
        """Nobody calls the provider for `wait_s`."""
        try:
            await run_script(self._redis, "pause", keys=[keys.limit(provider)], args=[int(wait_s * 1000)])
        except REDIS_DOWN:
            return
