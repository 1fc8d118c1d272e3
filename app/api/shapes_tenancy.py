"""The replies about tenants, keys, pauses and webhooks, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.api.shapes import Count, Shape


class TenantLimits(Shape):
    """What a tenant may use at most; null: no limit of its own."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrency: int | None
    max_queued_items: int | None
    max_storage_bytes: int | None


class Tenant(Shape):
    """What is settled for a tenant."""

    object: Literal["tenant"]
    id: str
    display_name: str | None
    weight: float
    retention_days: float | None
    limits: TenantLimits
    max_cost_usd_per_month: float | None
    created_at: int
    erasing_since: int | None


class TenantList(Shape):
    """One page of tenants, by name."""

    object: Literal["list"]
    data: list[Tenant]
    first_id: str | None
    last_id: str | None
    has_more: bool


class TenantErased(Shape):
    """Whether all of it is gone; if not, it goes on by itself."""

    object: Literal["tenant.erased"]
    id: str
    gone: bool


class ApiKey(Shape):
    """An API key without the key; `prefix` is enough of it to recognise it by."""

    object: Literal["api_key"]
    id: str
    tenant: str
    name: str
    prefix: str
    scopes: list[Literal["read", "submit", "admin"]]
    status: Literal["active", "expired", "revoked"]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    rotated_from: str | None


class ApiKeyMade(ApiKey):
    """A new API key, with the key: this answer alone shows it."""

    key: str


class ApiKeyList(Shape):
    """One page of API keys, newest first."""

    object: Literal["list"]
    data: list[ApiKey]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Pause(Shape):
    """Whether a provider or a tenant is paused, since when, and by whose key (the tenant)."""

    object: Literal["pause"]
    kind: Literal["provider", "tenant"]
    name: str
    paused: bool
    since: float | None
    by: str | None


class PauseList(Shape):
    """All that is paused, as far as the key may know."""

    object: Literal["list"]
    data: list[Pause]


class Webhook(Shape):
    """An endpoint that is told of events."""

    id: str
    object: Literal["webhook"]
    url: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    old_secret_until: int | None
    created_at: int
    updated_at: int


class WebhookWithSecret(Webhook):
    """The same with its new signing secret: this answer alone shows it."""

    secret: Annotated[str, Field(pattern="^whsec_")]


class WebhookList(Shape):
    """All endpoints, oldest first."""

    object: Literal["list"]
    data: list[Webhook]
    first_id: str | None
    last_id: str | None
    has_more: bool


class WebhookDeleted(Shape):
    """An endpoint that is no more."""

    id: str
    object: Literal["webhook"]
    deleted: Literal[True]


class DeliveryAttempt(Shape):
    """One attempt; `answer` is the beginning of what came back."""

    at: int
    status: int | None
    error: str | None
    took_ms: Count
    answer: str


class Delivery(Shape):
    """One event on its way to one receiver; `webhook_id` is null for a batch's own receiver."""

    id: str
    object: Literal["webhook.delivery"]
    webhook_id: str | None
    batch_id: str | None
    event_id: str
    event: str
    status: Literal["pending", "delivered", "dead"]
    attempts: list[DeliveryAttempt]
    next_at: int | None
    created_at: int


class DeliveryList(Shape):
    """One page of deliveries, newest first."""

    object: Literal["list"]
    data: list[Delivery]
    first_id: str | None
    last_id: str | None
    has_more: bool


class WebhookTested(Shape):
    """What came back from a test event."""

    object: Literal["webhook.test"]
    webhook_id: str
    event_id: str
    delivered: bool
    status: int | None
    error: str | None
    took_ms: Count
    answer: str
