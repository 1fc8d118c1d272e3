"""What is on its way to receivers (`deliveries`): one row for an event and a receiver, under a derived id.

A row: _id, tenant, batch_id, event_id, type, endpoint (whk_..., null for a batch's own receiver, whose url and secret
then stand in `own`), lane (who shares its slots), body (the bytes that are sent, every time), state (pending,
delivered, dead), next_at (date), fence, attempts and since (date) of this round, tries [{at, status, error, took_ms,
answer}], created_at (of the event, Unix seconds), expire_at (where no batch takes it along).

A claim moves `next_at` to the end of its lease and counts the fence up, in one write: of two deliverers one gets the
row, and of one that dies the row is due again when the lease ends. What an attempt came to is written under its fence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bson import Binary
from pymongo import ReturnDocument

from workers.core.webhooks import Answered, Next, body_of, delivery_id, shown_answer
from workers.store.mongo import EPOCH, NOW, Db, Doc, after_s, distinct_after, insert_missing, is_due
from workers.store.outbox import PENDING

_SHOWN_TRIES = 40
OFTEN, _MOST_COUNTED = 3, 1_000


def deliveries_of(event_row: Doc, endpoints: Iterable[Doc], own_lane: str) -> list[Doc]:
    """The rows of one event: one for each endpoint that wants it, and one for its batch's own receiver."""
    rows = [_row(event_row, doc["_id"]) | {"endpoint": doc["_id"], "lane": doc["_id"]} for doc in endpoints]
    own = event_row.get("webhook")
    if own:
        rows.append(_row(event_row, "own") | {"endpoint": None, "lane": own_lane, "own": own})
    return rows


class Deliveries:
    """Insert, claim and settle them; list and replay them for their tenant."""

    def __init__(self, db: Db) -> None:
        self._rows = db["deliveries"]

    # --- the deliverer

    def insert(self, rows: Sequence[Doc]) -> None:
        """Those that are not there yet."""
        insert_missing(self._rows, rows)

    def tenants_due(self, after: str, limit: int) -> list[str]:
        """Tenants for whom something is to be sent now, in order, those after `after`."""
        return distinct_after(
            self._rows, "tenant", after, limit, where={"state": PENDING} | is_due("next_at")
        )

    def claim(self, tenant: str, lease_s: float, besides: Sequence[str]) -> Doc | None:
        """Hold what has been due longest for this tenant, but for these lanes. `at`, the server's time, is in it."""
        where = {"state": PENDING, "tenant": tenant, "lane": {"$nin": list(besides)}} | is_due("next_at")
        held = {
            "next_at": after_s(lease_s),
            "at": NOW,
            "fence": {"$add": ["$fence", 1]},
            "attempts": {"$add": ["$attempts", 1]},
            "since": {"$ifNull": ["$since", NOW]},
        }
        return self._rows.find_one_and_update(
            where, [{"$set": held}], sort=[("next_at", 1)], return_document=ReturnDocument.AFTER
        )

    def settle(self, row: Doc, answered: Answered, following: Next) -> bool:
        """Write what a claimed row's attempt came to. False if somebody else has had it since."""
        entry = {
            "at": int(row["at"].timestamp()),
            "status": answered.status,
            "error": answered.problem,
            "took_ms": answered.took_ms,
            "answer": shown_answer(answered.answer),
        }
        tries = {"$slice": [{"$concatArrays": ["$tries", [{"$literal": entry}]]}, -_SHOWN_TRIES]}
        new = {"state": following.state, "tries": tries, "next_at": after_s(following.wait_s)}
        where = {"_id": row["_id"], "fence": row["fence"], "state": PENDING}
        return bool(self._rows.update_one(where, [{"$set": new}]).modified_count)

    def often_failed(self) -> int:
        """Pending ones that have failed `OFTEN` times, of all tenants, counted up to a thousand."""
        where = {"state": PENDING, "attempts": {"$gte": OFTEN}}
        return self._rows.count_documents(where, limit=_MOST_COUNTED)

    # --- its tenant

    def get(self, id_: str, tenant: str) -> Doc | None:
        """The tenant's delivery."""
        return self._rows.find_one({"_id": id_, "tenant": tenant}, {"body": 0})

    def page(
        self, tenant: str, *, status: str | None, event: str | None, after: str | None, limit: int
    ) -> list[Doc]:
        """Newest first, those older than `after`; of this state, and of an event's id or type."""
        where: Doc = {"tenant": tenant}
        if after:
            where["_id"] = {"$lt": after}
        if status:
            where["state"] = status
        if event:
            where["event_id" if event.startswith("evt_") else "type"] = event
        return list(self._rows.find(where, {"body": 0}).sort("_id", -1).limit(limit))

    def replay(self, id_: str, tenant: str) -> Doc | None:
        """Send it again from now on, whatever became of it, over the whole time anew; None if there is none."""
        new: Doc = {
            "state": PENDING,
            "next_at": NOW,
            "attempts": 0,
            "since": None,
            # An attempt that is under way does not decide any more.
            "fence": {"$add": ["$fence", 1]},
        }
        return self._rows.find_one_and_update(
            {"_id": id_, "tenant": tenant},
            [{"$set": new}],
            projection={"body": 0},
            return_document=ReturnDocument.AFTER,
        )


def age_s(row: Doc) -> float:
    """How long a claimed row has been tried, in seconds, by the server's clock."""
    return float((row["at"] - row["since"]).total_seconds())


def _row(event_row: Doc, receiver: str) -> Doc:
    event: dict[str, Any] = event_row["event"]
    row: Doc = {
        "_id": delivery_id(event, receiver),
        "tenant": event_row["tenant"],
        "batch_id": event_row["batch_id"],
        "event_id": event["id"],
        "type": event["type"],
        "body": Binary(body_of(event)),
        "state": PENDING,
        "next_at": EPOCH,  # due at once
        "fence": 0,
        "attempts": 0,
        "since": None,
        "tries": [],
        "created_at": event["created_at"],
    }
    return row | ({"expire_at": event_row["expire_at"]} if "expire_at" in event_row else {})
