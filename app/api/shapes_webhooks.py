"""The replies about webhooks in the words of the official SDKs, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.api.shapes import Shape


class WebhookEndpoint(Shape):
    """An endpoint that is told of events; `name` is empty where it was made without one."""

    id: str
    object: Literal["webhook_endpoint"]
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: None
    created_at: int
    updated_at: int


class EndpointWithSecret(WebhookEndpoint):
    """The same with its new signing secret: this answer alone shows it."""

    signing_secret: Annotated[str, Field(pattern="^whsec_")]


class EndpointList(Shape):
    """One page of endpoints, newest first."""

    object: Literal["list"]
    data: list[WebhookEndpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool


class EndpointDeleted(Shape):
    """An endpoint that is no more."""

    id: str
    object: Literal["webhook_endpoint.deleted"]
    deleted: Literal[True]


class EndpointTested(Shape):
    """What the receiver of a sample event answered."""

    object: Literal["webhook_endpoint.test"]
    webhook_endpoint_id: str
    event_type: str
    success: Literal[True]
    status_code: int


class EventTypeList(Shape):
    """The events of which an endpoint can be told."""

    object: Literal["list"]
    data: list[str]
