"""Calls about webhooks, as data. Pure.

What shows a secret, or sends something, is not repeated after a lost reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from app.client.calls import HttpCall

Reply = Mapping[str, Any]
_HOOKS = "/v1/webhooks"


def create_webhook(url: str, events: Sequence[str], secret: str | None) -> HttpCall[Reply]:
    """POST /v1/webhooks; without events and without a secret the server chooses."""
    body: dict[str, Any] = {"url": url}
    if events:
        body["events"] = list(events)
    if secret is not None:
        body["secret"] = secret
    return HttpCall("POST", _HOOKS, _as_it_is, json=body, repeatable=False)


def list_webhooks() -> HttpCall[Reply]:
    """GET /v1/webhooks."""
    return HttpCall("GET", _HOOKS, _as_it_is)


def get_webhook(webhook_id: str) -> HttpCall[Reply]:
    """GET /v1/webhooks/{id}."""
    return HttpCall("GET", _hook(webhook_id), _as_it_is)


def change_webhook(
    webhook_id: str, url: str | None, events: Sequence[str], enabled: bool | None
) -> HttpCall[Reply]:
    """PATCH /v1/webhooks/{id}; what is left out stays."""
    given = {"url": url, "events": list(events) or None, "enabled": enabled}
    body = {name: value for name, value in given.items() if value is not None}
    return HttpCall("PATCH", _hook(webhook_id), _as_it_is, json=body)


def remove_webhook(webhook_id: str) -> HttpCall[Reply]:
    """DELETE /v1/webhooks/{id}."""
    return HttpCall("DELETE", _hook(webhook_id), _as_it_is, repeatable=False)


def rotate_secret(webhook_id: str, secret: str | None, grace_s: int | None) -> HttpCall[Reply]:
    """POST /v1/webhooks/{id}/rotate-secret."""
    given = {"secret": secret, "grace_s": grace_s}
    body = {name: value for name, value in given.items() if value is not None}
    return HttpCall("POST", f"{_hook(webhook_id)}/rotate-secret", _as_it_is, json=body, repeatable=False)


def test_webhook(webhook_id: str) -> HttpCall[Reply]:
    """POST /v1/webhooks/{id}/test."""
    return HttpCall("POST", f"{_hook(webhook_id)}/test", _as_it_is, json={}, repeatable=False)


def list_deliveries(
    *, status: str | None, event: str | None, after: str | None, limit: int
) -> HttpCall[Reply]:
    """GET /v1/webhooks/deliveries, newest first."""
    given = {"status": status, "event": event, "after": after, "limit": str(limit)}
    params = {name: word for name, word in given.items() if word is not None}
    return HttpCall("GET", f"{_HOOKS}/deliveries", _as_it_is, params=params)


def replay_delivery(delivery_id: str) -> HttpCall[Reply]:
    """POST /v1/webhooks/deliveries/{id}/replay."""
    return HttpCall("POST", f"{_delivery(delivery_id)}/replay", _as_it_is, json={}, repeatable=False)


def _as_it_is(data: Reply) -> Reply:
    return data


def _hook(webhook_id: str) -> str:
    return f"{_HOOKS}/{quote(webhook_id, safe='')}"


def _delivery(delivery_id: str) -> str:
    return f"{_HOOKS}/deliveries/{quote(delivery_id, safe='')}"
