"""Calls about tenants and API keys, as data. Pure.

What makes a tenant or a key is not repeated after a lost reply: a key is shown only once, and a second attempt would
leave one that works and that nobody has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from app.client.calls import HttpCall

Reply = Mapping[str, Any]


def create_tenant(name: str, settled: Mapping[str, Any]) -> HttpCall[Reply]:
    """POST /v1/tenants."""
    return HttpCall("POST", "/v1/tenants", _as_it_is, json={"id": name, **settled}, repeatable=False)


def list_tenants(*, after: str | None, limit: int) -> HttpCall[Reply]:
    """GET /v1/tenants, one page by name."""
    return HttpCall("GET", "/v1/tenants", _as_it_is, params=_given(after=after, limit=str(limit)))


def get_tenant(name: str) -> HttpCall[Reply]:
    """GET /v1/tenants/{id}."""
    return HttpCall("GET", _tenant(name), _as_it_is)


def settle_tenant(name: str, settled: Mapping[str, Any]) -> HttpCall[Reply]:
    """PATCH /v1/tenants/{id}: what is named changes, None takes it back."""
    return HttpCall("PATCH", _tenant(name), _as_it_is, json=dict(settled))


def erase_tenant(name: str) -> HttpCall[Reply]:
    """DELETE /v1/tenants/{id}."""
    return HttpCall("DELETE", _tenant(name), _as_it_is, repeatable=False)


def create_key(
    *, name: str, tenant: str | None, scopes: Sequence[str], expires_in_s: int | None
) -> HttpCall[Reply]:
    """POST /v1/keys; no scopes: the server's own choice."""
    body: dict[str, Any] = {"name": name, "tenant": tenant, "expires_in_s": expires_in_s}
    if scopes:
        body["scopes"] = list(scopes)
    return HttpCall("POST", "/v1/keys", _as_it_is, json=body, repeatable=False)


def list_keys(*, tenant: str | None, after: str | None, limit: int) -> HttpCall[Reply]:
    """GET /v1/keys, one page, newest first."""
    params = _given(tenant=tenant, after=after, limit=str(limit))
    return HttpCall("GET", "/v1/keys", _as_it_is, params=params)


def rotate_key(key_id: str, grace_s: int) -> HttpCall[Reply]:
    """POST /v1/keys/{id}/rotate."""
    return HttpCall("POST", f"{_key(key_id)}/rotate", _as_it_is, json={"grace_s": grace_s}, repeatable=False)


def revoke_key(key_id: str) -> HttpCall[Reply]:
    """DELETE /v1/keys/{id}."""
    return HttpCall("DELETE", _key(key_id), _as_it_is)


def _tenant(name: str) -> str:
    return f"/v1/tenants/{quote(name, safe='')}"


def _key(key_id: str) -> str:
    return f"/v1/keys/{quote(key_id, safe='')}"


def _given(**params: str | None) -> dict[str, str]:
    return {name: word for name, word in params.items() if word is not None}


def _as_it_is(data: Reply) -> Reply:
    return data
