"""What all batches of all tenants have done and cost, by provider: exact after any kill, and it never falls.

Summed from the ledger's rows (`usage`, ledger.py) and the shards of batches that have none yet. `fold` sums a thousand
rows at a time into a part (`usage_totals`: _id, made, sums; until it is made, the ids of its rows), and each row names
its part in `folded`. A part names no tenant and no batch: it stays when a tenant is erased, whose rows go only once
they are in a made part, so that what was spent stays spent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import blake3

from workers.core import states
from workers.core.recorded import SUMS, Row, added, row_of
from workers.core.states import BatchStatus
from workers.core.tally import FIELD_NAMES, tally_from
from workers.store.mongo import Db, Doc, insert_missing

# Rows are summed at 20 us each, parts at 10 [m].
PART_ROWS = 1_000
# Of batches that never came so far nothing counts: they end without a row.
_RUNNING: Doc = {
    "status": {
        "$in": [
            str(status) for status in BatchStatus if not states.is_terminal(status) and status != "validating"
        ]
    },
    "in_progress_at": {"$ne": None},
}
# Each look that finds the parts changed under it is repeated: folding takes a tenth of a second for each part.
_LOOKS = 50


class RecordedTotals:
    """Sum, fold, and let the rows of a tenant go. Nothing here is ever incremented."""

    def __init__(self, db: Db) -> None:
        self._rows, self._parts = db["usage"], db["usage_totals"]
        self._batches, self._shards = db["batch_jobs"], db["batch_shards"]

    def read(self) -> dict[str, Row]:
        """Sums (core/recorded.py) by provider; '' are lines for which nobody was asked. Each batch counts once."""
        for _ in range(_LOOKS):
            made = self._made()
            rows = [row for sums in made.values() for row in sums] + self._not_in(made)
            # Rows of a part that has been made since may be gone by now, with their tenant.
            if self._made().keys() == made.keys():
                break
        return added(rows)

    def fold(self, fewest: int = PART_ROWS, *, tenant: str | None = None) -> bool:
        """Make one part of rows, of all tenants or one, that are in none. False if there are fewer than `fewest`.

        Broken off, it is ended by the next call; two at once make the same part, or share the rows.
        """
        part = self._parts.find_one({"made": False}) or self._begin(fewest, tenant)
        if part is None:
            return False
        name = part["_id"]
        self._rows.update_many({"_id": {"$in": part["rows"]}, "folded": None}, {"$set": {"folded": name}})
        made = {"made": True, "sums": self._summed({"folded": name})}
        self._parts.update_one({"_id": name, "made": False}, {"$set": made, "$unset": {"rows": ""}})
        return True

    def let_go(self, tenant: str, limit: int) -> int:
        """Remove up to `limit` rows of a tenant that has no batch any more; gives how many. What they sum to stays."""
        if self._rows.find_one({"tenant": tenant}, {"_id": 1}) is None:
            return 0
        while self.fold(fewest=1, tenant=tenant):
            pass
        where = {"tenant": tenant, "folded": {"$in": list(self._made())}}
        ids = [row["_id"] for row in self._rows.find(where, {"_id": 1}).limit(limit)]
        return self._rows.delete_many({"_id": {"$in": ids}}).deleted_count if ids else 0

    def _begin(self, fewest: int, tenant: str | None) -> Doc | None:
        where = {"folded": None} if tenant is None else {"tenant": tenant, "folded": None}
        in_none = self._rows.find(where, {"_id": 1}).sort("_id", 1)
        # Asked every few seconds: first whether there are enough, which takes the index alone.
        if not list(in_none.clone().skip(fewest - 1).limit(1)):
            return None
        ids = [row["_id"] for row in in_none.limit(PART_ROWS)]
        # A batch whose finalizer has not come back counts by its shards.
        running = self._running(ids)
        ids = [id_ for id_ in ids if id_ not in running]
        if not ids:
            return None
        part = {"_id": blake3.blake3(ids[0].encode()).hexdigest(), "made": False, "rows": ids}
        insert_missing(self._parts, [part])
        return self._parts.find_one({"_id": part["_id"], "made": False})

    def _made(self) -> dict[str, list[Row]]:
        return {part["_id"]: part["sums"] for part in self._parts.find({"made": True}, {"sums": 1})}

    def _not_in(self, made: Collection[str]) -> list[Row]:
        # In this order each batch counts once. Who is still running after its shards were read counts by them, whoever
        # books it meanwhile; all others have their row, if anything.
        running = self._running()
        shards = self._of_shards(running)
        still = self._running(running)
        rows = [row for row in shards if row["batch_id"] in still]
        return rows + self._summed({"folded": {"$nin": list(made)}, "_id": {"$nin": list(still)}})

    def _running(self, among: Collection[str] | None = None) -> set[str]:
        where = _RUNNING if among is None else _RUNNING | {"_id": {"$in": list(among)}}
        return {batch["_id"] for batch in self._batches.find(where, {"_id": 1})}

    def _of_shards(self, batch_ids: Collection[str]) -> list[Row]:
        if not batch_ids:
            return []
        group: Doc = {"_id": {"batch_id": "$batch_id", "provider": "$provider"}}
        group |= {name: {"$sum": f"$counts.{name}"} for name in FIELD_NAMES}
        group["possibly_repeated"] = {"$sum": "$possibly_repeated"}
        steps = [{"$match": {"batch_id": {"$in": list(batch_ids)}}}, {"$group": group}]
        return [
            row["_id"] | row_of(tally_from(row), row["possibly_repeated"])
            for row in self._shards.aggregate(steps)
        ]

    def _summed(self, where: Mapping[str, Any]) -> list[Row]:
        # A row of an earlier version has its shares alone, in the same words.
        rows: Doc = {"$project": {"row": {"$ifNull": ["$recorded", "$shares"]}}}
        group: Doc = {"_id": "$row.provider"} | {name: {"$sum": f"$row.{name}"} for name in SUMS}
        found = self._rows.aggregate([{"$match": where}, rows, {"$unwind": "$row"}, {"$group": group}])
        return [{"provider": row.pop("_id")} | row for row in found]
