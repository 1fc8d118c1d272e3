"""What the world is told of batches that ended (`outbox`): one event for each, in the form of WIRE.md, 'Webhooks'.

A final move of a batch (store/batches.py) writes its event into the batch document itself, by `event_of`: one write,
so no end is without its event. `collect` then carries it over; the id is derived, so a second carrying adds nothing.

An outbox row: _id (the event's id), tenant, batch_id, event, state (pending), attempts, next_at (date).
"""

from __future__ import annotations

from collections.abc import Iterable

from workers.core import faultpoints
from workers.core.states import BatchStatus
from workers.store.mongo import EPOCH, NOW, NOW_S, Db, Doc, distinct_after, insert_missing

PENDING = "pending"
# An event that could not be delivered in this time is of no use any more.
DELIVERY_S = 3 * 86_400.0


def event_of(batch_id: str, status: BatchStatus) -> Doc:
    """The event of a batch that ends in this state, as a value in an update's pipeline: the server gives the time."""
    kind = f"batch.{status}"
    return {
        "id": f"evt_{batch_id.removeprefix('batch_')}_{status}",
        "object": "event",
        "created_at": {"$toLong": {"$divide": [{"$toLong": NOW}, 1000]}},
        "type": kind,
        "data": {"id": {"$literal": batch_id}},
    }


class Outbox:
    """Carry events over from the batches, read them, forget those of a batch."""

    def __init__(self, db: Db) -> None:
        self._events, self._batches = db["outbox"], db["batch_jobs"]

    def collect(self, limit: int) -> int:
        """Carry over the events of up to `limit` batches; gives of how many. Safe to break off and repeat."""
        found = list(self._batches.find({"events.id": {"$gt": ""}}, {"tenant": 1, "events": 1}).limit(limit))
        if not found:
            return 0
        insert_missing(self._events, [_row(batch, event) for batch in found for event in batch["events"]])
        faultpoints.passes(faultpoints.EVENTS_COPIED, len(found))
        carried = [event["id"] for batch in found for event in batch["events"]]
        ids = [batch["_id"] for batch in found]
        # By id: a batch may have brought forth another one meanwhile.
        self._batches.update_many({"_id": {"$in": ids}}, {"$pull": {"events": {"id": {"$in": carried}}}})
        return len(found)

    def page(self, tenant: str, *, after: str | None, limit: int) -> list[Doc]:
        """The tenant's events by id, those after `after`."""
        where = {"tenant": tenant, "_id": {"$gt": after or ""}}
        return list(self._events.find(where).sort("_id", 1).limit(limit))

    def batch_ids(self, after: str, limit: int) -> list[str]:
        """Batches of which events are there, in order, those after `after`."""
        return distinct_after(self._events, "batch_id", after, limit)

    def forget(self, batch_ids: Iterable[str]) -> int:
        """Remove the events of batches whose retention is over; gives how many there were.

        One that nobody has been told of stays for a while: a short retention must not silence it.
        """
        too_late = {"$lte": ["$event.created_at", {"$subtract": [NOW_S, DELIVERY_S]}]}
        done = {"$or": [{"state": {"$ne": PENDING}}, {"$expr": too_late}]}
        return self._events.delete_many({"batch_id": {"$in": list(batch_ids)}} | done).deleted_count


def _row(batch: Doc, event: Doc) -> Doc:
    return {
        "_id": event["id"],
        "tenant": batch["tenant"],
        "batch_id": batch["_id"],
        "event": event,
        "state": PENDING,
        "attempts": 0,
        "next_at": EPOCH,  # due at once
    }
