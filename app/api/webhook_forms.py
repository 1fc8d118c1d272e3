"""What may come in about webhooks, and how endpoints and deliveries are shown.

webhooks.py answers by it, and webhook_endpoints.py in the words of the official SDKs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.api.bodies import WHOLE, SigningSecret, Strict, WebhookUrl, in_words
from workers.core.webhooks import DEFAULT_EVENTS, EVENT_TYPES, PATTERNS, is_pattern, wants
from workers.store.mongo import Doc

_DAY_S = 86_400
DeliveryState = Literal["pending", "delivered", "dead"]


def _one_of(words: Sequence[str]) -> PydanticCustomError:
    said = in_words([f"'{one}'" for one in words])
    return PydanticCustomError("supported", "{supported}", {"supported": said})


def _known(pattern: str) -> str:
    if not is_pattern(pattern):
        raise _one_of(PATTERNS)
    return pattern


_Events = Annotated[
    list[Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(PATTERNS)})]],
    Field(min_length=1, max_length=len(PATTERNS)),
]


class CreateWebhook(Strict):
    """POST /v1/webhooks."""

    url: WebhookUrl
    events: _Events = Field(default_factory=lambda: list(DEFAULT_EVENTS))
    enabled: bool = True
    secret: SigningSecret | None = None


class ChangeWebhook(Strict):
    """PATCH /v1/webhooks/{id}: what is left out stays."""

    url: WebhookUrl | None = None
    events: _Events | None = None
    enabled: bool | None = None


class RotateSecret(Strict):
    """POST /v1/webhooks/{id}/rotate-secret; the body may be empty."""

    secret: SigningSecret | None = None
    grace_s: Annotated[int, Field(ge=0, le=7 * _DAY_S), WHOLE] = _DAY_S


def _type_known(kind: str) -> str:
    if kind not in EVENT_TYPES:
        raise _one_of(EVENT_TYPES)
    return kind


_EventType = Annotated[
    str, AfterValidator(_type_known), WithJsonSchema({"type": "string", "enum": list(EVENT_TYPES)})
]
_EventTypes = Annotated[list[_EventType], Field(min_length=1, max_length=len(EVENT_TYPES))]
_Name = Annotated[str, Field(min_length=1, max_length=256)]


class SdkForm(Strict):
    """What the official SDKs send; a misspelt name is refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


class CreateEndpoint(SdkForm):
    """POST /v1/webhook_endpoints."""

    name: _Name
    url: WebhookUrl
    event_types: _EventTypes


class UpdateEndpoint(SdkForm):
    """POST /v1/webhook_endpoints/{id}: what is left out stays."""

    name: _Name | None = None
    url: WebhookUrl | None = None
    event_types: _EventTypes | None = None


class RotateEndpointSecret(SdkForm):
    """POST /v1/webhook_endpoints/{id}/rotate_secret; the body may be empty."""

    keep_old_secret_active_for_24_hours: bool = False


class TestEndpoint(SdkForm):
    """POST /v1/webhook_endpoints/{id}/test."""

    event_type: _EventType


def sdk_endpoint_shown(doc: Doc, *, with_secret: bool = False) -> dict[str, Any]:
    """An endpoint in the SDKs' words, its patterns as the types that they stand for."""
    shown = {
        "id": doc["_id"],
        "object": "webhook_endpoint",
        "name": doc.get("name", ""),
        "url": doc["url"],
        "event_types": [kind for kind in EVENT_TYPES if wants(doc["events"], kind)],
        "signing_secret_hint": None,
        "created_at": int(doc["created_at"]),
        "updated_at": int(doc["updated_at"]),
    }
    return shown | ({"signing_secret": doc["secrets"][0]["secret"]} if with_secret else {})


def endpoint_shown(doc: Doc, *, with_secret: bool = False) -> dict[str, Any]:
    """An endpoint; its secret only in the answer to what has made it."""
    now = datetime.now(UTC)
    older = [each["until"] for each in doc["secrets"] if each["until"] is not None and each["until"] > now]
    shown = {
        "id": doc["_id"],
        "object": "webhook",
        "url": doc["url"],
        "events": doc["events"],
        "enabled": doc["enabled"],
        "disabled_reason": doc["disabled_reason"],
        "old_secret_until": int(max(older).timestamp()) if older else None,
        "created_at": int(doc["created_at"]),
        "updated_at": int(doc["updated_at"]),
    }
    return shown | ({"secret": doc["secrets"][0]["secret"]} if with_secret else {})


def delivery_shown(row: Doc) -> dict[str, Any]:
    """A delivery with its attempts, the oldest first. `next_at` only while there is one to come."""
    return {
        "id": row["_id"],
        "object": "webhook.delivery",
        "webhook_id": row["endpoint"],
        "batch_id": row["batch_id"],
        "event_id": row["event_id"],
        "event": row["type"],
        "status": row["state"],
        "attempts": row["tries"],
        "next_at": int(row["next_at"].timestamp()) if row["state"] == "pending" else None,
        "created_at": int(row["created_at"]),
    }
