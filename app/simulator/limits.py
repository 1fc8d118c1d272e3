"""The provider's own rate limits: GCRA per minute, and its headers. Pure: time is an argument.

simulation.py holds one `Meter` for requests and one for tokens; both must admit a call or neither is charged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.simulator.errors import ApiError

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Limit:
    """`per_minute` units a minute, of which `burst_share` of a minute's worth may be spent at once."""

    noun: str  # "requests" or "tokens"
    per_minute: int
    burst_share: float = 1.0

    @property
    def capacity(self) -> int:
        return max(1, int(self.per_minute * self.burst_share))

    @property
    def unit_s(self) -> float:
        return 60.0 / self.per_minute


@dataclass(frozen=True, slots=True)
class Meter:
    """One bucket. `full_at` is when it will be full again, on the caller's monotonic clock."""

    limit: Limit
    full_at: float = -math.inf

    def remaining(self, now: float) -> int:
        """Units that may be spent at once now."""
        debt = max(0.0, self.full_at - now) / self.limit.unit_s
        return max(0, int(self.limit.capacity - debt + 1e-9))

    def wait_s(self, cost: int, now: float) -> float:
        """Seconds until `cost` units may be spent: 0 if now, infinite if they never fit."""
        if cost > self.limit.capacity:
            return math.inf
        free_at = max(self.full_at, now) + (cost - self.limit.capacity) * self.limit.unit_s
        # A nanosecond of slack: sums of thirds of a second must not refuse a client that waited exactly.
        return 0.0 if free_at - now <= 1e-9 else free_at - now

    def spent(self, cost: int, now: float) -> Meter:
        """The bucket after `cost` units."""
        return Meter(self.limit, max(self.full_at, now) + cost * self.limit.unit_s)

    def headers(self, now: float) -> Headers:
        noun = self.limit.noun
        return [
            (f"x-ratelimit-limit-{noun}", str(self.limit.per_minute)),
            (f"x-ratelimit-remaining-{noun}", str(self.remaining(now))),
            (f"x-ratelimit-reset-{noun}", go_duration(max(0.0, self.full_at - now))),
        ]


def refusal(meter: Meter, model: str, cost: int, wait_s: float, now: float, headers: Headers) -> ApiError:
    """The 429 of a bucket that does not hold `cost`, saying when it will."""
    noun = meter.limit.noun
    name = f"{noun} per min ({'RPM' if noun == 'requests' else 'TPM'})"
    limit = meter.limit.per_minute
    if math.isinf(wait_s):
        message = (
            f"Request too large for {model} in organization org-simulator on {name}: Limit {limit}, "
            f"Requested {cost}. The input or output tokens must be reduced in order to run successfully."
        )
        return ApiError(429, message, kind=noun, code="rate_limit_exceeded", headers=headers)
    used = meter.limit.capacity - meter.remaining(now)
    message = (
        f"Rate limit reached for {model} in organization org-simulator on {name}: Limit {limit}, "
        f"Used {used}, Requested {cost}. Please try again in {go_duration(wait_s)}."
    )
    wait_ms = math.ceil(wait_s * 1000)
    retry = [("retry-after", str(math.ceil(wait_s))), ("retry-after-ms", str(wait_ms))]
    return ApiError(429, message, kind=noun, code="rate_limit_exceeded", headers=[*headers, *retry])


def go_duration(seconds: float) -> str:
    """Seconds as Go writes them: `0s`, `120ms`, `8.64s`, `6m0s`. Rounded up, so that waiting it is enough."""
    total_ms = math.ceil(seconds * 1000 - 1e-6)
    if total_ms <= 0:
        return "0s"
    if total_ms < 1000:
        return f"{total_ms}ms"
    minutes, rest_ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    secs = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + secs
