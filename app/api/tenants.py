"""Tenants over HTTP: the operator (an admin key of the first tenant) makes, settles and erases them.

Every other key sees its own tenant alone; another one is the same 404 as none. Erasing marks the tenant, which ends
its keys at once, and does a first piece; the sweeper does the rest (workers/erasure.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.api.auth import Administering, Caller, Operator, Reading
from app.api.bodies import WHOLE
from app.api.door import check, read_body
from app.api.errors import ApiError, conflict
from app.api.json_reply import json_reply, page_reply
from app.api.services import Behind, Services
from app.api.shapes_tenancy import Tenant, TenantErased, TenantList
from app.api.spec import gives, takes
from workers.core.tenancy import is_tenant_name
from workers.store.mongo import MONGO_DOWN
from workers.store.tenants import DEFAULT_TENANT, TenantEntry

router = APIRouter(prefix="/v1/tenants", tags=["tenants"])
# The sweeper goes on after it; a caller should not wait for a million results.
ERASE_AT_ONCE_S = 1.0
_MOST = 2**53


def _name(text: str) -> str:
    if not is_tenant_name(text):
        said = "1 to 64 of 'a' to 'z', '0' to '9', '-' and '_', the first and the last a letter or a digit"
        raise PydanticCustomError("supported", "{supported}", {"supported": said})
    return text


_Count = Annotated[int, Field(ge=1, le=_MOST), WHOLE] | None
_DisplayName = Annotated[str, Field(min_length=1, max_length=256)] | None


class Limits(BaseModel):
    """What a tenant may use at most; null: no limit."""

    model_config = ConfigDict(strict=True, extra="forbid")

    requests_per_minute: _Count = None
    tokens_per_minute: _Count = None
    max_concurrency: _Count = None
    max_queued_items: _Count = None
    max_storage_bytes: _Count = None


class Settled(BaseModel):
    """PATCH /v1/tenants/{id}: what is named changes, null takes it back, the rest stays.

    A misspelt name is refused: it would leave somebody without the limit that was meant.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    display_name: _DisplayName = None
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None
    retention_days: Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)] | None = None
    limits: Limits | None = None
    max_cost_usd_per_month: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None


class CreateTenant(Settled):
    """POST /v1/tenants."""

    id: Annotated[
        str,
        AfterValidator(_name),
        WithJsonSchema({"type": "string", "pattern": "^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$"}),
    ]


@router.post("", responses=gives(Tenant, 409, 413, 415), openapi_extra=takes(CreateTenant))
async def create_tenant(request: Request, _: Operator, behind: Behind) -> Response:
    """Make a tenant. It has no key yet: POST /v1/keys with its name makes one."""
    wanted = check(CreateTenant, await read_body(request))
    if not await behind.run(behind.tenants.create, wanted.id, changes(wanted)):
        raise conflict(f"The tenant '{wanted.id}' exists already.", param="id", code="tenant_exists")
    return json_reply(_shown(await _seen(behind, wanted.id)))


@router.get("", responses=gives(TenantList))
async def list_tenants(
    caller: Reading,
    behind: Behind,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Tenants by name, those after `after`; for a key that is not the operator's, its own."""
    if caller.is_operator:
        found = await behind.run(behind.tenants.page, after=after, limit=limit + 1)
    else:
        own = await behind.run(behind.tenants.entry, caller.tenant)
        found = [own] if own and own.id > (after or "") else []
    return page_reply([_shown(each) for each in found[:limit]], has_more=len(found) > limit)


@router.get("/{tenant_id}", name="retrieve_tenant", responses=gives(Tenant, 404))
async def get_tenant(tenant_id: str, caller: Reading, behind: Behind) -> Response:
    """What is settled for a tenant."""
    check_sees(caller, tenant_id)
    return json_reply(_shown(await _seen(behind, tenant_id)))


@router.patch("/{tenant_id}", responses=gives(Tenant, 404, 409, 413, 415), openapi_extra=takes(Settled))
async def settle_tenant(tenant_id: str, request: Request, caller: Administering, behind: Behind) -> Response:
    """Change what is settled for a tenant; the operator alone does, and it holds within seconds."""
    check_sees(caller, tenant_id)
    if not caller.is_operator:
        raise ApiError(403, "Only an admin key of the first tenant settles that.", code="not_allowed")
    wanted = check(Settled, await read_body(request))
    settled = await behind.run(behind.tenants.settle, tenant_id, changes(wanted))
    seen = await _seen(behind, tenant_id)
    if not settled:
        raise going(tenant_id)
    return json_reply(_shown(seen))


@router.delete("/{tenant_id}", responses=gives(TenantErased, 404, 409))
async def erase_tenant(tenant_id: str, _: Operator, behind: Behind) -> Response:
    """Erase a tenant: keys, batches, results, files. Its keys end at once; repeat it, or wait, for the rest."""
    if tenant_id == DEFAULT_TENANT:
        text = "The first tenant cannot be erased: its keys govern all others."
        raise conflict(text, code="tenant_needed")
    if not await behind.run(behind.tenants.begin_erasing, tenant_id):
        raise no_such_tenant(tenant_id)
    try:
        await behind.run(behind.erasure.erase, tenant_id, time.monotonic() + ERASE_AT_ONCE_S)
        left = await behind.run(behind.tenants.entry, tenant_id)
    except MONGO_DOWN:
        return json_reply(_erased(tenant_id, gone=False))  # it is marked; the sweeper goes on
    return json_reply(_erased(tenant_id, gone=left is None))


def check_sees(caller: Caller, tenant_id: str) -> None:
    """Raises ApiError 404, as for a tenant that is not, where the caller may not know of this one."""
    if not caller.is_operator and caller.tenant != tenant_id:
        raise no_such_tenant(tenant_id)


def no_such_tenant(tenant_id: str, param: str = "id") -> ApiError:
    """404, the same for a tenant that never was and for one that the caller may not know of."""
    return ApiError(404, f"No such tenant: {tenant_id[:64]}", param=param)


def going(tenant_id: str) -> ApiError:
    """409: nothing is settled for a tenant that is being erased."""
    return conflict(f"The tenant '{tenant_id}' is being erased.", code="tenant_erasing")


def changes(wanted: Settled) -> dict[str, Any]:
    """What `Tenants.settle` writes: the named fields alone, limits one by one."""
    named = {name: getattr(wanted, name) for name in wanted.model_fields_set - {"id", "limits"}}
    if "limits" not in wanted.model_fields_set:
        return named
    limits = wanted.limits
    if limits is None:
        return named | {"limits": None}
    return named | {f"limits.{name}": getattr(limits, name) for name in limits.model_fields_set}


async def _seen(behind: Services, tenant_id: str) -> TenantEntry:
    found = await behind.run(behind.tenants.entry, tenant_id)
    if found is None:
        raise no_such_tenant(tenant_id)
    return found


def _shown(entry: TenantEntry) -> dict[str, Any]:
    rules, since = entry.rules, entry.erasing_since
    return {
        "object": "tenant",
        "id": entry.id,
        "display_name": entry.display_name,
        "weight": rules.weight,
        "retention_days": rules.retention_days,
        "limits": {name: getattr(rules.limits, name) for name in Limits.model_fields},
        "max_cost_usd_per_month": rules.max_cost_usd_per_month,
        "created_at": int(entry.created_at),
        "erasing_since": int(since.timestamp()) if since else None,
    }


def _erased(tenant_id: str, *, gone: bool) -> Mapping[str, Any]:
    return {"object": "tenant.erased", "id": tenant_id, "gone": gone}
