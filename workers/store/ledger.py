"""What batches have cost, for good (`usage`): one row for each batch that ran, written at its end.

A row: _id (the batch), tenant, created_day, ended_day (UTC, `2026-11-21`), ended_at, shares [{provider, model, items,
calls, cached, ...}] (core/savings.py), recorded [{provider, ...}] (core/recorded.py), part, folded
(recorded_totals.py). It outlives the batch. The finalizer writes it before the batch's last move, which sets `booked`:
until then the batch's own document counts, afterwards its row alone.

The sweeper sums a thousand rows at a time into a part (`usage_parts`: _id, tenant, made, shares; until it is made,
the ids of its rows). Each row names its part, "" for none yet, so whoever asks reads the parts and a thousand rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo.collection import Collection

from workers.core.savings import SHARE_SUMS
from workers.store.mongo import NOW, NOW_S, Db, Doc, distinct_after, insert_missing

_DAY = "%Y-%m-%d"
MAX_UNBOOKED = 10_000
_RUNNING = dict.fromkeys(("status", "created_at", "model", "counts"), 1)
# Rows are summed at 20 us each [m].
PART_ROWS = 1_000


class Ledger:
    """Write and sum rows. Nothing here is ever incremented: a row can be written again."""

    def __init__(self, db: Db) -> None:
        self._rows, self._parts = db["usage"], db["usage_parts"]
        self._batches, self._shards = db["batch_jobs"], db["batch_shards"]

    def book(self, batch: Mapping[str, Any], shares: Sequence[Doc], recorded: Sequence[Doc]) -> None:
        """Write the row of a batch whose shards have all ended; again, it changes no day.

        `recorded`: what store/recorded_totals.py sums, over all tenants.
        """
        created_day = datetime.fromtimestamp(batch["created_at"], UTC).strftime(_DAY)
        today = {"$dateToString": {"format": _DAY, "date": NOW}}
        row: Doc = {
            "tenant": {"$literal": batch["tenant"]},
            "created_day": created_day,
            "ended_day": {"$ifNull": ["$ended_day", today]},
            "ended_at": {"$ifNull": ["$ended_at", NOW_S]},
            "shares": {"$literal": list(shares)},
            "recorded": {"$literal": list(recorded)},
            "part": {"$ifNull": ["$part", ""]},
        }
        self._rows.update_one({"_id": batch["_id"]}, [{"$set": row}], upsert=True)

    def get(self, batch_id: str) -> Doc | None:
        """The row of one batch; None until it has ended, and for one that never ran."""
        return self._rows.find_one({"_id": batch_id})

    def unbooked(self, tenant: str, since_s: float) -> list[Doc]:
        """Batches since then (Unix seconds) that have no row yet: those that run, newest first, as `_RUNNING` says."""
        where = {"tenant": tenant, "booked": None, "_id": {"$gte": f"batch_{int(since_s * 1000):012x}"}}
        found = self._batches.find(where, _RUNNING).sort("_id", -1)
        return list(found.limit(MAX_UNBOOKED))

    def look(self, tenant: str, since_s: float) -> tuple[list[Doc], list[Doc]]:
        """What the tenant's batches since then (Unix seconds, the beginning of a day) have cost.

        Gives rows {created_day, provider, model, batches, ...}, and the batches that have none yet.
        """
        # In this order each batch counts once: what is booked, or put into a part, meanwhile still counts as it did.
        parts = list(self._parts.find({"tenant": tenant, "made": True}, {"shares": 1}))
        running = self.unbooked(tenant, since_s)
        in_none = {"tenant": tenant, "part": {"$nin": [part["_id"] for part in parts]}}
        rows = self._summed(in_none | {"_id": {"$nin": [batch["_id"] for batch in running]}})
        rows += [row for part in parts for row in part["shares"]]
        first_day = datetime.fromtimestamp(since_s, UTC).strftime(_DAY)
        return [row for row in rows if row["created_day"] >= first_day], running

    def tenants(self, after: str, limit: int) -> list[str]:
        """Whose rows there are, by name, those after `after`."""
        return distinct_after(self._rows, "tenant", after, limit)

    def sum_up(self, tenant: str) -> bool:
        """Make one part of rows that are in none, in the order of their batches. False if there are too few of them.

        Broken off, it is ended by the next call; two at once make the same part, or share the rows.
        """
        part = self._parts.find_one({"tenant": tenant, "made": False}) or self._begin_part(tenant)
        if part is None:
            return False
        name = {"part": part["_id"]}
        self._rows.update_many({"_id": {"$in": part["rows"]}, "part": ""}, {"$set": name})
        made = {"made": True, "shares": self._summed({"tenant": tenant} | name)}
        self._parts.update_one({"_id": part["_id"], "made": False}, {"$set": made, "$unset": {"rows": ""}})
        return True

    def spent_usd(self, tenant: str, month: str) -> float:
        """What the tenant's batches have cost that were made in this month, `2026-11`, and that ended in it or run.

        Not those that ran over its first midnight: what they cost before, the account of the month before has.
        """
        where: Doc = {"tenant": tenant, "ended_day": {"$gte": f"{month}-01", "$lte": f"{month}-31"}}
        where["created_day"] = {"$gte": f"{month}-01"}
        begin_s = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).timestamp()
        running = [batch["_id"] for batch in self.unbooked(tenant, begin_s)]
        booked = _sum(self._rows, where | {"_id": {"$nin": running}}, {"$sum": "$shares.cost_usd"})
        return booked + _sum(self._shards, {"batch_id": {"$in": running}}, "$counts.cost_usd")

    def _begin_part(self, tenant: str) -> Doc | None:
        in_none = self._rows.find({"tenant": tenant, "part": ""}, {"_id": 1}).sort("_id", 1)
        # Asked every few seconds: first whether there are enough, which takes the index alone.
        if not list(in_none.clone().skip(PART_ROWS - 1).limit(1)):
            return None
        ids = [row["_id"] for row in in_none.limit(PART_ROWS)]
        # A batch whose finalizer has not come back counts by its own document.
        open_ = {doc["_id"] for doc in self._batches.find({"_id": {"$in": ids}, "booked": None}, {"_id": 1})}
        ids = [id_ for id_ in ids if id_ not in open_]
        if not ids:
            return None
        part = {"_id": f"{tenant}:{ids[0]}", "tenant": tenant, "made": False, "rows": ids}
        insert_missing(self._parts, [part])
        return self._parts.find_one({"_id": part["_id"], "made": False})

    def _summed(self, where: Doc) -> list[Doc]:
        names = {"created_day": "$created_day", "provider": "$shares.provider", "model": "$shares.model"}
        group: Doc = {"_id": names, "batches": {"$sum": 1}, "first": {"$sum": "$shares.first"}}
        group |= {name: {"$sum": f"$shares.{name}"} for name in SHARE_SUMS}
        rows = self._rows.aggregate([{"$match": where}, {"$unwind": "$shares"}, {"$group": group}])
        return [row.pop("_id") | row for row in rows]


def _sum(docs: Collection[Doc], where: Doc, usd: Any) -> float:
    rows = list(docs.aggregate([{"$match": where}, {"$group": {"_id": None, "usd": {"$sum": usd}}}]))
    return float(rows[0]["usd"]) if rows else 0.0
