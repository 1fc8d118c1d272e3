"""The Batch API: create, retrieve, list, cancel.

A create inserts one document and hints a worker; everything that can be wrong inside the file shows later, as
the batch's validation errors. Moves are the store's conditional writes; this only says what came of them.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any
from weakref import WeakValueDictionary

from fastapi import APIRouter, Query, Request, Response

from app.api.auth import Submitter, Tenant
from app.api.counts import Counts
from app.api.creation import Defaults, new_batch, refusal_of_input, request_hash
from app.api.door import CreateBatch, check, read_body
from app.api.errors import bad_request, conflict, no_such_batch
from app.api.json_reply import json_reply, page_reply
from app.api.services import Behind, Services
from workers.core import faultpoints, states

Doc = dict[str, Any]
# The SDK gives a create up after 600 s and sends it again blind; a little more lets that one find its batch.
REPLAY_WINDOW_S = 660.0
_MAX_KEY_CHARACTERS = 255
router = APIRouter(prefix="/v1/batches")
# Two equal creates of one tenant take turns, so that a replay waits for the first to become a batch.
_turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()


@router.post("")
async def create_batch(request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Make a batch, or give the one that an earlier sending of this create has made."""
    body = await read_body(request)
    wanted = check(CreateBatch, body)
    key = _idempotency_key(request, wanted)
    try:
        asked = request_hash(body)
    except TypeError:  # what may be ignored may still be too deep to be written down
        raise bad_request("The body of your request is nested too deeply.") from None
    turn = _turns.setdefault((tenant, asked), asyncio.Lock())
    async with turn:
        doc = await _earlier(behind, request, tenant, key, asked)
        if doc is None:
            doc = await _create(behind, wanted, tenant, key, asked)
    return json_reply(await _counts(request).shown(doc))


@router.get("")
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


@router.get("/{batch_id}")
async def retrieve_batch(batch_id: str, request: Request, tenant: Tenant, behind: Behind) -> Response:
    """The batch as it is now; its counts are at most a second old."""
    return json_reply(await _counts(request).shown(await batch_of(behind, batch_id, tenant)))


@router.post("/{batch_id}/cancel")
async def cancel_batch(batch_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Stop a batch. The reply shows `cancelling`: what is running ends first, and what is answered stays."""
    await batch_of(behind, batch_id, tenant)
    moved = await behind.run(behind.batches.cancel, batch_id)
    if moved:
        behind.end_soon(batch_id)
    doc = await batch_of(behind, batch_id, tenant)
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


async def _earlier(
    behind: Services, request: Request, tenant: str, key: str | None, asked: str
) -> Doc | None:
    """The batch that this create has already made, if it has."""
    if key is not None:
        return _same(await behind.run(behind.batches.by_idempotency_key, tenant, key), asked)
    if _is_replay(request):
        return await behind.run(behind.batches.recent_twin, tenant, asked, time.time() - REPLAY_WINDOW_S)
    return None


async def _create(behind: Services, wanted: CreateBatch, tenant: str, key: str | None, asked: str) -> Doc:
    behind.disk.refuse_if_full()
    settings = behind.settings
    doc = new_batch(
        wanted,
        tenant=tenant,
        now_s=time.time(),
        defaults=Defaults(cache=settings.cache.enabled, invalid_lines=settings.batch.invalid_lines),
        asked_hash=asked,
        idempotency_key=key,
    )
    file = await behind.run(behind.files.get, wanted.input_file_id, tenant)
    refusal = refusal_of_input(file, wanted.input_file_id, tenant)
    if not await behind.run(behind.batches.insert, doc):
        # Another process used the key between our look and our write.
        used = _same(await behind.run(behind.batches.by_idempotency_key, tenant, key or ""), asked)
        # None: it expired meanwhile, and gave its key back.
        return used if used is not None else await _create(behind, wanted, tenant, key, asked)
    faultpoints.passes(faultpoints.BATCH_WRITTEN, doc["_id"])
    if refusal is not None:
        await behind.run(behind.batches.fail, doc["_id"], [refusal])
        return await batch_of(behind, doc["_id"], tenant)
    behind.hint_plan(doc["_id"])
    return doc


def _same(doc: Doc | None, asked: str) -> Doc | None:
    if doc is not None and doc["request_hash"] != asked:
        raise conflict(
            f"This idempotency key was used for another request, which made {doc['_id']}.",
            param="idempotency_key",
            code="idempotency_key_reused",
        )
    return doc


def _idempotency_key(request: Request, wanted: CreateBatch) -> str | None:
    key = request.headers.get("idempotency-key") or wanted.idempotency_key
    if key is not None and len(key) > _MAX_KEY_CHARACTERS:
        text = f"The Idempotency-Key is longer than {_MAX_KEY_CHARACTERS} characters."
        raise bad_request(text, param="idempotency_key", code="string_above_max_length")
    return key


def _is_replay(request: Request) -> bool:
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isascii() and count.isdigit() and int(count[:6]) > 0


def _counts(request: Request) -> Counts:
    counts: Counts = request.app.state.counts
    return counts
