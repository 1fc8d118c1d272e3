"""The Batch API: create, retrieve, list, cancel.

A create inserts one document and hints a worker; everything that can be wrong inside the file shows later, as
the batch's validation errors. Moves are the store's conditional writes; this only says what came of them.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api import once
from app.api.auth import Submitter, Tenant
from app.api.bodies import CreateBatch
from app.api.counts import Counts
from app.api.creation import form_of, shown_to_its_maker
from app.api.door import check, read_body
from app.api.errors import bad_request, conflict, no_such_batch
from app.api.json_reply import json_reply, page_reply
from app.api.services import Behind, Services
from app.api.shapes import Batch, BatchList, BatchMade
from app.api.spec import MAKING_A_BATCH, gives, takes, with_idempotency_key
from app.api.tenant_limits import refuse_if_queue_is_full
from app.api.webhooks import check_url
from workers.core import states
from workers.creation import new_batch, write_down

Doc = dict[str, Any]
router = APIRouter(prefix="/v1/batches", tags=["batches"])


@router.post(
    "",
    responses=gives(BatchMade, *MAKING_A_BATCH),
    openapi_extra=with_idempotency_key(takes(CreateBatch)),
)
async def create_batch(request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Make a batch, or give the one that an earlier sending of this create has made."""
    body = await read_body(request)
    wanted = check(CreateBatch, body)
    key, asked = once.idempotency_key(request, wanted.idempotency_key), once.hash_of(body)
    make = partial(_create, behind, wanted, tenant, key, asked)
    doc = await once.made_once(behind, request, tenant, asked, key, make)
    return json_reply(shown_to_its_maker(await _counts(request).shown(doc), doc))


@router.get("", responses=gives(BatchList))
async def list_batches(
    request: Request,
    tenant: Tenant,
    behind: Behind,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    run_key: str | None = None,
) -> Response:
    """One page of the tenant's batches, newest first."""
    if after is not None and await behind.run(behind.batches.get, after, tenant) is None:
        raise bad_request(f"No batch found with id '{after}'.", param="after", code="invalid_value")
    docs = await behind.run(behind.batches.page, tenant, after=after, limit=limit + 1, run_key=run_key)
    shown = await asyncio.gather(*(_counts(request).shown(doc) for doc in docs[:limit]))
    return page_reply(shown, has_more=len(docs) > limit)


@router.get("/{batch_id}", responses=gives(Batch, 404))
async def retrieve_batch(batch_id: str, request: Request, tenant: Tenant, behind: Behind) -> Response:
    """The batch as it is now; its counts are at most a second old."""
    return json_reply(await _counts(request).shown(await batch_of(behind, batch_id, tenant)))


@router.post("/{batch_id}/cancel", responses=gives(Batch, 404, 409))
async def cancel_batch(batch_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Stop a batch. The reply shows `cancelling`: what is running ends first, and what is answered stays."""
    await batch_of(behind, batch_id, tenant)
    moved = await behind.run(behind.batches.cancel, batch_id)
    doc = await batch_of(behind, batch_id, tenant)
    if (
        moved
    ):  # after the look: clients are told `cancelling`, though a batch with nothing under way ends at once
        behind.end_soon(batch_id)
    status = doc["status"]
    if not moved and doc.get("ending") == states.Ending.EXPIRED and not states.is_terminal(status):
        raise conflict("Cannot cancel a batch whose completion window is over; it is about to expire.")
    if not moved and not states.can_cancel(status):
        raise conflict(f"Cannot cancel a batch with status '{status}'.")
    return json_reply(await _counts(request).shown(doc))


async def batch_of(behind: Services, batch_id: str, tenant: str) -> Doc:
    """The tenant's batch. Raises ApiError 404, the same for one that never was and for another tenant's."""
    doc = await behind.run(behind.batches.get, batch_id, tenant)
    if doc is None:
        raise no_such_batch(batch_id)
    return doc


async def _create(behind: Services, wanted: CreateBatch, tenant: str, key: str | None, asked: str) -> Doc:
    behind.disk.refuse_if_full()
    await refuse_if_queue_is_full(behind, tenant)
    own = wanted.batchwright.webhook
    if own is not None:
        await check_url(behind, own.url, "batchwright.webhook.url")
    doc = new_batch(
        form_of(wanted),
        tenant=tenant,
        now_s=time.time(),
        defaults=behind.firing.defaults,
        asked_hash=asked,
        idempotency_key=key,
    )
    file = await behind.run(behind.files.get, wanted.input_file_id, tenant)
    made = await behind.run(write_down, behind.batches, doc, file)
    if made is None:
        # Another process used the key between our look and our write.
        used = await once.under_key(behind, tenant, key, asked)
        # None: it expired meanwhile, and gave its key back.
        return used if used is not None else await _create(behind, wanted, tenant, key, asked)
    if not states.is_terminal(made["status"]):
        behind.hint_plan(made["_id"])
    return made


def _counts(request: Request) -> Counts:
    counts: Counts = request.app.state.counts
    return counts
