"""Who asks: an API key, as Bearer or in X-API-Key, becomes a tenant's id.

Every handler under /v1 depends on `Tenant` (it reads), `Submitter` (it makes, changes or ends work), `Admin` (it
settles what a tenant may) or `Operator` (it acts on all tenants); `Reading` and `Administering` give the whole caller.
A key is looked up in MongoDB at most every few seconds, so a revoked one works that much longer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from structlog.contextvars import bind_contextvars

from app.api.errors import ApiError
from app.api.first_start import fingerprint
from app.api.services import Services
from workers.core.api_keys import Scope, is_mistyped
from workers.store.api_keys import USE_EVERY_S, ApiKey
from workers.store.tenants import DEFAULT_TENANT

KNOWN_FOR_S = 5.0
_MAX_KNOWN = 10_000
_SCHEME = "bearer"
# Under this a request's scope has who asks, once that is known.
CALLER = "batchwright.caller"
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what the key allows; `ends_at` (Unix seconds) is the key's own end, None if it lasts."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope]
    ends_at: float | None

    @property
    def is_operator(self) -> bool:
        """Whether it acts on all tenants."""
        return self.tenant == DEFAULT_TENANT and "admin" in self.scopes


class KeyCache:
    """What is known of keys seen lately, wrong ones included; the keys themselves are not kept."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: OrderedDict[bytes, tuple[float, ApiKey | None]] = OrderedDict()
        self._noted: OrderedDict[str, float] = OrderedDict()

    async def find(self, key: str) -> ApiKey | None:
        """What is known of the key, or None for one that nobody has. Raises ApiError 401 for a mistyped one."""
        digest, now = fingerprint(key), time.monotonic()
        if is_mistyped(key) and digest not in self._services.given_keys:
            text = f"The API key {masked(key)} is mistyped: its checksum is wrong. Copy it again, whole."
            raise _unauthorized(text, code="invalid_api_key")
        known = self._known.get(digest)
        if known is not None and now - known[0] < KNOWN_FOR_S:
            return known[1]
        found = await self._services.run(self._services.api_keys.find, key)
        _remember(self._known, digest, (now, found))
        return found

    def note_use(self, key_id: str) -> None:
        """Have the use of a key written down soon, if this process has not done so for a minute."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -USE_EVERY_S) >= USE_EVERY_S:
            _remember(self._noted, key_id, now)
            self._services.note_key_use(key_id)


def _remember(kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MAX_KNOWN:
        kept.popitem(last=False)


def key_in(authorization: str | None, x_api_key: str | None) -> str | None:
    """The key a request carries; the Authorization header wins."""
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() == _SCHEME and credentials.strip():
        return credentials.strip()
    return (x_api_key or "").strip() or None


async def _caller(request: Request) -> Caller:
    key = key_in(request.headers.get("authorization"), request.headers.get("x-api-key"))
    caller = await caller_of(request.app.state.keys, key)
    # For the log, on lines of this request and on the one about it (watching.py).
    bind_contextvars(tenant=caller.tenant, key_id=caller.key_id)
    request.scope[CALLER] = caller
    return caller


async def caller_of(keys: KeyCache, key: str | None) -> Caller:
    """Who has this key. Raises ApiError 401 for none, and for one that nobody has or that acts no more."""
    if key is None:
        raise _unauthorized(
            "You didn't provide an API key. "
            "Send it as `Authorization: Bearer YOUR_KEY` or as `X-API-Key: YOUR_KEY`."
        )
    found = await keys.find(key)
    if found is None:
        raise _unauthorized(f"Incorrect API key provided: {masked(key)}.", code="invalid_api_key")
    if found.revoked or found.expired:
        what = "was revoked" if found.revoked else "has expired"
        raise _unauthorized(f"The API key {masked(key)} {what}.", code="invalid_api_key")
    keys.note_use(found.id)
    return Caller(found.tenant, found.id, found.allows, found.ends_at)


def _caller_with(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    async def caller_with_scope(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        if scope not in caller.scopes:
            text = f"This API key may not do that: it lacks the scope '{scope}'."
            raise ApiError(403, text, code="insufficient_scope")
        return caller

    return caller_with_scope


# Each gives the whole caller to a handler; the name says what the key must be allowed to do.
Reading = Annotated[Caller, Depends(_caller_with("read"))]
Submitting = Annotated[Caller, Depends(_caller_with("submit"))]
Administering = Annotated[Caller, Depends(_caller_with("admin"))]


async def _reader(caller: Reading) -> str:
    return caller.tenant


async def _submitter(caller: Submitting) -> str:
    return caller.tenant


async def _admin(caller: Administering) -> str:
    return caller.tenant


async def _operator(caller: Administering) -> str:
    if not caller.is_operator:
        raise ApiError(403, "Only an admin key of the first tenant may do that.", code="not_allowed")
    return caller.tenant


def masked(key: str) -> str:
    """Enough of a key to recognise it by."""
    start = "".join(letter for letter in key[:3] if letter.isascii() and letter.isprintable())
    return f"{start}********"


def _unauthorized(message: str, code: str | None = None) -> ApiError:
    return ApiError(401, message, code=code, headers={"www-authenticate": "Bearer"})


# The same, for a handler that needs no more than the tenant's id.
Tenant = Annotated[str, Depends(_reader)]
Submitter = Annotated[str, Depends(_submitter)]
Admin = Annotated[str, Depends(_admin)]
Operator = Annotated[str, Depends(_operator)]
