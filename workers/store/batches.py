"""The batch documents (`batch_jobs`): one function per legal move of core/states.py, and how others read them.

A batch: _id, tenant, endpoint, input_file_id, completion_window, status, ending, *_at (Unix seconds),
window_ends (date), total, options, plan {owner, fence, lease_until, opened}, counts (summed tally), errors; once it
has ended also expire_at (date); log and events (batch_log.py); what its create found wrong is its refusal. A retry
has parent_id, root_id, generation and retry (its filter), what was retried has children. A batch whose expire_at has
come is no longer there for its tenant; retention.py takes it away piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo import DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from workers.core import states
from workers.core.retrying import generation_of
from workers.core.states import Ending, Move
from workers.store.batch_log import logged, told
from workers.store.mongo import NEVER, NOW, NOW_S, Db, Doc, after_s, is_due
from workers.store.outbox import event_of

RETENTION_DAYS = 30.0  # the setting's default, for whoever has no settings
_DAY_S, _LEAST_S = 86_400, 3600.0
# By type as well: to `$expr` a date that is not there is due.
_EXPIRED: Doc = {"expire_at": {"$lt": NEVER}} | is_due("expire_at")
# What may be long and is never shown: the filter of a retry has up to a megabyte. The planner's claim reads it.
LONG: Doc = {"retry": 0}
_IN_RETENTION: Doc = {"$expr": {"$gt": [{"$ifNull": ["$expire_at", NEVER]}, NOW]}}


class Batches:
    """Read and move batches. Every write is conditional and touches one document.

    `retention_days`: how long a batch is kept after its end, unless its tenant's document says otherwise.
    """

    def __init__(self, db: Db, *, retention_days: float = RETENTION_DAYS) -> None:
        self._docs, self._tenants = db["batch_jobs"], db["tenants"]
        self._retention_days = retention_days

    # --- reading

    def get(self, batch_id: str, tenant: str | None = None) -> Doc | None:
        """The batch; with `tenant`, as it is shown, and only if it is theirs and still kept.

        Workers, who act for all, leave that out.
        """
        if tenant is None:
            return self._docs.find_one({"_id": batch_id})
        return self._docs.find_one({"_id": batch_id, "tenant": tenant} | _IN_RETENTION, LONG)

    def get_many(self, batch_ids: Sequence[str], tenant: str) -> dict[str, Doc]:
        """Those of these batches that are the tenant's and still kept, as they are shown, by id."""
        where = {"_id": {"$in": list(batch_ids)}, "tenant": tenant} | _IN_RETENTION
        return {doc["_id"]: doc for doc in self._docs.find(where, LONG)}

    def page(self, tenant: str, *, after: str | None, limit: int, run_key: str | None = None) -> list[Doc]:
        """Newest first, those older than `after`."""
        where: Doc = {"tenant": tenant} | _IN_RETENTION
        if after:
            where["_id"] = {"$lt": after}
        if run_key:
            where["run_key"] = run_key
        return list(self._docs.find(where, {"log": 0} | LONG).sort("_id", DESCENDING).limit(limit))

    def by_idempotency_key(self, tenant: str, key: str) -> Doc | None:
        """The batch that was created under this key; one that has expired gives the key back."""
        used = {"tenant": tenant, "idempotency_key": _string(key)}
        kept = self._docs.find_one(used | _IN_RETENTION)
        if kept is None:
            self._docs.update_one(used | _EXPIRED, {"$unset": {"idempotency_key": ""}})
        return kept

    def recent_twin(self, tenant: str, request_hash: str, since_s: float) -> Doc | None:
        """The newest batch made from the same create since then (Unix seconds); ids sort by creation time."""
        where = {
            "tenant": tenant,
            "_id": {"$gte": f"batch_{int(since_s * 1000):012x}"},
            "request_hash": request_hash,
        }
        return self._docs.find_one(where, sort=[("_id", DESCENDING)])

    def lineage(self, root_id: str, *, below: int = 1 << 31) -> list[Doc]:
        """A batch and its retries that are still there, by generation, those below one (core/retrying.py).

        Not the batch itself once its retention is over: its results go piece by piece from then on.
        """
        kept: Doc = {"$or": [{"_id": root_id} | _IN_RETENTION, _children(root_id)]}
        found = self._docs.find(kept, {"log": 0} | LONG)
        return sorted((doc for doc in found if generation_of(doc) < below), key=generation_of)

    def flags(self, batch_ids: Iterable[str]) -> dict[str, Doc]:
        """What a running worker must know of its batches: ending and paused_at."""
        where = {"_id": {"$in": list(batch_ids)}}
        return {doc["_id"]: doc for doc in self._docs.find(where, {"ending": 1, "paused_at": 1})}

    def retention_s(self, tenant: str) -> float:
        """How long what belongs to this tenant is kept, seconds: `retention_days` of its document, or the setting.

        An hour at least: a batch that went at the moment of its end could be read by nobody.
        """
        doc = self._tenants.find_one({"_id": tenant}, {"retention_days": 1})
        days = doc.get("retention_days") if doc else None
        return max(_LEAST_S, float(self._retention_days if days is None else days) * _DAY_S)

    # --- writing

    def insert(self, doc: Doc) -> bool:
        """A new batch. False, and nothing written, for an idempotency key or a generation that is used."""
        try:
            self._docs.insert_one(doc)
        except DuplicateKeyError:
            return False
        return True

    def keep_lineage(self, root_id: str, kept_s: float) -> None:
        """Keep those of a lineage that have ended for at least so long from now: a retry reads what they recorded.

        Retention would otherwise take the parent's answers away while its child's, the rest of them, stay.
        """
        theirs = _lineage(root_id) | {"expire_at": {"$lt": NEVER}}
        later = {"expire_at": {"$max": ["$expire_at", after_s(kept_s)]}}
        self._docs.update_many(theirs | _IN_RETENTION, [{"$set": later}])

    def adopt(self, parent_id: str, child_id: str) -> None:
        """Show a child in its parent, for whoever reads only that; the child itself is what counts."""
        self._docs.update_one({"_id": parent_id}, {"$addToSet": {"children": child_id}})

    def claim_plan(self, batch_id: str, owner: str, lease_s: float) -> Doc | None:
        """Hold the right to plan: fence + 1. None if it is planned, ended, or someone else is at it."""
        planner_gone = {"$expr": {"$lte": [{"$ifNull": ["$plan.lease_until", NOW]}, NOW]}}
        to_plan = {"status": states.START.filter(), "ending": None}
        to_open = {"status": states.START.target, "ending": None, "plan.opened": False}
        where = {"_id": batch_id, "$and": [{"$or": [to_plan, to_open]}, planner_gone]}
        fence = {"$add": [{"$ifNull": ["$plan.fence", 0]}, 1]}
        plan = {"owner": owner, "fence": fence, "lease_until": after_s(lease_s), "opened": False}
        return self._docs.find_one_and_update(
            where, [{"$set": {"plan": plan}}], return_document=ReturnDocument.AFTER
        )

    def renew_plan(self, batch_id: str, fence: int, lease_s: float) -> bool:
        """Go on planning; False when another planner took over or the batch ended."""
        where = {"_id": batch_id, "plan.fence": fence, "ending": None}
        return bool(
            self._docs.update_one(where, [{"$set": {"plan.lease_until": after_s(lease_s)}}]).matched_count
        )

    def start(self, batch_id: str, fence: int, *, total: int, model: str | None, repeats: int) -> bool:
        """validating -> in_progress: every item is accepted from here on. `total` is written once, here."""
        new = {"total": total, "model": {"$literal": model}, "repeats": repeats, "in_progress_at": NOW_S}
        return self._move(states.START, batch_id, new, {"plan.fence": fence, "ending": None})

    def opened(self, batch_id: str, fence: int) -> None:
        """Its shards may be dispatched now."""
        self._docs.update_one({"_id": batch_id, "plan.fence": fence}, {"$set": {"plan.opened": True}})

    def fail(self, batch_id: str, errors: Sequence[Mapping[str, Any]]) -> bool:
        """validating -> failed, with the reasons."""
        new = {"errors": {"$literal": list(errors)}, "failed_at": NOW_S, "booked": True}
        return self._move(states.FAIL, batch_id, new, {"ending": None})

    def cancel(self, batch_id: str) -> bool:
        """-> cancelling; the ending is set in the same write, before any worker hears of it."""
        new = {"ending": str(Ending.CANCELLED), "cancelling_at": NOW_S}
        return self._move(states.CANCEL, batch_id, new, {"ending": None})

    def end_windows(self, limit: int) -> list[str]:
        """Set the ending of batches whose completion window is over; they show in_progress until all is closed.

        Gives the ids of up to `limit` that were found, the longest over first.
        """
        over = {"status": "in_progress", "ending": None} | is_due("window_ends")
        found = self._docs.find(over, {"_id": 1}).sort("window_ends", 1).limit(limit)
        ids = [row["_id"] for row in found]
        if ids:
            self._docs.update_many({"_id": {"$in": ids}} | over, {"$set": {"ending": str(Ending.EXPIRED)}})
        return ids

    def finalize(self, batch_id: str) -> bool:
        """in_progress -> finalizing: every shard is done."""
        new = {"ending": str(Ending.DONE), "finalizing_at": NOW_S}
        return self._move(states.FINALIZE, batch_id, new, {"ending": None})

    def end(self, move: Move[states.BatchStatus], batch_id: str, final: Doc) -> bool:
        """The last move of a batch (complete, end_cancelled, end_expired), with its counts and files."""
        literal = {name: {"$literal": value} for name, value in final.items()}
        return self._move(move, batch_id, literal | {f"{move.target}_at": NOW_S}, {})

    def save_counts(self, batch_id: str, counts: Doc) -> None:
        """Keep the summed tally of a running batch, so that pollers need not sum again."""
        where = {"_id": batch_id, "status": {"$nin": list(states.TERMINAL_BATCH)}}
        self._docs.update_one(where, [{"$set": {"counts": {"$literal": counts}, "counted_at": NOW_S}}])

    def set_paused(self, batch_id: str, tenant: str, *, paused: bool) -> bool:
        """Remember that a batch rests; the shards are held back or let go by their own writes."""
        where = {"_id": batch_id, "tenant": tenant, "status": "in_progress", "ending": None}
        new: Doc = {"paused_at": NOW_S if paused else None, "pause_reason": "user" if paused else None}
        # A pause of what rests already, and a resume of what goes on, is no news.
        changes = {"paused_at": None} if paused else {"paused_at": {"$ne": None}}
        news = logged("batch.paused", {"reason": "user"}) if paused else logged("batch.resumed")
        if self._docs.update_one(where | changes, [{"$set": new | news}]).modified_count:
            return True
        return bool(self._docs.update_one(where, [{"$set": new}]).matched_count)

    def _move(self, move: Move[states.BatchStatus], batch_id: str, new: Doc, also: Doc) -> bool:
        where = {"_id": batch_id, "status": move.filter()} | also
        if states.is_terminal(move.target):
            new = new | self._last_words(batch_id, move.target)
        news = logged(f"batch.{move.target}")
        written = self._docs.update_one(where, [{"$set": {"status": str(move.target)} | new | news}])
        return bool(written.modified_count)

    def _last_words(self, batch_id: str, status: states.BatchStatus) -> Doc:
        """What goes into a batch with its final state: until when it is kept, and the event that tells of it."""
        doc = self._docs.find_one({"_id": batch_id}, {"tenant": 1})
        kept_s = self.retention_s(doc["tenant"] if doc else "")
        return {"expire_at": after_s(kept_s)} | told(event_of(batch_id, status))

    # --- the end of retention

    def begin_retention(self, limit: int) -> int:
        """Date up to `limit` batches that ended undated, in a version without retention; gives how many there were.

        Their time begins now: nobody could know at their end that they would go.
        """
        undated: Doc = {"status": {"$in": list(states.TERMINAL_BATCH)}, "expire_at": None}
        found = list(self._docs.find(undated, {"tenant": 1}).limit(limit))
        for tenant in {doc["tenant"] for doc in found}:
            theirs = {"_id": {"$in": [doc["_id"] for doc in found if doc["tenant"] == tenant]}}
            kept_until = {"$set": {"expire_at": after_s(self.retention_s(tenant))}}
            self._docs.update_many(undated | theirs, [kept_until])
        return len(found)

    def remove(self, batch_id: str) -> None:
        """Take away the document of a batch whose retention is over; everything of its own is gone by now."""
        self._docs.delete_one({"_id": batch_id} | _EXPIRED)


def _string(value: str) -> Doc:
    """This value, said so that an index of strings alone is used: MongoDB does not take that from the value."""
    return {"$eq": value, "$type": "string"}


def _lineage(root_id: str) -> Doc:
    return {"$or": [{"_id": root_id}, _children(root_id)]}


def _children(root_id: str) -> Doc:
    return {"root_id": _string(root_id)}
