"""What the limits of providers and tenants are asked and told: values only. store/limiter.py decides in Redis.

A *lane* is one model at one provider: concurrency that adapts and the breaker count by it, since a provider
throttles and fails by model. Requests and tokens a minute are the provider's as a whole. A tenant may have limits of
its own beside them, over all providers: an *owner* is a tenant with limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Blocked = Literal[
    "limit",
    "paused",
    "concurrency",
    "breaker",
    "redis",
    "tenant_requests",
    "tenant_tokens",
    "tenant_concurrency",
]
# What a tenant's own limits say; nothing of it is the provider's matter, nor another tenant's.
TENANT_LIMITS: tuple[Blocked, ...] = ("tenant_requests", "tenant_tokens", "tenant_concurrency")


@dataclass(frozen=True, slots=True)
class Rates:
    """What a provider, or a tenant, allows all workers together; None: no limit of ours."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None

    @property
    def limited(self) -> bool:
        """Whether there is anything to keep when nobody can be asked."""
        return any((self.requests_per_minute, self.tokens_per_minute, self.concurrency))


@dataclass(frozen=True, slots=True)
class Ask:
    """One call that wants to start: its model, and its input and output tokens as estimated."""

    model: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose calls these are, where the tenant has limits.

    `in_flight`: its calls that this process has under way at the provider asked for; `everywhere`: at all of them.
    """

    tenant: str
    rates: Rates
    in_flight: int = 0
    everywhere: int = 0


@dataclass(frozen=True, slots=True)
class Go:
    """The call may start in `wait_s`, at most two seconds."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class NotNow:
    """The call may not start; asking again before `wait_s` is of no use.

    `limit`: requests or tokens a minute are used up; `paused`: the provider asked us to wait; `concurrency`: as
    many calls are under way as it takes; `breaker`: this model has failed too often; `redis`: nobody can know.
    `tenant_requests`, `tenant_tokens`, `tenant_concurrency`: the provider would take it, its tenant's own limit would
    not.
    `lane`: that holds for this model alone, and another one of the provider may start.
    """

    why: Blocked
    wait_s: float
    lane: bool = False


Verdict = Go | NotNow


@dataclass(slots=True)
class LaneSeen:
    """What one process saw of a lane since it last said so."""

    answered: int = 0
    throttled: int = 0  # 429, and other words for "too many at once"
    failed: int = 0  # 5xx, time-outs, broken or refused connections
    retry_after_s: float | None = None  # the longest wait that a refusal named
    broke_off: bool = False  # a connection broke under its calls, which stand in `failed` as one


@dataclass(slots=True)
class OwnerSeen:
    """What one process saw of a tenant's calls at a provider since it last said so; `in_flight` is absolute.

    `unmade`: calls that were granted and never made, the first of them `unmade_age_s` ago.
    """

    rates: Rates
    in_flight: int = 0
    reserved_tokens: int = 0
    used_tokens: int = 0
    unmade: int = 0
    unmade_age_s: float = 0.0


@dataclass(slots=True)
class Seen:
    """What one process saw of a provider since it last said so; `in_flight` is absolute, by model."""

    reserved_tokens: int = 0
    used_tokens: int = 0
    lanes: dict[str, LaneSeen] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # the latest answer's
    owners: Mapping[str, OwnerSeen] = field(default_factory=dict)  # by tenant, of those that have limits


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a lane counts as broken, and how long it is left alone: doubled each time, up to `max_open_s`."""

    failures: int = 10
    open_s: float = 5.0
    max_open_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LaneState:
    """How a lane stands, for people: `concurrency` None while nothing has cut it."""

    model: str
    in_flight: int
    concurrency: int | None
    breaker: Literal["closed", "open", "half-open"]
    opens_in_s: float = 0.0  # until an open breaker lets one call try
    failures: int = 0  # in a row
    rests_s: float = 0.0  # until a call may start after refusals, or by the gap
    gap_s: float = 0.0  # between the starts of two calls; 0: none is kept
    refusals: int = 0  # reports in a row with refusals and no answer


@dataclass(frozen=True, slots=True)
class AllowanceState:
    """What a provider's headers left us, calls under way taken off."""

    kind: Literal["requests", "tokens"]
    limit: int
    left: int
    per_minute: float  # what comes back by the provider's own word
    forgotten_in_s: float


@dataclass(frozen=True, slots=True)
class LimitState:
    """How a provider's limits stand: the wait that a request and a token would have now, and its lanes."""

    provider: str
    paused_s: float
    request_wait_s: float
    token_wait_s: float
    lanes: tuple[LaneState, ...] = ()
    in_flight: int = 0  # over all processes
    concurrency: int | None = None  # as configured
    processes: int = 0  # that have called within the last seconds
    allowances: tuple[AllowanceState, ...] = ()
    redis: bool = True  # False: it is away, and this is what the process knows by itself
