"""What batches have cost, for good (`usage`): one row for each batch that ran, written at its end.

A row: _id (the batch), tenant, created_day, ended_day (UTC, `2026-11-21`), ended_at, shares [{provider, model, items,
calls, cached, ...}] (core/savings.py). It outlives the batch. The finalizer writes it before the batch's last move,
which sets `booked`: until then the batch's own document counts, afterwards its row alone.

Days that are over never change; their sums are kept in `usage_days` by the first who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from workers.core.savings import SHARE_SUMS
from workers.store.mongo import NOW, NOW_S, Db, Doc, insert_missing

_DAY = "%Y-%m-%d"
MAX_UNBOOKED = 10_000


class Ledger:
    """Write and sum rows. Nothing here is ever incremented: a row can be written again."""

    def __init__(self, db: Db) -> None:
        self._rows, self._days, self._batches = db["usage"], db["usage_days"], db["batch_jobs"]

    def book(self, batch: Mapping[str, Any], shares: Sequence[Doc]) -> None:
        """Write the row of a batch whose shards have all ended; again, it changes no day."""
        created_day = datetime.fromtimestamp(batch["created_at"], UTC).strftime(_DAY)
        today = {"$dateToString": {"format": _DAY, "date": NOW}}
        row: Doc = {
            "tenant": {"$literal": batch["tenant"]},
            "created_day": created_day,
            "ended_day": {"$ifNull": ["$ended_day", today]},
            "ended_at": {"$ifNull": ["$ended_at", NOW_S]},
            "shares": {"$literal": list(shares)},
        }
        self._rows.update_one({"_id": batch["_id"]}, [{"$set": row}], upsert=True)

    def get(self, batch_id: str) -> Doc | None:
        """The row of one batch; None until it has ended, and for one that never ran."""
        return self._rows.find_one({"_id": batch_id})

    def unbooked(self, tenant: str, since_s: float) -> list[Doc]:
        """Batches since then (Unix seconds) that have no row yet: those that run, newest first, with their counts."""
        where = {"tenant": tenant, "booked": None, "_id": {"$gte": f"batch_{int(since_s * 1000):012x}"}}
        found = self._batches.find(where, {"log": 0, "events": 0}).sort("_id", -1)
        return list(found.limit(MAX_UNBOOKED))

    def sums(self, tenant: str, first_day: str, *, open_since: str, without: Iterable[str] = ()) -> list[Doc]:
        """Rows {created_day, provider, model, batches, ...} of batches that were made on `first_day` or later.

        Args:
            open_since: the first day of which a row may still come; older ones are summed once and kept.
            without: batches that are counted elsewhere.
        """
        days = {"tenant": tenant, "ended_day": {"$gte": first_day, "$lt": open_since}}
        kept = {doc["ended_day"]: doc["shares"] for doc in self._days.find(days)}
        missing = {"ended_day": {"$gte": first_day, "$lt": open_since, "$nin": list(kept)}}
        new = self._summed({"tenant": tenant} | missing)
        insert_missing(
            self._days,
            [
                {"_id": f"{tenant}:{day}", "tenant": tenant, "ended_day": day, "shares": shares}
                for day, shares in new.items()
            ],
        )
        today = self._summed(
            {
                "tenant": tenant,
                "ended_day": {"$gte": max(first_day, open_since)},
                "_id": {"$nin": list(without)},
            }
        )
        rows = [row for days_ in (kept, new, today) for shares in days_.values() for row in shares]
        return [row for row in rows if row["created_day"] >= first_day]

    def spent_usd(self, tenant: str, month: str) -> float:
        """What the batches have cost that ended in this month, `2026-11`."""
        where = {"tenant": tenant, "ended_day": {"$gte": f"{month}-01", "$lte": f"{month}-31"}}
        cost = {"$sum": {"$sum": "$shares.cost_usd"}}
        rows = list(self._rows.aggregate([{"$match": where}, {"$group": {"_id": None, "usd": cost}}]))
        return float(rows[0]["usd"]) if rows else 0.0

    def _summed(self, where: Doc) -> dict[str, list[Doc]]:
        group: Doc = {
            "_id": {
                "ended_day": "$ended_day",
                "created_day": "$created_day",
                "provider": "$shares.provider",
                "model": "$shares.model",
            },
            "batches": {"$sum": 1},
            "first": {"$sum": "$shares.first"},
        }
        group |= {name: {"$sum": f"$shares.{name}"} for name in SHARE_SUMS}
        steps: list[Doc] = [{"$match": where}, {"$unwind": "$shares"}, {"$group": group}]
        days: dict[str, list[Doc]] = {}
        for row in self._rows.aggregate(steps):
            names = row.pop("_id")
            days.setdefault(names.pop("ended_day"), []).append(names | row)
        return days
