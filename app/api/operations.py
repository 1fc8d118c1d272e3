"""Our own calls on a batch, beside the Batch API: pause, resume, why, and reading an unfinished output."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from app.api.auth import Submitter, Tenant
from app.api.batches import batch_of
from app.api.counts import Counts
from app.api.door import ResumeBatch, check, read_body
from app.api.errors import ApiError, conflict
from app.api.files import result_lines
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from workers.core.budget import BUDGET
from workers.core.progress import Surroundings, waiting_for
from workers.core.states import BatchStatus, is_terminal
from workers.core.wire import item_object

Doc = dict[str, Any]
router = APIRouter(prefix="/v1/batches/{batch_id}")


@router.post("/pause")
async def pause_batch(batch_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Start no more calls for this batch; those that run are answered and recorded."""
    await _set_paused(behind, batch_id, tenant, paused=True)
    await behind.run(behind.shards.hold_back, batch_id)
    return await _shown(request, behind, batch_id, tenant)


@router.post("/resume")
async def resume_batch(batch_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Go on with a paused batch, under a new money ceiling if one is given; one that runs only takes that over.

    A batch that rests at its ceiling needs a higher one.
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
    if limit_usd is not None and not await behind.run(
        behind.budgets.raise_limit, batch_id, tenant, limit_usd
    ):
        raise _cannot_raise(doc)
    await _set_paused(behind, batch_id, tenant, paused=False)
    await behind.run(behind.shards.let_go, batch_id)
    return await _shown(request, behind, batch_id, tenant)


@router.get("/why")
async def why(batch_id: str, tenant: Tenant, behind: Behind) -> Response:
    """What keeps the batch from moving; an empty list when nothing does."""
    doc = await batch_of(behind, batch_id, tenant)
    rows, around = await behind.run(_state, behind, batch_id)
    found = waiting_for(doc, rows, around, datetime.now(UTC))
    if found and not await behind.broker.answers():
        found = waiting_for(doc, rows, replace(around, broker_answers=False), datetime.now(UTC))
    reasons = [waiting.as_dict() for waiting in found]
    for reason in reasons:
        reason["text"] = reason["text"].replace("{id}", batch_id)
    return json_reply({"id": batch_id, "status": doc["status"], "waiting_for": reasons})


@router.get("/output")
async def batch_output(
    batch_id: str,
    tenant: Tenant,
    behind: Behind,
    partial: bool = False,
    which: Annotated[Literal["output", "error"], Query()] = "output",
) -> Response:
    """The recorded lines of either file. Before the batch has ended only on demand, for they will be more."""
    doc = await batch_of(behind, batch_id, tenant)
    if not partial and not is_terminal(doc["status"]):
        raise conflict(
            f"The batch is {doc['status']}; ask with partial=true for what is recorded so far.",
            param="partial",
            code="batch_not_finished",
        )
    return await result_lines(behind, batch_id, which, filename=f"{batch_id}_{which}.jsonl")


def _cannot_raise(doc: Doc) -> ApiError:
    budget = doc.get("budget")
    text = "The batch was made without a ceiling (max_cost_usd); it cannot get one while it runs."
    if budget:
        text = f"The ceiling of ${budget['limit_usd']:g} can only be raised: what it allowed may be spent already."
    return conflict(text, param="batchwright.max_cost_usd", code="max_cost_not_raised")


@router.get("/items")
async def items(
    batch_id: str,
    tenant: Tenant,
    behind: Behind,
    status: Annotated[Literal["completed", "failed"] | None, Query()] = None,
    after: Annotated[int, Query(ge=0, le=999_999_999)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """What each recorded request took, by line: calls, failed tries, waits, tokens, cost, who answered."""
    await batch_of(behind, batch_id, tenant)
    ok = None if status is None else status == "completed"
    found = await behind.run(behind.results.page, batch_id, after_line=after, limit=limit + 1, ok=ok)
    providers = await behind.run(behind.shards.providers_of, [shard_id for _, shard_id in found])
    shown = [item_object(result, providers.get(shard_id)) for result, shard_id in found[:limit]]
    return json_reply({"object": "list", "data": shown, "has_more": len(found) > limit})


def _state(behind: Services, batch_id: str) -> tuple[list[Doc], Surroundings]:
    rows = behind.shards.by_state(batch_id, behind.settings.lease.lease_s)
    workers = behind.workers
    return rows, Surroundings(workers.slots(), workers.owners(), behind.pauses.standing())


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
