"""Our own calls on a batch while it runs, beside the Batch API: pause, resume, why."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
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
from workers.core.progress import waiting_for
from workers.core.progress_helps import shown as shown_reason
from workers.core.progress_parts import Surroundings
from workers.core.progress_running import Seat, outlook, running_now
from workers.core.states import BatchStatus
from workers.store.dispatches import Dispatches

Doc = dict[str, Any]
router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["batches"])


@dataclass(frozen=True, slots=True)
class _Look:
    """The open shards of a batch by state, the living processes by owner, and the reasons as a reply carries them."""

    rows: list[Doc]
    seats: dict[str, Seat]
    reasons: list[Doc]


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
async def why(batch_id: str, request: Request, tenant: Tenant, behind: Behind) -> Response:
    """What keeps the batch from moving, since and until when, and the command that helps; and what of it runs now.

    `waiting_for` is an empty list when nothing does. `text` says how the batch stands as a whole, also after its end.
    """
    doc = await batch_of(behind, batch_id, tenant)
    counts: Counts = request.app.state.counts
    shown, look = await asyncio.gather(counts.shown(doc), _look(behind, doc))
    done = {"total": shown["request_counts"]["total"], "failed": shown["request_counts"]["failed"]}
    done["done"] = shown["request_counts"]["completed"] + done["failed"]
    waiting, running = look.reasons, running_now(look.rows, look.seats)
    whole = outlook(doc, done, waiting, running, datetime.now(UTC))
    head = {"id": batch_id, "status": doc["status"], **done}
    head |= {"text": whole.text, "command": whole.command, "helps": whole.helps}
    return json_reply(head | {"waiting_for": waiting, "running": [each.as_dict() for each in running]})


async def reasons(behind: Services, doc: Doc) -> list[Doc]:
    """What keeps a batch from moving, as a reply carries it."""
    return (await _look(behind, doc)).reasons


async def _look(behind: Services, doc: Doc) -> _Look:
    rows, seats, around = await behind.run(_state, behind, doc["_id"])
    found = waiting_for(doc, rows, around, datetime.now(UTC))
    if found and not await behind.broker.answers():
        around = replace(around, broker_answers=False, broker_away_since=behind.broker.away_since)
        found = waiting_for(doc, rows, around, datetime.now(UTC))
    return _Look(rows, seats, [shown_reason(waiting, doc) for waiting in found])


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


def _state(behind: Services, batch_id: str) -> tuple[list[Doc], dict[str, Seat], Surroundings]:
    lease_s = behind.settings.lease.lease_s
    rows = behind.shards.by_state(batch_id, lease_s)
    workers, dispatches = behind.workers, Dispatches(behind.db)
    seats = workers.seats()
    around = Surroundings(
        workers.slots(),
        frozenset(seats),
        behind.pauses.standing(),
        dispatches.at_their_limits(dispatches.providers_with_work()),
        last_seen=workers.last_seen(),
        lease_s=lease_s,
    )
    return rows, seats, around


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
