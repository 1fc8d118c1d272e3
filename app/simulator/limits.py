"""The simulator's own rate limits: GCRA per minute. Pure: time is an argument; a dialect puts them into headers.

simulation.py holds one `Meter` for requests and one for tokens; both must admit a call or neither is charged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Headers = list[tuple[str, str]]
# What sums of thirds of a second lose on a clock that has run for months: neither a client that waited exactly nor the
# last unit that is left must be lost to it.
_SLACK_S = 1e-8


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
        debt = max(0.0, self.full_at - now - _SLACK_S) / self.limit.unit_s
        return max(0, int(self.limit.capacity - debt))

    def wait_s(self, cost: int, now: float) -> float:
        """Seconds until `cost` units may be spent: 0 if now, infinite if they never fit."""
        if cost > self.limit.capacity:
            return math.inf
        free_at = max(self.full_at, now) + (cost - self.limit.capacity) * self.limit.unit_s
        return 0.0 if free_at - now <= _SLACK_S else free_at - now

    def spent(self, cost: int, now: float) -> Meter:
        """The bucket after `cost` units."""
        return Meter(self.limit, max(self.full_at, now) + cost * self.limit.unit_s)

    def full_in_s(self, now: float) -> float:
        """Seconds until nothing of it is spent."""
        return max(0.0, self.full_at - now)


def waits_forever(wait_s: float) -> bool:
    """Whether a call costs more than the limit ever holds."""
    return math.isinf(wait_s)


def whole_s(seconds: float) -> str:
    """Rounded up, so that waiting it is enough."""
    return str(math.ceil(seconds))


def whole_ms(seconds: float) -> str:
    """Milliseconds, rounded up."""
    return str(math.ceil(seconds * 1000))


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
