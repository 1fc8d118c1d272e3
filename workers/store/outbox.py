"""What the world is told of (`outbox`): one event for each end of a batch, news of a budget, and alert, as in WIRE.md.

Whatever happens writes its event into its own document (batch_log.py, `told`): one write, so nothing happens without
its event. `collect` then carries it over; the id is derived, so a second carrying adds nothing. `untold` are those of
which no delivery has been made yet; workers/notify.py makes them (deliveries.py), and says so by `told_all`.

An outbox row: _id (the event's id), tenant, batch_id (null: of the tenant), event, state (pending, told), webhook (the
batch's own receiver, until it is told), expire_at (of an event without a batch, which goes with its batch otherwise).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from workers.core import faultpoints
from workers.core.states import BatchStatus
from workers.core.webhooks import DELIVERY_S
from workers.store.mongo import NOW, NOW_S, Db, Doc, distinct_after, insert_missing

PENDING, TOLD = "pending", "told"
# Who brings forth events: documents with `tenant` and `events`. Of the first kind each is a batch.
_BATCHES = "batch_jobs"
SOURCES = (_BATCHES, "accounts", "alerts", "schedules")
_KEPT_WITHOUT_BATCH = timedelta(days=30)


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
    """Carry events over from where they happen, read them, forget those of a batch."""

    def __init__(self, db: Db) -> None:
        self._events, self._deliveries = db["outbox"], db["deliveries"]
        self._sources = {name: db[name] for name in SOURCES}

    def collect(self, limit: int) -> int:
        """Carry over the events of up to `limit` documents of each source; gives the most that one had.

        Safe to break off and repeat.
        """
        return max(self._collect(name, limit) for name in self._sources)

    def _collect(self, name: str, limit: int) -> int:
        source = self._sources[name]
        fields = {"tenant": 1, "events": 1, "webhook": 1}
        found = list(source.find({"events.id": {"$gt": ""}}, fields).limit(limit))
        if not found:
            return 0
        insert_missing(self._events, [_row(name, doc, event) for doc in found for event in doc["events"]])
        faultpoints.passes(faultpoints.EVENTS_COPIED, len(found))
        carried = [event["id"] for doc in found for event in doc["events"]]
        ids = [doc["_id"] for doc in found]
        # By id: a document may have brought forth another one meanwhile.
        source.update_many({"_id": {"$in": ids}}, {"$pull": {"events": {"id": {"$in": carried}}}})
        return len(found)

    def untold(self, limit: int) -> list[Doc]:
        """Events of which no delivery has been made yet, up to `limit`."""
        return list(self._events.find({"state": PENDING}).sort("_id", 1).limit(limit))

    def told_all(self, event_ids: Sequence[str]) -> None:
        """Their deliveries stand in the database, those to a batch's own receiver with its secret."""
        self._events.update_many({"_id": {"$in": list(event_ids)}}, _SET_TOLD)

    def batch_ids(self, after: str, limit: int) -> list[str]:
        """Batches of which events are there, in order, those after `after`."""
        return distinct_after(self._events, "batch_id", after, limit)

    def forget(self, batch_ids: Iterable[str]) -> int:
        """Remove the events of batches whose retention is over, and their deliveries; gives how many events.

        One that nobody has been told of, and what is still being delivered, stays for a while: a short retention
        must not silence it. An event outlives its deliveries, so whoever finds it later finds them.
        """
        theirs = {"batch_id": {"$in": list(batch_ids)}}
        self._deliveries.delete_many(theirs | _done_or_late("$created_at"))
        busy = self._deliveries.distinct("event_id", theirs)
        gone = theirs | {"_id": {"$nin": busy}} | _done_or_late("$event.created_at")
        return self._events.delete_many(gone).deleted_count


_SET_TOLD: Doc = {"$set": {"state": TOLD}, "$unset": {"webhook": ""}}


def _done_or_late(created_at: str) -> Doc:
    too_late = {"$lte": [created_at, {"$subtract": [NOW_S, DELIVERY_S]}]}
    return {"$or": [{"state": {"$ne": PENDING}}, {"$expr": too_late}]}


def _row(source: str, doc: Doc, event: Doc) -> Doc:
    row: Doc = {
        "_id": event["id"],
        "tenant": doc["tenant"],
        "batch_id": doc["_id"] if source == _BATCHES else None,
        "event": event,
        "state": PENDING,
    }
    if doc.get("webhook"):
        row["webhook"] = doc["webhook"]
    if row["batch_id"] is None:
        row["expire_at"] = datetime.fromtimestamp(event["created_at"], UTC) + _KEPT_WITHOUT_BATCH
    return row
