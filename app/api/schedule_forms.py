"""What may come in about schedules, and how they and their runs are shown. schedules.py answers by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from app.api.bodies import WHOLE, BatchForm, Strict
from app.api.creation import form_of
from app.api.errors import bad_request, missing
from workers.core.identity import new_id
from workers.core.schedule import (
    LEAST_EVERY_S,
    MAX_CRON_CHARACTERS,
    MOST_EVERY_S,
    BadRhythm,
    Every,
    check_cron,
    next_due,
    upcoming,
)
from workers.store.mongo import Doc
from workers.store.schedules import due_of, rhythm_of
from workers.store.webhooks import new_secret

Kind = Literal["batch", "warm"]
SHOWN_DUE_TIMES = 3

_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Cron = Annotated[str, Field(min_length=1, max_length=MAX_CRON_CHARACTERS)]
_Zone = Annotated[str, Field(min_length=1, max_length=64)]
_Every = Annotated[int, Field(ge=LEAST_EVERY_S, le=MOST_EVERY_S), WHOLE]
_Missed = Literal["once", "all", "skip"]


class CreateSchedule(Strict):
    """POST /v1/schedules: `batch` is what POST /v1/batches takes; either `cron` or `every_s` says when."""

    model_config = ConfigDict(strict=True, extra="forbid")

    batch: BatchForm
    name: _Name | None = None
    kind: Kind = "batch"
    cron: _Cron | None = None
    timezone: _Zone = "UTC"
    every_s: _Every | None = None
    missed: _Missed | None = None
    enabled: bool = True


class ChangeSchedule(Strict):
    """PATCH /v1/schedules/{id}: what is left out stays."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: _Name | None = None
    cron: _Cron | None = None
    timezone: _Zone | None = None
    every_s: _Every | None = None
    missed: _Missed | None = None
    enabled: bool | None = None


def new_schedule(wanted: CreateSchedule, tenant: str, now_s: float) -> Doc:
    """The document of a schedule (store/schedules.py). Raises ApiError 400 for a rhythm that cannot be kept."""
    form, now = form_of(wanted.batch), int(now_s)
    webhook = form["batchwright"]["webhook"]
    if webhook is not None:
        # One for all its batches: whoever receives them could not know the next one's.
        webhook["secret"] = webhook["secret"] or new_secret()
    doc: Doc = {
        "_id": new_id("sched_", int(now_s * 1000)),
        "tenant": tenant,
        "name": wanted.name,
        "kind": wanted.kind,
        "batch": form,
        "missed": wanted.missed,
        "enabled": wanted.enabled,
        "created_at": now_s,
        "last_run": None,
    }
    return doc | _rhythm(wanted.cron, wanted.timezone, wanted.every_s, now)


def changes_of(wanted: ChangeSchedule, schedule: Mapping[str, Any], now_s: float) -> Doc:
    """What this changes in a schedule's document. Raises ApiError 400 for a rhythm that cannot be kept.

    Due times that passed while it was off are not missed: from now on it is due as if it were new.
    """
    new: Doc = wanted.model_dump(include={"name", "missed", "enabled"}, exclude_none=True)
    said = wanted.model_dump(include={"cron", "timezone", "every_s"}, exclude_none=True)
    if said:
        # Another kind of rhythm takes the place of the one there is.
        kept = {"timezone": schedule["timezone"]} if "cron" in said or "every_s" in said else schedule
        cron, every_s = (said.get(name, kept.get(name)) for name in ("cron", "every_s"))
        new |= _rhythm(cron, said.get("timezone", kept["timezone"]), every_s, int(now_s))
    elif wanted.enabled and not schedule["enabled"]:
        new["next_due"] = next_due(rhythm_of(schedule), int(now_s))
    return new


def _rhythm(cron: str | None, timezone: str, every_s: int | None, now: int) -> Doc:
    if cron is not None and every_s is not None:
        raise bad_request("Give either 'cron' or 'every_s'.", param="every_s", code="invalid_value")
    if cron is None and every_s is None:
        raise missing("cron")
    try:
        checked = check_cron(cron if cron is not None else "* * * * *", timezone)
    except BadRhythm as error:
        raise bad_request(
            f"Invalid '{error.field}': {error}.", param=error.field, code="invalid_value"
        ) from None
    rhythm = checked if every_s is None else Every(every_s, now)
    return {
        "cron": None if cron is None else checked.expression,
        "timezone": timezone,
        "every_s": every_s,
        "anchor": now,
        "next_due": next_due(rhythm, now),
    }


def schedule_shown(
    doc: Mapping[str, Any], *, beat_silent_s: float | None, with_secret: bool = False
) -> dict[str, Any]:
    """A schedule; the secret of its batches' own webhook only in the answer to what has made it."""
    form = dict(doc["batch"])
    ours = form["batchwright"]
    webhook = ours["webhook"]
    if webhook is not None:
        shown = webhook if with_secret else {"url": webhook["url"], "secret": None}
        form["batchwright"] = ours | {"webhook": shown}
    times = _due_times(doc) if doc["enabled"] else []
    return {
        "id": doc["_id"],
        "object": "schedule",
        "name": doc["name"],
        "kind": doc["kind"],
        "cron": doc["cron"],
        "timezone": doc["timezone"],
        "every_s": doc["every_s"],
        "missed": doc["missed"],
        "enabled": doc["enabled"],
        "next_due": times[0] if times else None,
        "next_due_times": times,
        "last_run": doc["last_run"],
        "created_at": int(doc["created_at"]),
        "beat_silent_s": None if beat_silent_s is None else round(beat_silent_s, 3),
        "batch": form,
    }


def _due_times(doc: Mapping[str, Any]) -> list[int]:
    due = doc["next_due"] if isinstance(doc["next_due"], int) else due_of(doc)
    return upcoming(rhythm_of(doc), due, SHOWN_DUE_TIMES)


def run_shown(row: Mapping[str, Any], batch: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run, with the state of its batch as it is now; of a missed stretch, until when and how many."""
    return {
        "id": row["_id"],
        "object": "schedule.run",
        "schedule_id": row["schedule_id"],
        "due": row["due"],
        "by": row["by"],
        "state": row["state"],
        "begun_at": int(row["begun_at"].timestamp()),
        "batch_id": row["batch_id"],
        "batch_status": batch["status"] if batch else None,
        "error": row["error"],
        "until": row.get("until", row["due"]),
        "count": row.get("count", 1),
    }
