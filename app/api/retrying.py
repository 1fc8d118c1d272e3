"""`POST /v1/batches/{id}/retry`: what has no success yet becomes a child batch on the same file and line numbers.

The database holds that there is one child at a time: its number in the lineage is unique, and it is taken only when
all before it have ended (core/retrying.py). Which lines it gets, the planner reads from what those have recorded.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.api import once
from app.api.auth import Submitter
from app.api.batches import batch_of
from app.api.bodies import WHOLE, CreateBatch, Extension, Metadata, Strict, Window
from app.api.counts import Counts
from app.api.creation import form_of, shown_to_its_maker
from app.api.door import check, read_body
from app.api.errors import ApiError, conflict
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from app.api.shapes import BatchMade
from app.api.spec import MAKING_A_BATCH, gives, takes, with_idempotency_key
from app.api.tenant_limits import refuse_if_queue_is_full
from app.api.webhooks import check_url
from workers.core import faultpoints
from workers.core.retrying import (
    NOTHING_LEFT,
    Refusal,
    Wanted,
    generation_of,
    refusal_of_retry,
    root_of,
    settled,
)
from workers.creation import new_batch

Doc = dict[str, Any]
router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["batches"])
# Longer than any end of a batch takes after its window is over.
_SLACK_S = 86_400.0
# So many lines are looked through for one to retry; a filter that fits none of them is the planner's to judge.
_LOOK_THROUGH = 100_000
_TRIES = 5
_Code = Annotated[str, Field(min_length=1, max_length=128)]
_Line = Annotated[int, Field(ge=1, le=999_999_999), WHOLE]


def _from_to(lines: list[int]) -> list[int]:
    if lines[0] > lines[1]:
        raise PydanticCustomError(
            "range", "line {first} comes after {last}", {"first": lines[0], "last": lines[1]}
        )
    return lines


_Range = Annotated[list[_Line], Field(min_length=2, max_length=2), AfterValidator(_from_to)]


class RetryFilter(Strict):
    """Which of the items without a success; all of them if nothing is said."""

    model_config = ConfigDict(strict=True, extra="forbid")

    codes: Annotated[list[_Code], Field(max_length=100)] | None = None
    status_codes: (
        Annotated[list[Annotated[int, Field(ge=100, le=599), WHOLE]], Field(max_length=100)] | None
    ) = None
    never_ran: bool | None = None
    custom_ids: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=10_000)] | None = None
    lines: Annotated[list[_Range], Field(max_length=10_000)] | None = None


class RetryBatch(Strict):
    """POST /v1/batches/{id}/retry; the body may be empty. What is misspelt is refused: it would retry everything."""

    model_config = ConfigDict(strict=True, extra="forbid")

    filter: RetryFilter = Field(default_factory=RetryFilter)
    completion_window: Window | None = None
    metadata: Metadata | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    batchwright: Extension = Field(default_factory=Extension)


@router.post(
    "/retry",
    responses=gives(BatchMade, 404, *MAKING_A_BATCH),
    openapi_extra=with_idempotency_key(takes(RetryBatch, required=False)),
)
async def retry_batch(batch_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Try again what has no success, as a linked child batch. Its options are its parent's, unless said otherwise."""
    body = await read_body(request, may_be_empty=True)
    wanted = check(RetryBatch, body)
    parent = await batch_of(behind, batch_id, tenant)
    # By the parent too: the same body means something else for another batch.
    asked = once.hash_of({**body, "retry_of": batch_id})
    key = once.idempotency_key(request, wanted.idempotency_key)
    make = partial(_make, behind, request, wanted, parent, asked, key)
    doc = await once.made_once(behind, request, tenant, asked, key, make)
    counts: Counts = request.app.state.counts
    shown = await counts.shown(doc)
    # A secret that comes from the parent was shown to who made that one, and is to nobody again.
    is_own = wanted.batchwright.webhook is not None
    return json_reply(shown_to_its_maker(shown, doc) if is_own else shown)


async def _make(
    behind: Services, request: Request, wanted: RetryBatch, parent: Doc, asked: str, key: str | None
) -> Doc:
    behind.disk.refuse_if_full()
    await refuse_if_queue_is_full(behind, parent["tenant"])
    tenant, root_id = parent["tenant"], root_of(parent)
    chosen = wanted.filter.model_dump(exclude_none=True)
    form, own = child_form(parent, wanted), wanted.batchwright.webhook
    if own is not None:
        await check_url(behind, own.url, "batchwright.webhook.url")
    for _ in range(_TRIES):
        lineage = await behind.run(behind.batches.lineage, root_id)
        refusal = refusal_of_retry(root_id, lineage) if lineage else NOTHING_LEFT
        if refusal is None and not await behind.run(_may_find_one, behind, lineage, Wanted.from_doc(chosen)):
            refusal = NOTHING_LEFT
        if refusal is not None:
            # Another process may have made it for an earlier sending while we looked.
            if earlier := await once.made_earlier(behind, request, tenant, key, asked):
                return earlier
            raise _refused(refusal)
        doc = _child(behind, form, parent, asked, key)
        doc |= {"parent_id": parent["_id"], "root_id": root_id, "retry": chosen}
        doc["generation"] = generation_of(lineage[-1]) + 1
        kept_s = doc["window_s"] + _SLACK_S + await behind.run(behind.batches.retention_s, tenant)
        await behind.run(behind.batches.keep_lineage, root_id, kept_s)
        if await behind.run(behind.batches.insert, doc):
            faultpoints.passes(faultpoints.BATCH_WRITTEN, doc["_id"])
            await behind.run(behind.batches.adopt, parent["_id"], doc["_id"])
            behind.hint_plan(doc["_id"])
            return doc
        # Another process took the generation, or used the key, between our look and our write.
        if earlier := await once.made_earlier(behind, request, tenant, key, asked):
            return earlier
    raise ApiError(409, "Other retries of this batch come and go at this moment; try again.")


def child_form(parent: Doc, wanted: RetryBatch) -> CreateBatch:
    """The create that a retry stands for. Raises ApiError 400 for what no create may say."""
    options = parent["options"]
    inherited: Doc = {
        "model": options.get("model"),
        "cache": "warm" if parent.get("warm") else "on" if options.get("cache", True) else "off",
        "order": options.get("order"),
        "invalid_lines": options.get("invalid_lines"),
        "priority": parent["priority"],
        "max_cost_usd": (parent.get("budget") or {}).get("limit_usd"),
        "webhook": parent.get("webhook"),
    }
    given = wanted.batchwright.model_dump(exclude_unset=True)
    kept_s = parent.get("output_expires_after_s")
    return check(
        CreateBatch,
        {
            "input_file_id": parent["input_file_id"],
            "endpoint": parent["endpoint"],
            "completion_window": wanted.completion_window or parent["completion_window"],
            "metadata": parent.get("metadata") if wanted.metadata is None else wanted.metadata,
            "output_expires_after": {"anchor": "created_at", "seconds": kept_s} if kept_s else None,
            "batchwright": inherited | given,
        },
    )


def _child(behind: Services, form: CreateBatch, parent: Doc, asked: str, key: str | None) -> Doc:
    return new_batch(
        form_of(form),
        tenant=parent["tenant"],
        now_s=time.time(),
        defaults=behind.firing.defaults,
        asked_hash=asked,
        idempotency_key=key,
    )


def _may_find_one(behind: Services, lineage: list[Doc], wanted: Wanted) -> bool:
    """Whether a line to retry is among the first of those that are not answered, or nobody has looked at all."""
    ids = [each["_id"] for each in lineage]
    rows = behind.looks.generations(ids, failures=True, custom_ids=bool(wanted.custom_ids))
    seen = 0
    for row in islice(settled(rows), _LOOK_THROUGH):
        if not row.ok and wanted.takes(row):
            return True
        seen += 1
    return seen == _LOOK_THROUGH


def _refused(refusal: Refusal) -> ApiError:
    return conflict(refusal.message, code=refusal.code)
