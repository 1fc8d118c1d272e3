"""API keys over HTTP: an admin of a tenant handles that tenant's keys, the operator every tenant's.

A key is in the reply to its create or rotate, once, and never anywhere else. Another tenant's key is the same 404 as
none. Ids are looked at before the store is asked, so that a key sent in an id's place is shown and logged nowhere.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field

from app.api.auth import Administering, Caller
from app.api.bodies import WHOLE, Strict
from app.api.door import check, read_body
from app.api.errors import ApiError, conflict
from app.api.json_reply import json_reply, page_reply, secret_reply
from app.api.services import Behind, Services
from app.api.shapes_tenancy import ApiKey as ApiKeyShape
from app.api.shapes_tenancy import ApiKeyList, ApiKeyMade
from app.api.spec import gives, takes
from app.api.tenants import check_sees, going, no_such_tenant
from workers.core.api_keys import (
    DEFAULT_SCOPES,
    MAX_GRACE_S,
    MAX_LIFE_S,
    MIN_LIFE_S,
    Scope,
    is_key_id,
    outlives,
    scopes_beyond,
)
from workers.store.api_keys import ApiKey
from workers.store.tenants import DEFAULT_TENANT

router = APIRouter(prefix="/v1/keys", tags=["keys"])
_TenantName = Annotated[str, Field(min_length=1, max_length=64)]


class CreateKey(Strict):
    """POST /v1/keys. Without `tenant` it is the caller's; without `expires_in_s` it ends with the caller's key."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=256)] = "unnamed"
    tenant: _TenantName | None = None
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=8)] = Field(
        default_factory=lambda: list(DEFAULT_SCOPES)
    )
    expires_in_s: Annotated[int, Field(ge=MIN_LIFE_S, le=MAX_LIFE_S), WHOLE] | None = None


class RotateKey(Strict):
    """POST /v1/keys/{id}/rotate; the body may be empty."""

    model_config = ConfigDict(strict=True, extra="forbid")

    grace_s: Annotated[int, Field(ge=0, le=MAX_GRACE_S), WHOLE] = 0


@router.post(
    "", responses=gives(ApiKeyMade, 404, 409, 413, 415), openapi_extra=takes(CreateKey, required=False)
)
async def create_key(request: Request, caller: Administering, behind: Behind) -> Response:
    """Make a key. The reply shows it, this once."""
    wanted = check(CreateKey, await read_body(request, may_be_empty=True))
    tenant = wanted.tenant or caller.tenant
    if wanted.tenant is not None:
        check_sees(caller, tenant)
    owner = await behind.run(behind.tenants.entry, tenant)
    if owner is None:
        raise no_such_tenant(tenant, "tenant")
    if owner.erasing_since:
        raise going(tenant)
    expires_at = time.time() + wanted.expires_in_s if wanted.expires_in_s else caller.ends_at
    _check_rights(caller, wanted.scopes, expires_at)
    made, key = await behind.run(
        behind.api_keys.create, tenant, name=wanted.name, scopes=wanted.scopes, expires_at=expires_at
    )
    return _reply_with(made, key)


@router.get("", responses=gives(ApiKeyList, 404))
async def list_keys(
    caller: Administering,
    behind: Behind,
    tenant: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Keys, newest first, those older than `after`; of one tenant, or of all that the caller may handle."""
    if tenant is not None:
        check_sees(caller, tenant)
        if await behind.run(behind.tenants.entry, tenant) is None:
            raise no_such_tenant(tenant, "tenant")
    of = tenant or _reach(caller)
    found = await behind.run(behind.api_keys.page, of, after=after, limit=limit + 1)
    return page_reply([_shown(each) for each in found[:limit]], has_more=len(found) > limit)


@router.delete("/{key_id}", responses=gives(ApiKeyShape, 404, 409))
async def revoke_key(key_id: str, caller: Administering, behind: Behind) -> Response:
    """Let a key work no more; within five seconds every API process knows it."""
    known = await _known(behind, caller, key_id)
    await _check_not_last(behind, known)
    revoked = await behind.run(behind.api_keys.revoke, key_id, _reach(caller))
    return json_reply(_shown(revoked or known))


@router.post(
    "/{key_id}/rotate",
    responses=gives(ApiKeyMade, 404, 409, 413, 415),
    openapi_extra=takes(RotateKey, required=False),
)
async def rotate_key(key_id: str, request: Request, caller: Administering, behind: Behind) -> Response:
    """Make a key in this one's place, with its rights; the old one works on for `grace_s` seconds.

    Without grace a lost reply leaves nobody with a key that works, if it was the caller's own.
    """
    wanted = check(RotateKey, await read_body(request, may_be_empty=True))
    known = await _known(behind, caller, key_id)
    if known.expired or known.revoked_at is not None:
        what = "has expired" if known.expired else "is revoked, or has been rotated already"
        raise conflict(f"The API key '{key_id}' {what}; create a new one.", code="key_not_active")
    _check_rights(caller, list(known.scopes), known.expires_at)
    made, key = await behind.run(
        behind.api_keys.create,
        known.tenant,
        name=known.name,
        scopes=known.scopes,
        expires_at=known.expires_at,
        rotated_from=key_id,
    )
    await behind.run(behind.api_keys.revoke, key_id, _reach(caller), grace_s=float(wanted.grace_s))
    return _reply_with(made, key)


def _reach(caller: Caller) -> str | None:
    """The tenant whose keys the caller handles; None: every tenant's."""
    return None if caller.is_operator else caller.tenant


async def _known(behind: Services, caller: Caller, key_id: str) -> ApiKey:
    found = await behind.run(behind.api_keys.get, key_id, _reach(caller)) if is_key_id(key_id) else None
    if found is None:
        # Without what was asked for: it may be a key.
        raise ApiError(404, "No such API key; name it by its id, key_...", param="id")
    return found


async def _check_not_last(behind: Services, known: ApiKey) -> None:
    """Keep who governs all from locking everybody out; other tenants' admins get a new key from the operator."""
    if known.tenant != DEFAULT_TENANT or "admin" not in known.allows or known.revoked or known.expired:
        return
    if not await behind.run(behind.api_keys.has_other_admin, known.tenant, known.id):
        text = (
            "This is the last lasting admin key of the first tenant; make another one before you revoke it."
        )
        raise conflict(text, code="last_admin_key")


def _check_rights(caller: Caller, scopes: list[Scope], expires_at: float | None) -> None:
    if beyond := scopes_beyond(caller.scopes, scopes):
        text = f"This API key cannot give away a scope that it lacks: '{beyond[0]}'."
        raise ApiError(403, text, param="scopes", code="insufficient_scope")
    if outlives(caller.ends_at, expires_at):
        text = "An API key cannot make one that outlives it."
        raise ApiError(403, text, param="expires_in_s", code="not_allowed")


def _reply_with(made: ApiKey, key: str) -> Response:
    return secret_reply(_shown(made) | {"key": key})


def _shown(known: ApiKey) -> dict[str, Any]:
    status = "revoked" if known.revoked else "expired" if known.expired else "active"
    return {
        "object": "api_key",
        "id": known.id,
        "tenant": known.tenant,
        "name": known.name,
        "prefix": known.prefix,
        "scopes": list(known.scopes),
        "status": status,
        "created_at": int(known.created_at),
        "expires_at": _whole(known.expires_at),
        "revoked_at": _whole(known.revoked_at),
        "last_used_at": _whole(known.last_used_at),
        "rotated_from": known.rotated_from,
    }


def _whole(unix_s: float | None) -> int | None:
    return None if unix_s is None else int(unix_s)
