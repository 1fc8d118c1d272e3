"""Our own calls on a batch while it runs, beside the Batch API: pause, resume, why."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.auth import Submitter, Tenant
from app.api.batches import batch_of
from app.api.bodies import ResumeBatch
from app.api.counts import Counts
from app.api.door import check, read_body
from app.api.errors import ApiError, conflict
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from app.api.shapes import Batch, Why
from app.api.spec import gives, takes
from workers.core.budget import BUDGET, TENANT_BUDGET, account_id, goes_on, month_of
from workers.core.progress import Surroundings, waiting_for
from workers.core.states import BatchStatus
from workers.store.dispatches import Dispatches

Doc = dict[str, Any]
router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["batches"])


@router.post("/pause", responses=gives(Batch, 404, 409))
async def pause_batch(batch_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Start no more calls for this batch; those that run are answered and recorded."""
    await _set_paused(behind, batch_id, tenant, paused=True)
    await behind.run(behind.shards.hold_back, batch_id)
    return await _shown(request, behind, batch_id, tenant)


@router.post(
    "/resume",
    responses=gives(Batch, 404, 409, 413, 415),
    openapi_extra=takes(ResumeBatch, required=False),
)
async def resume_batch(batch_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Go on with a paused batch, under a new money ceiling if one is given; one that runs only takes that over.

    A batch that rests at its ceiling needs a higher one. One that rests at its tenant's ceiling for the month goes on
    by itself once that is raised or the month turns.
    """
    wanted = check(ResumeBatch, await read_body(request, may_be_empty=True))
    limit_usd = wanted.batchwright.max_cost_usd
    doc = await batch_of(behind, batch_id, tenant)
    if limit_usd is None and doc.get("pause_reason") == BUDGET:
        raise conflict(
            f"The batch rests at its ceiling of ${doc['budget']['limit_usd']:g}; give a higher one to go on.",
            param="batchwright.max_cost_usd",
            code="max_cost_reached",
        )
    if doc.get("pause_reason") == TENANT_BUDGET:
        await _refuse_at_tenants_ceiling(behind, doc)
    if limit_usd is not None and not await behind.run(
        behind.budgets.raise_limit, batch_id, tenant, limit_usd
    ):
        raise _cannot_raise(doc)
    await _set_paused(behind, batch_id, tenant, paused=False)
    await behind.run(behind.shards.let_go, batch_id)
    return await _shown(request, behind, batch_id, tenant)


@router.get("/why", name="explain_batch", responses=gives(Why, 404))
async def why(batch_id: str, tenant: Tenant, behind: Behind) -> Response:
    """What keeps the batch from moving; an empty list when nothing does."""
    doc = await batch_of(behind, batch_id, tenant)
    found = await reasons(behind, doc)
    return json_reply({"id": batch_id, "status": doc["status"], "waiting_for": found})


async def reasons(behind: Services, doc: Doc) -> list[Doc]:
    """What keeps a batch from moving, as a reply carries it."""
    batch_id = doc["_id"]
    rows, around = await behind.run(_state, behind, batch_id)
    found = waiting_for(doc, rows, around, datetime.now(UTC))
    if found and not await behind.broker.answers():
        found = waiting_for(doc, rows, replace(around, broker_answers=False), datetime.now(UTC))
    shown = [waiting.as_dict() for waiting in found]
    for reason in shown:
        reason["text"] = reason["text"].replace("{id}", batch_id)
    return shown


async def _refuse_at_tenants_ceiling(behind: Services, doc: Doc) -> None:
    tenant, rests = doc["tenant"], doc["tenant_budget"]
    cap_usd = await behind.run(behind.accounts.cap_usd, tenant, fresh=True)
    account = account_id(tenant, month_of(time.time()))
    if goes_on(rests, account, cap_usd):
        return
    text = (
        f"The batch rests at its tenant's ceiling of ${rests['limit_usd']:g} for {account.rpartition(':')[2]} (UTC). "
        "It goes on by itself when the month turns, or when an operator raises the tenant's max_cost_usd_per_month."
    )
    raise conflict(text, code="tenant_max_cost_reached")


def _cannot_raise(doc: Doc) -> ApiError:
    budget = doc.get("budget")
    text = "The batch was made without a ceiling (max_cost_usd); it cannot get one while it runs."
    if budget:
        text = f"The ceiling of ${budget['limit_usd']:g} can only be raised: what it allowed may be spent already."
    return conflict(text, param="batchwright.max_cost_usd", code="max_cost_not_raised")


def _state(behind: Services, batch_id: str) -> tuple[list[Doc], Surroundings]:
    rows = behind.shards.by_state(batch_id, behind.settings.lease.lease_s)
    workers, dispatches = behind.workers, Dispatches(behind.db)
    used_up = dispatches.at_their_limits(dispatches.providers_with_work())
    return rows, Surroundings(workers.slots(), workers.owners(), behind.pauses.standing(), used_up)


async def _set_paused(behind: Services, batch_id: str, tenant: str, *, paused: bool) -> None:
    doc = await batch_of(behind, batch_id, tenant)
    if await behind.run(behind.batches.set_paused, batch_id, tenant, paused=paused):
        return
    doc = await batch_of(behind, batch_id, tenant)
    verb = "pause" if paused else "resume"
    message = f"Cannot {verb} a batch with status '{doc['status']}'."
    if doc["status"] == BatchStatus.VALIDATING:
        raise ApiError(409, f"{message} Try again once its input file is checked.")
    raise conflict(message)


async def _shown(request: Request, behind: Services, batch_id: str, tenant: str) -> Response:
    counts: Counts = request.app.state.counts
    return json_reply(await counts.shown(await batch_of(behind, batch_id, tenant)))
