"""Schedules over HTTP: make them, look at them and their runs, change them, have one run now.

What a schedule asks for is checked here as if its batch were made now; workers/schedules.py makes the batches. A
schedule stands in the database and nowhere else.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import blake3
from fastapi import APIRouter, Query, Request, Response

from app.api import once
from app.api.auth import Submitter, Tenant
from app.api.door import check, read_body
from app.api.errors import ApiError, bad_request, conflict
from app.api.json_reply import json_reply, page_reply, secret_reply
from app.api.schedule_forms import (
    ChangeSchedule,
    CreateSchedule,
    Kind,
    changes_of,
    new_schedule,
    run_shown,
    schedule_shown,
)
from app.api.services import Behind, Services
from app.api.shapes_schedules import Schedule, ScheduleDeleted, ScheduleList, ScheduleRun, ScheduleRunList
from app.api.spec import gives, takes
from app.api.webhooks import check_url
from workers.creation import refusal_of_input
from workers.schedules import last_run_of
from workers.store.mongo import Doc

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])
MOST_SCHEDULES = 1_000
_SAME_RUN = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request under the same key is one run.",
    "schema": {"type": "string", "maxLength": 255},
}


@router.post("", responses=gives(Schedule, 409, 413, 415), openapi_extra=takes(CreateSchedule))
async def create_schedule(request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Make a schedule. Its file is kept as long as it is there, also when it is deleted or expires."""
    wanted = check(CreateSchedule, await read_body(request))
    doc = new_schedule(wanted, tenant, await _now_s(behind))
    own = wanted.batch.batchwright.webhook
    if own is not None:
        await check_url(behind, own.url, "batch.batchwright.webhook.url")
    file_id = wanted.batch.input_file_id
    refusal = refusal_of_input(await behind.run(behind.files.get, file_id, tenant), file_id, tenant)
    if refusal is not None:
        raise bad_request(refusal["message"], param="batch.input_file_id", code=refusal["code"])
    if await behind.run(behind.stores.schedules.count, tenant) >= MOST_SCHEDULES:
        text = f"You have {MOST_SCHEDULES:,} schedules, the most there can be; delete one first."
        raise conflict(text, code="too_many_schedules")
    await behind.run(behind.stores.schedules.insert, doc)
    silent_s = await behind.run(behind.stores.chores.beat_silent_s)
    return secret_reply(schedule_shown(doc, beat_silent_s=silent_s, with_secret=True))


@router.get("", responses=gives(ScheduleList))
async def list_schedules(
    tenant: Tenant,
    behind: Behind,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    kind: Kind | None = None,
) -> Response:
    """One page of the tenant's schedules, newest first."""
    store = behind.stores.schedules
    if after is not None and await behind.run(store.get, after, tenant) is None:
        raise bad_request(f"No schedule found with id '{after}'.", param="after", code="invalid_value")
    docs = await behind.run(store.page, tenant, after=after, limit=limit + 1, kind=kind)
    silent_s = await behind.run(behind.stores.chores.beat_silent_s)

    def shown() -> list[dict[str, Any]]:
        # Beside the loop: the next times of a hundred rare ones take a second.
        return [schedule_shown(doc, beat_silent_s=silent_s) for doc in docs[:limit]]

    return page_reply(await behind.run(shown), has_more=len(docs) > limit)


@router.get("/{schedule_id}", responses=gives(Schedule, 404))
async def retrieve_schedule(schedule_id: str, tenant: Tenant, behind: Behind) -> Response:
    """One schedule."""
    return await _shown(behind, await _schedule_of(behind, schedule_id, tenant))


@router.patch("/{schedule_id}", responses=gives(Schedule, 404, 413, 415), openapi_extra=takes(ChangeSchedule))
async def change_schedule(schedule_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Change when it is due, what follows missed times, its name, or turn it off and on."""
    wanted = check(ChangeSchedule, await read_body(request))
    changed = None
    while changed is None:  # somebody else's change in between is taken into account
        doc = await _schedule_of(behind, schedule_id, tenant)
        new = changes_of(wanted, doc, await _now_s(behind))
        changed = await behind.run(behind.stores.schedules.change, doc, new) if new else doc
    return await _shown(behind, changed)


@router.delete("/{schedule_id}", responses=gives(ScheduleDeleted, 404))
async def delete_schedule(schedule_id: str, tenant: Submitter, behind: Behind) -> Response:
    """Take it away with the list of its runs; the batches that it has made stay."""
    if not await behind.run(behind.stores.schedules.remove, schedule_id, tenant):
        _there(None, schedule_id)
    return json_reply({"id": schedule_id, "object": "schedule", "deleted": True})


@router.get("/{schedule_id}/runs", responses=gives(ScheduleRunList, 404))
async def list_schedule_runs(
    schedule_id: str,
    tenant: Tenant,
    behind: Behind,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """One page of its runs, the latest due first: what was started, refused or missed."""
    store = behind.stores.schedules
    await _schedule_of(behind, schedule_id, tenant)
    last = None if after is None else await behind.run(store.run_of, after)
    if after is not None and (last is None or last["schedule_id"] != schedule_id):
        raise bad_request(f"No run found with id '{after}'.", param="after", code="invalid_value")
    rows = await behind.run(store.runs, schedule_id, after=last, limit=limit + 1)
    return page_reply(await _runs_shown(behind, tenant, rows[:limit]), has_more=len(rows) > limit)


@router.post(
    "/{schedule_id}/run", responses=gives(ScheduleRun, 404), openapi_extra={"parameters": [_SAME_RUN]}
)
async def run_schedule(schedule_id: str, request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Run it now, beside its due times and also while it is off."""
    doc = await _schedule_of(behind, schedule_id, tenant)
    key = once.idempotency_key(request, None) or secrets.token_hex(16)
    # Never by its time: it would stand for a due time of that second, or for another request.
    id_ = f"{schedule_id}:key-{_short(key)}"
    row = await behind.run(behind.firing.run, doc, id_, int(await _now_s(behind)), by="request")
    await behind.run(behind.stores.schedules.note_run, schedule_id, last_run_of(row))
    (shown,) = await _runs_shown(behind, tenant, [row])
    return json_reply(shown)


async def _now_s(behind: Services) -> float:
    """By the clock that says when it is due."""
    return (await behind.run(behind.stores.minutes.now)).timestamp()


async def _runs_shown(behind: Services, tenant: str, rows: list[Doc]) -> list[dict[str, Any]]:
    ids = [row["batch_id"] for row in rows if row["batch_id"]]
    batches = await behind.run(behind.batches.get_many, ids, tenant)
    return [run_shown(row, batches.get(row["batch_id"])) for row in rows]


async def _shown(behind: Services, doc: Doc) -> Response:
    silent_s = await behind.run(behind.stores.chores.beat_silent_s)
    return json_reply(schedule_shown(doc, beat_silent_s=silent_s))


async def _schedule_of(behind: Services, schedule_id: str, tenant: str) -> Doc:
    return _there(await behind.run(behind.stores.schedules.get, schedule_id, tenant), schedule_id)


def _there(doc: Doc | None, schedule_id: str) -> Doc:
    """It, or 404, the same for one that never was and for another tenant's."""
    if doc is None:
        raise ApiError(404, f"No schedule found with id '{schedule_id}'.", param="id")
    return doc


def _short(key: str) -> str:
    return blake3.blake3(key.encode("utf-8", "replace")).hexdigest(length=16)
