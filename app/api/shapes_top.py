"""The reply of GET /v1/top as the OpenAPI document shows it (shapes.py). Null: nobody knows, yet or at all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.api.shapes import BatchState, Count, Shape

Amount = Annotated[float, Field(ge=0)]


class TopReason(Shape):
    """What part of a batch waits for; `/why` says more."""

    kind: str
    provider: str | None
    requests: Count
    since: float | None
    until: float | None


class TopBatch(Shape):
    """A batch that has not ended; `name` is that of its file, `per_second` of the last seconds."""

    id: str
    name: str
    tenant: str
    model: str | None
    status: BatchState
    paused: bool
    created_at: int
    total: Count
    done: Count
    failed: Count
    cached: Count
    coalesced: Count
    cost_usd: Amount | None
    per_second: Amount | None
    eta_s: Count | None
    waiting_for: list[TopReason]


class TopLimits(Shape):
    """What the settings allow of a provider, and how long the next call would wait for it."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    wait_s: Amount | None


class TopProvider(Shape):
    """A provider: what waits for it, what is under way, how fast, and what holds calls back.

    `p50_s` and `p95_s` are of the last minute, before that since the workers' start.
    """

    name: str
    shards_waiting: Count
    shards_running: Count
    requests_left: Count
    oldest_due_s: Amount | None
    in_flight: Count
    slots: Count
    calls_per_second: Amount | None
    tokens_per_minute: Count | None
    p50_s: Amount | None
    p95_s: Amount | None
    limits: TopLimits
    rests_s: Amount | None
    breaker: Literal["closed", "open", "half-open"] | None
    breaker_opens_in_s: Amount | None
    held_since: int | None


class TopWorker(Shape):
    """A worker process by its last sign, which is `age_s` old."""

    name: str
    alive: bool
    age_s: Amount
    version: str | None
    started_at: float | None
    calls: Count
    slots: Count
    memory_bytes: Count | None
    cpu_percent: Amount | None
    loop_lag_s: Amount | None
    buffer_results: Count | None
    buffer_oldest_s: Amount | None


class TopSavings(Shape):
    """Sums over the batches made today (UTC) that are still there."""

    requests: Count
    failed: Count
    cached: Count
    coalesced: Count
    calls: Count
    excess_calls: Count
    hit_rate: Annotated[float, Field(ge=0, le=1)] | None
    cost_usd: Amount | None
    saved_usd: Amount | None


class TopAlert(Shape):
    """An alert that fires."""

    name: str
    text: str
    since: float | None


class Top(Shape):
    """What goes on at this moment. `away` names servers that do not answer; `batches_running` may count only so far."""

    object: Literal["top"]
    at: float
    version: str
    batches_running: Count
    batches: list[TopBatch]
    providers: list[TopProvider]
    workers: list[TopWorker]
    savings: TopSavings
    alerts: list[TopAlert]
    away: list[str]
