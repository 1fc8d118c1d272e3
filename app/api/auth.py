"""Who asks: an API key, as Bearer or in X-API-Key, becomes a tenant's id.

Every handler under /v1 depends on `Tenant` (it reads), `Submitter` (it makes, changes or ends work), `Admin` (it
settles what a tenant may) or `Operator` (it acts on all tenants). A key is looked up in MongoDB at most every few
seconds, so a revoked one works that much longer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import blake3
from fastapi import Depends, Request

from app.api.errors import ApiError
from app.api.services import Services
from workers.store.tenants import DEFAULT_TENANT

KNOWN_FOR_S = 5.0
_MAX_KNOWN = 10_000
Scope = Literal["read", "submit", "admin"]
SCOPES: frozenset[Scope] = frozenset(("read", "submit", "admin"))
_SCHEME = "bearer"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what the key allows."""

    tenant: str
    scopes: frozenset[Scope] = SCOPES


class KeyCache:
    """Tenants of keys seen lately, wrong keys included; the keys themselves are not kept."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: OrderedDict[bytes, tuple[float, str | None]] = OrderedDict()

    async def tenant_of(self, key: str) -> str | None:
        """The tenant, or None for a key that nobody has."""
        digest, now = blake3.blake3(key.encode("utf-8", "replace")).digest(), time.monotonic()
        known = self._known.get(digest)
        if known is not None and now - known[0] < KNOWN_FOR_S:
            return known[1]
        tenant = await self._services.run(self._services.tenants.tenant_of_key, key)
        self._known[digest] = (now, tenant)
        self._known.move_to_end(digest)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return tenant


def key_in(authorization: str | None, x_api_key: str | None) -> str | None:
    """The key a request carries; the Authorization header wins."""
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() == _SCHEME and credentials.strip():
        return credentials.strip()
    return (x_api_key or "").strip() or None


async def _caller(request: Request) -> Caller:
    key = key_in(request.headers.get("authorization"), request.headers.get("x-api-key"))
    if key is None:
        raise _unauthorized(
            "You didn't provide an API key. "
            "Send it as `Authorization: Bearer YOUR_KEY` or as `X-API-Key: YOUR_KEY`."
        )
    keys: KeyCache = request.app.state.keys
    tenant = await keys.tenant_of(key)
    if tenant is None:
        raise _unauthorized(f"Incorrect API key provided: {masked(key)}.", code="invalid_api_key")
    return Caller(tenant)


def _needs(scope: Scope) -> Callable[[Caller], Awaitable[str]]:
    async def tenant_with_scope(caller: Annotated[Caller, Depends(_caller)]) -> str:
        if scope not in caller.scopes:
            text = f"This API key may not do that: it lacks the scope '{scope}'."
            raise ApiError(403, text, code="insufficient_scope")
        return caller.tenant

    return tenant_with_scope


async def _operator(tenant: Annotated[str, Depends(_needs("admin"))]) -> str:
    if tenant != DEFAULT_TENANT:
        raise ApiError(403, "Only an admin key of the first tenant may do that.", code="not_allowed")
    return tenant


def masked(key: str) -> str:
    """Enough of a key to recognise it by."""
    start = "".join(letter for letter in key[:3] if letter.isascii() and letter.isprintable())
    return f"{start}********"


def _unauthorized(message: str, code: str | None = None) -> ApiError:
    return ApiError(401, message, code=code, headers={"www-authenticate": "Bearer"})


# Each gives the tenant's id to a handler; the name says what the key must be allowed to do.
Tenant = Annotated[str, Depends(_needs("read"))]
Submitter = Annotated[str, Depends(_needs("submit"))]
Admin = Annotated[str, Depends(_needs("admin"))]
Operator = Annotated[str, Depends(_operator)]
