"""Pause and resume of a provider, for the operator alone, and of a tenant, for its own admin keys and the operator's.

Workers look for pauses every half second, and before they start a shard; the dispatcher once a second. What is under
way is answered and recorded.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.api.auth import Admin, Reading
from app.api.errors import ApiError, conflict
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from app.api.shapes_tenancy import Pause as PauseShape
from app.api.shapes_tenancy import PauseList
from app.api.spec import gives
from workers.core.pauses import Pause, PauseKind
from workers.store.tenants import DEFAULT_TENANT

router = APIRouter(prefix="/v1", tags=["pauses"])


@router.get("/pauses", responses=gives(PauseList))
async def list_pauses(caller: Reading, behind: Behind) -> Response:
    """What is paused, as far as this key may know: its own tenant, and for the operator's keys everything."""
    standing = await behind.run(behind.pauses.standing)
    found = [*standing.providers.values(), *standing.tenants.values()]
    if not caller.is_operator:
        found = [pause for pause in found if (pause.kind, pause.name) == ("tenant", caller.tenant)]
    return json_reply({"object": "list", "data": [_shown(pause) for pause in found]})


@router.post("/providers/{name}/pause", responses=gives(PauseShape, 404))
async def pause_provider(name: str, tenant: Admin, behind: Behind) -> Response:
    """Start no more calls to this provider, whoever asks."""
    await _check_provider(behind, name, tenant)
    return json_reply(_shown(await behind.run(behind.pauses.pause, "provider", name, by=tenant)))


@router.post("/providers/{name}/resume", responses=gives(PauseShape, 404))
async def resume_provider(name: str, tenant: Admin, behind: Behind) -> Response:
    """Go on with a paused provider; one that is not paused just goes on."""
    await _check_provider(behind, name, tenant)
    await behind.run(behind.pauses.resume, "provider", name, by=tenant)
    return json_reply(_goes_on("provider", name))


@router.post("/tenants/{name}/pause", responses=gives(PauseShape, 404))
async def pause_tenant(name: str, tenant: Admin, behind: Behind) -> Response:
    """Start no more calls for this tenant."""
    await _check_tenant(behind, name, tenant)
    return json_reply(_shown(await behind.run(behind.pauses.pause, "tenant", name, by=tenant)))


@router.post("/tenants/{name}/resume", responses=gives(PauseShape, 404, 409))
async def resume_tenant(name: str, tenant: Admin, behind: Behind) -> Response:
    """Go on with a paused tenant; what the first tenant has paused, only that one's keys let go on."""
    await _check_tenant(behind, name, tenant)
    if not await behind.run(behind.pauses.resume, "tenant", name, by=tenant):
        raise conflict(
            f"The operator has paused the tenant '{name}'; only a key of the first tenant lets it go on.",
            code="paused_by_operator",
        )
    return json_reply(_goes_on("tenant", name))


async def _check_provider(behind: Services, name: str, tenant: str) -> None:
    """Refuse a provider that nobody here has, and to other tenants every provider, in the same words."""
    known = tenant == DEFAULT_TENANT and (
        any(provider.name == name for provider in behind.settings.providers)
        or name in await behind.run(behind.workers.slots)
        or name in (await behind.run(behind.pauses.standing)).providers
    )
    if not known:
        raise ApiError(404, f"No such provider: {name}", param="name")


async def _check_tenant(behind: Services, name: str, tenant: str) -> None:
    try:
        if tenant not in (DEFAULT_TENANT, name):
            raise LookupError(name)
        await behind.run(behind.tenants.get, name)
    except LookupError:
        raise ApiError(404, f"No such tenant: {name}", param="name") from None


def _shown(pause: Pause) -> dict[str, Any]:
    known = {"kind": pause.kind, "name": pause.name, "paused": True, "since": pause.since, "by": pause.by}
    return {"object": "pause", **known}


def _goes_on(kind: PauseKind, name: str) -> dict[str, Any]:
    return {"object": "pause", "kind": kind, "name": name, "paused": False, "since": None, "by": None}
