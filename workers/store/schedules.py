"""Schedules (`schedules`) and their runs (`schedule_runs`): what is to be made of a file by the clock, and what was.

A schedule: _id, tenant, name, kind (batch, warm), batch (the form of workers/creation.py), cron and timezone or
every_s and anchor (Unix seconds), missed (policy), enabled, next_due (date), created_at (Unix seconds), last_run {due,
state, batch_id}; `events` wait for the outbox. The file that its form names is kept as long as it is there.

A run: _id (`run_id`: one for each due time, whoever looks), tenant, schedule_id, due (Unix seconds), by (clock,
request), state, begun_at (date), batch_id, error {code, message}; of a missed stretch also until and count. States:
starting -> started | refused; missed. They go with retention, by a TTL index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pymongo import DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from workers.core.schedule import Cron, Every, Missed, Policy, Rhythm
from workers.store.batch_log import told
from workers.store.mongo import NOW, NOW_S, Db, Doc, after_s, is_due

STARTING, STARTED, REFUSED, MISSED = "starting", "started", "refused", "missed"
MISSED_EVENT: Final = "schedule.missed"
# A run that nobody has ended by then is somebody's who has died.
ABANDONED_S: Final = 15.0
_PAGE: Final = 50
_RHYTHM: Final = ("cron", "timezone", "every_s", "anchor")


def run_id(schedule_id: str, due: int) -> str:
    """The one run of a due time (Unix seconds)."""
    return f"{schedule_id}:{due}"


def rhythm_of(schedule: Mapping[str, Any]) -> Rhythm:
    """When a schedule's document says that it is due."""
    if schedule["cron"] is not None:
        return Cron(schedule["cron"], schedule["timezone"])
    return Every(schedule["every_s"], schedule["anchor"])


def due_of(schedule: Mapping[str, Any]) -> int:
    """What is due next, Unix seconds."""
    return int(schedule["next_due"].timestamp())


class Schedules:
    """Make, read, change and move schedules, and write down their runs. Every write is conditional."""

    def __init__(self, db: Db) -> None:
        self._docs, self._runs = db["schedules"], db["schedule_runs"]

    # --- schedules

    def insert(self, doc: Doc) -> None:
        """A new schedule; its `next_due` in Unix seconds."""
        self._docs.insert_one(doc | {"next_due": _date(doc["next_due"])})

    def get(self, schedule_id: str, tenant: str) -> Doc | None:
        """The tenant's schedule."""
        return self._docs.find_one({"_id": schedule_id, "tenant": tenant})

    def page(self, tenant: str, *, after: str | None, limit: int, kind: str | None = None) -> list[Doc]:
        """Newest first, those older than `after`."""
        where: Doc = {"tenant": tenant} | ({"kind": kind} if kind else {})
        if after:
            where["_id"] = {"$lt": after}
        return list(self._docs.find(where).sort("_id", DESCENDING).limit(limit))

    def count(self, tenant: str) -> int:
        """How many the tenant has."""
        return self._docs.count_documents({"tenant": tenant})

    def change(self, was: Mapping[str, Any], new: Mapping[str, Any]) -> Doc | None:
        """Write these fields, `next_due` in Unix seconds, to the schedule that `was` shows; gives it as it is then.

        None if it is gone, or somebody has changed its rhythm since or turned it on or off: what is due next follows
        from these.
        """
        values = dict(new)
        if "next_due" in values:
            values["next_due"] = _date(values["next_due"])
        where = {name: was[name] for name in ("_id", "tenant", "enabled", *_RHYTHM)}
        return self._docs.find_one_and_update(where, {"$set": values}, return_document=ReturnDocument.AFTER)

    def remove(self, schedule_id: str, tenant: str) -> bool:
        """Take it away with its runs; the batches that it has made stay."""
        gone = self._docs.delete_one({"_id": schedule_id, "tenant": tenant}).deleted_count
        if gone:
            self._runs.delete_many({"schedule_id": schedule_id})
        return bool(gone)

    # --- the clock

    def due(self, passed_over: Sequence[str] = ()) -> Iterator[Doc]:
        """Enabled schedules whose time has come, the longest due first; `now_s` is the server's clock.

        Read a few at a time, so that none is long out of date when it is acted on.

        Args:
            passed_over: tenants whose schedules are left alone.
        """
        where = {"enabled": True, "tenant": {"$nin": list(passed_over)}} | is_due("next_due")
        stages: list[Doc] = [{"$match": where}, {"$sort": {"next_due": 1}}, {"$set": {"now_s": NOW_S}}]
        with self._docs.aggregate(stages, batchSize=_PAGE) as found:
            yield from found

    def move_on(
        self,
        schedule: Mapping[str, Any],
        due: int,
        then: int,
        *,
        last_run: Doc | None = None,
        event: Doc | None = None,
    ) -> bool:
        """What was due is settled, `then` is due next; both in Unix seconds. False if somebody else has said so.

        Args:
            schedule: as it was when `then` followed from its rhythm; nothing is written if that has changed.
            event: leave it for the outbox in the same write, so that it is told exactly once.
        """
        new: Doc = {"next_due": {"$literal": _date(then)}}
        if last_run is not None:
            new["last_run"] = {"$literal": last_run}
        where = {"_id": schedule["_id"], "next_due": _date(due)} | {name: schedule[name] for name in _RHYTHM}
        written = self._docs.update_one(where, [{"$set": new | (told(event) if event else {})}])
        return bool(written.modified_count)

    def note_run(self, schedule_id: str, last_run: Doc) -> None:
        """What somebody had run beside the clock, unless the clock has run something later."""
        where: Doc = {"_id": schedule_id}
        where["$or"] = [{"last_run": None}, {"last_run.due": {"$lte": last_run["due"]}}]
        self._docs.update_one(where, {"$set": {"last_run": last_run}})

    # --- runs

    def begin_run(self, id_: str, schedule: Mapping[str, Any], due: int, *, by: str, kept_s: float) -> Doc:
        """The run of this id, which is begun if nobody has begun it. `kept_s`: from now on, by the server's clock."""
        said = {"tenant": schedule["tenant"], "schedule_id": schedule["_id"], "due": due, "by": by}
        fresh = {"$literal": said | {"state": STARTING, "batch_id": None, "error": None}}
        dates = {"begun_at": NOW, "expire_at": after_s(kept_s)}
        # Whoever has begun it comes last, and wins.
        doc = {"$mergeObjects": [fresh, dates, "$$ROOT"]}
        return self._written(id_, doc)

    def end_run(self, id_: str, state: str, *, batch_id: str | None = None, error: Doc | None = None) -> bool:
        """Say what came of a run. False if that was said before."""
        new = {"state": state, "batch_id": batch_id, "error": error}
        return bool(self._runs.update_one({"_id": id_, "state": STARTING}, {"$set": new}).modified_count)

    def miss(self, id_: str, schedule: Mapping[str, Any], missed: Missed, kept_s: float) -> Doc:
        """The run of this id, which says that a stretch of due times was missed unless it has been begun."""
        said = {
            "tenant": schedule["tenant"],
            "schedule_id": schedule["_id"],
            "due": missed.first,
            "by": "clock",
        }
        fresh = {"$literal": said | {"batch_id": None, "error": None}}
        dates = {"begun_at": NOW, "expire_at": after_s(kept_s)}
        # Told again after a death in between, it may have become longer.
        stretch = {"state": MISSED, "until": missed.last, "count": missed.count}
        begun = {"$in": ["$state", [STARTING, STARTED, REFUSED]]}
        told_of = {"$mergeObjects": [fresh, dates, "$$ROOT", stretch]}
        return self._written(id_, {"$cond": [begun, "$$ROOT", told_of]})

    def abandoned(self, passed_over: Sequence[str] = ()) -> Iterator[Doc]:
        """Runs that somebody began and did not end; `passed_over` as for `due`."""
        late = {"$expr": {"$lte": ["$begun_at", after_s(-ABANDONED_S)]}}
        where = {"state": STARTING, "tenant": {"$nin": list(passed_over)}} | late
        with self._runs.find(where).batch_size(_PAGE) as found:
            yield from found

    def run_of(self, id_: str) -> Doc | None:
        """One run."""
        return self._runs.find_one({"_id": id_})

    def runs(self, schedule_id: str, *, after: Doc | None, limit: int) -> list[Doc]:
        """Runs of a schedule, the latest due first; those behind `after`, one of them."""
        where: Doc = {"schedule_id": schedule_id}
        if after:
            earlier = {"due": {"$lt": after["due"]}}
            where["$or"] = [earlier, {"due": after["due"], "_id": {"$lt": after["_id"]}}]
        order = [("due", DESCENDING), ("_id", DESCENDING)]
        return list(self._runs.find(where).sort(order).limit(limit))

    def _written(self, id_: str, doc: Doc) -> Doc:
        """The run of this id after this expression has replaced it, or has made it."""
        while True:
            try:
                found = self._runs.find_one_and_update(
                    {"_id": id_}, [{"$replaceWith": doc}], upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:  # another process made it in this instant
                continue
            return found or {}

    # --- files

    def in_use(self, file_ids: Iterable[str]) -> set[tuple[str, str]]:
        """Those of these files that schedules name, each with the tenant of the schedule."""
        where = {"batch.input_file_id": {"$in": list(file_ids)}}
        found = self._docs.find(where, {"batch.input_file_id": 1, "tenant": 1})
        return {(doc["batch"]["input_file_id"], doc["tenant"]) for doc in found}


def missed_event(schedule: Mapping[str, Any], missed: Missed, policy: Policy) -> Doc:
    """The event that tells of missed due times, as a value in an update's pipeline."""
    said = {"id": schedule["_id"], "first_due": missed.first, "last_due": missed.last, "count": missed.count}
    said |= {"policy": policy}
    return {
        "id": f"evt_{schedule['_id']}_{missed.first}_missed",
        "object": "event",
        "created_at": {"$toLong": {"$divide": [{"$toLong": NOW}, 1000]}},
        "type": MISSED_EVENT,
        "data": {"$literal": said},
    }


def _date(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
