"""The replies of /analytics, as the OpenAPI document shows them. Times are Unix seconds."""

from __future__ import annotations

from typing import Literal

from app.api.health import Dependency
from app.api.shapes import Count, Shape


class Latency(Shape):
    """Durations in milliseconds, exact to a bucket's width (26 %); null where nothing was timed."""

    count: Count
    min_ms: float | None
    avg_ms: float | None
    max_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class RequestFigures(Shape):
    """Requests in a time: `refused` were answered 4xx, `errors` 5xx."""

    requests: Count
    requests_per_minute: float
    refused: Count
    errors: Count
    error_rate: float
    status_codes: dict[str, Count]
    latency: Latency


class EndpointFigures(RequestFigures):
    """The same for one method of one route."""

    method: str
    endpoint: str


class LimiterWaits(Shape):
    """How often calls had to wait for one reason, and how long they were told to, in all."""

    times: Count
    seconds: float


class ProviderFigures(Shape):
    """Calls of workers to one provider."""

    provider: str
    calls: Count
    outcomes: dict[str, Count]
    latency: Latency
    limiter_waits: dict[str, LimiterWaits]


class Recorded(Shape):
    """What batches have recorded, exact after any crash. Money is null where an answer has no known price."""

    completed: Count
    failed: Count
    never_ran: Count
    cached: Count
    coalesced: Count
    calls: Count
    excess_calls: Count
    input_tokens: Count
    output_tokens: Count
    cost_usd: float | None
    saved_usd: float | None


class RecordedFigures(Shape):
    """Of all batches that ever ran, also by provider.

    `in_window` counts from `in_window_since`: the first minute of the window that was noted, null before there is one.
    """

    total: Recorded
    by_provider: dict[str, Recorded]
    in_window: Recorded | None
    in_window_since: int | None


class QueueState(Shape):
    """What waits for one provider; `messages` is null while the broker does not answer."""

    provider: str
    messages: Count | None
    queued: Count
    dispatched: Count
    leased: Count
    oldest_due_s: float | None
    calls_in_flight: Count


class NowState(Shape):
    """What stands at this moment; `requests_in_progress` are those of the process that answers."""

    requests_in_progress: Count
    calls_in_flight: Count
    workers: Count
    queues: list[QueueState]


class AnalyticsStats(Shape):
    """Figures of a window, over all API and worker processes."""

    object: Literal["analytics.stats"]
    enabled: bool
    window: str
    since: int
    until: int
    requests: RequestFigures
    endpoints: list[EndpointFigures]
    providers: list[ProviderFigures]
    batches: RecordedFigures
    now: NowState


class AnalyticsError(Shape):
    """Errors alike: a `request` the API answered 4xx or 5xx, a provider's `call`, or an `item` of a batch.

    Of an item, `first_seen` and `last_seen` are when the first and the last batch with it were made.
    """

    kind: Literal["request", "call", "item"]
    code: str
    method: str | None
    endpoint: str | None
    provider: str | None
    count: Count
    first_seen: int
    last_seen: int


class AnalyticsErrors(Shape):
    """Errors of a window, the most frequent first."""

    object: Literal["analytics.errors"]
    enabled: bool
    window: str
    since: int
    until: int
    data: list[AnalyticsError]
    has_more: bool


class Alert(Shape):
    """One alert: `value` is the last one, `since` when it was first bad, `helps` what to do."""

    id: str
    object: Literal["alert"]
    state: Literal["firing", "resolved"]
    rule: str
    subject: str | None
    measure: str
    value: float | None
    threshold: float
    bad: Literal["over", "under"]
    for_s: float
    since: int
    fired_at: int
    resolved_at: int | None
    helps: str
    runbook: str


class Rule(Shape):
    """When an alert fires."""

    rule: str
    measure: str
    bad: Literal["over", "under"]
    threshold: float
    for_s: float
    enabled: bool


class AnalyticsAlerts(Shape):
    """Alerts, the latest first, and the rules."""

    object: Literal["analytics.alerts"]
    enabled: bool
    data: list[Alert]
    rules: list[Rule]


class WorkersState(Shape):
    """Worker processes that live, and those that fell silent without a word and are not forgotten yet."""

    alive: Count
    silent: Count


class BeatState(Shape):
    """How long ago a worker last heard of beat; null where none ever has, and with the profile that has no beat."""

    silent_s: float | None


class DiskState(Shape):
    """How full MongoDB's disk is, where its server tells."""

    percent: float
    free_bytes: Count
    warn_percent: float
    stop_percent: float


class AnalyticsHealth(Shape):
    """`unhealthy` where the API cannot work or no worker lives, `degraded` where something needs a look."""

    object: Literal["analytics.health"]
    status: Literal["healthy", "degraded", "unhealthy"]
    reasons: list[str]
    dependencies: dict[str, Dependency]
    workers: WorkersState | None
    beat: BeatState | None
    disk: DiskState | None
    alerts_firing: dict[str, Count]
