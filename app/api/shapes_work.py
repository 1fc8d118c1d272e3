"""The replies about what a batch took, as the OpenAPI document shows them: items, failures, costs, the cache."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from app.api.shapes import BatchState, Count, Shape


class ItemFailure(Shape):
    """Why an item has no answer."""

    code: str
    message: str


class ItemAttempt(Shape):
    """A try that failed, and what followed; `wait_s` is the wait before the next one."""

    at: float
    provider: str
    code: str
    status: int | None
    then: Literal["retry", "hand_over", "give_up"]
    wait_s: float


class RecordedItem(Shape):
    """What a request with a result took. `cost_usd` is null where its price is not known."""

    line: Annotated[int, Field(ge=1)]
    custom_id: str
    status: Literal["completed", "failed", "never_ran"]
    status_code: int | None
    error: ItemFailure | None
    source: str
    provider: str | None
    model: str
    calls: Count
    excess_calls: Count
    asked_again: Count
    latency_ms: float
    input_tokens: Count
    cached_tokens: Count
    output_tokens: Count
    cost_usd: float | None
    warnings: list[str]
    attempts: list[ItemAttempt]
    waited_s: dict[str, float]


class PendingItem(Shape):
    """What a request without a result went through so far, and what it waits for."""

    line: Annotated[int, Field(ge=1)]
    custom_id: None
    status: Literal["pending"]
    state: Literal["queued", "leased", "parked"]
    reason: str | None
    until: float | None
    provider: str | None
    calls: Count
    asked_again: Count
    cost_usd: float | None
    attempts: list[ItemAttempt]
    waited_s: dict[str, float]


class ItemList(Shape):
    """One page of items; `next_cursor` asks for the next one."""

    object: Literal["list"]
    data: list[RecordedItem | PendingItem]
    has_more: bool
    next_cursor: str | None


class RecordedItemWhole(RecordedItem):
    """The same with its line of the output or error file, and the line of the input file (text where it is no JSON)."""

    result: dict[str, Any]
    request: Any


class PendingItemWhole(PendingItem):
    """The same with the line of the input file (text where it is no JSON)."""

    result: None
    request: Any


class Item(RootModel[RecordedItemWhole | PendingItemWhole]):
    """One request of a batch, by its line."""


class FailureSample(Shape):
    """One of the items that failed so."""

    line: Annotated[int, Field(ge=1)]
    custom_id: str


class FailureKind(Shape):
    """Failures alike: what the first one says, and what helps."""

    code: str
    status_code: int | None
    count: Annotated[int, Field(ge=1)]
    message: str
    provider_code: str | None
    retryable: bool
    hint: str
    samples: list[FailureSample]


class FailureList(Shape):
    """Why items failed, the most frequent kind first."""

    object: Literal["list"]
    batch_id: str
    status: BatchState
    failed: Count
    data: list[FailureKind]


class CostSums(Shape):
    """What requests took. Money is null where an answer among them has no known price."""

    items: Count
    calls: Count
    cached: Count
    coalesced: Count
    failed: Count
    input_tokens: Count
    cached_tokens: Count
    output_tokens: Count
    cost_usd: float | None
    saved_usd: float | None


class CostsOfDay(CostSums):
    """Of one provider, of batches made on one day (UTC)."""

    day: str
    provider: str
    batches: Count


class CostsOfProvider(CostSums):
    """Of one provider."""

    provider: str
    batches: Count


class CostsOfModel(CostSums):
    """Of one model; null where it is not known."""

    provider: str
    model: str | None
    batches: Count


class Costs(Shape):
    """What a tenant's batches have cost and saved since `since`."""

    object: Literal["costs"]
    since: int
    days: Annotated[int, Field(ge=1)]
    by: Literal["day", "provider", "model"]
    cost_usd: float | None
    saved_usd: float | None
    data: list[CostsOfDay | CostsOfModel | CostsOfProvider]


class CostShare(CostSums):
    """What one provider's model took of a batch."""

    provider: str
    model: str | None


class BatchCosts(CostSums):
    """What a batch has cost and saved until `at`; `final` once it has ended."""

    object: Literal["batch.costs"]
    id: str
    status: BatchState
    final: bool
    at: int
    data: list[CostShare]


class CacheCounts(Shape):
    """What look-ups came to."""

    hits: Count
    misses: Count
    kept: Count
    too_large: Count
    corrupt: Count
    early: Count
    late: Count
    raw_bytes: Count
    packed_bytes: Count
    hit_rate: float | None


class CacheState(Shape):
    """How the cache does. `away`: its Redis does not answer, and the rest is empty."""

    object: Literal["cache"]
    enabled: bool
    away: bool
    today: CacheCounts
    last_7_days: CacheCounts
    keys_by_dbsize: int | None
    entries_by_scan: dict[str, int]
    scan_complete: bool
    memory_used_bytes: int | None
    memory_limit_bytes: int | None
    eviction_policy: str | None
    evicted_keys: int | None


class CacheCleared(Shape):
    """What was forgotten; a tenant's answers are put out of reach, and nobody counts them."""

    object: Literal["cache.cleared"]
    prefix: str | None
    entries: int | None
    tenant: str | None
    generation: int | None


class LookedUp(Shape):
    """For each request in turn whether its answer is kept."""

    object: Literal["list"]
    data: list[bool]
