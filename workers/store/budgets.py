"""The money of a batch: `budget` in its document (`batch_jobs`), one conditional write of that document each time.

budget: limit_usd, spent_usd and lost_usd (of ended shards), holds {<shard>: {fence, settled_usd, in_flight_usd,
lost_usd, usd}}; a hold's `usd` is the sum of its three.

Amounts are absolute, so every write may be repeated. A shard's lease (its fence) counts: what an earlier lease had
in flight, or had paid for answers that were never recorded, is known to nobody any more; the first write of a later
lease takes it over as lost.
"""

from __future__ import annotations

from math import inf
from typing import Any

from pymongo.results import UpdateResult

from workers.core.budget import BUDGET, TOLERANCE_USD, Room, room_in
from workers.store.batch_log import logged
from workers.store.mongo import NOW_S, Db, Doc

_LIMITED: Doc = {"budget.limit_usd": {"$exists": True}}
_NO_CEILING = Room(granted=True, free_usd=inf, others_in_flight_usd=0.0, limit_usd=inf)


class Budgets:
    """Hold, settle and close the money of shards. For a batch without a ceiling nothing is written."""

    def __init__(self, db: Db) -> None:
        self._docs = db["batch_jobs"]

    def hold(
        self, batch_id: str, shard_id: str, fence: int, *, settled_usd: float, in_flight_usd: float
    ) -> Room:
        """Reserve before calls start: the shard holds what it has spent plus what it has under way, or nothing new.

        Args:
            fence: the lease that will make the calls; one older than the hold's is refused (`superseded`).
            settled_usd: true cost of all that the shard has recorded so far.
            in_flight_usd: estimates of all its calls under way and of those about to start.
        """
        hold = _Hold(batch_id, shard_id, fence)
        total = {"$add": ["$budget.spent_usd", "$budget.lost_usd", hold.others, hold.carried(settled_usd)]}
        asked_usd = settled_usd + in_flight_usd
        room = {"$lte": [{"$add": [total, asked_usd]}, {"$add": ["$budget.limit_usd", TOLERANCE_USD]}]}
        if self._write(hold, settled_usd, in_flight_usd, only_if=room).matched_count:
            # Advice is for who was refused: a second look at the document would cost as much as the write.
            return Room(granted=True, free_usd=0.0, others_in_flight_usd=0.0, limit_usd=inf)
        found = self._docs.find_one({"_id": batch_id}, {"budget": 1}) or {}
        budget = found.get("budget")
        return room_in(budget, hold.key, fence, settled_usd) if budget else _NO_CEILING

    def settle(
        self, batch_id: str, shard_id: str, fence: int, *, settled_usd: float, in_flight_usd: float = 0.0
    ) -> bool:
        """Say what the shard has truly spent, and what is still under way. Never refused for the ceiling.

        False for a batch without one, and for a lease that is superseded.
        """
        hold = _Hold(batch_id, shard_id, fence)
        return bool(self._write(hold, settled_usd, in_flight_usd, only_if=True).matched_count)

    def close(
        self, batch_id: str, shard_id: str, fence: int, *, settled_usd: float, lost_usd: float = 0.0
    ) -> bool:
        """The shard has ended: its hold leaves the map and is added to what is spent, once.

        Args:
            fence: the lease that ended it.
            lost_usd: estimates of this lease's calls whose outcome nobody knows.
        Returns: False if there was no hold, or none of an older or this lease.
        """
        hold = _Hold(batch_id, shard_id, fence)
        where = {"_id": batch_id, hold.path: {"$exists": True}} | {"$expr": hold.is_ours}
        sums = {
            "budget.spent_usd": {"$add": ["$budget.spent_usd", settled_usd]},
            "budget.lost_usd": {"$add": ["$budget.lost_usd", hold.carried(settled_usd), lost_usd]},
        }
        return bool(self._docs.update_one(where, [{"$set": sums}, {"$unset": hold.path}]).modified_count)

    def raise_limit(self, batch_id: str, tenant: str, limit_usd: float) -> bool:
        """Move the ceiling up; True too if it is there already. False for a lower one and a batch without one."""
        where = {"_id": batch_id, "tenant": tenant, "budget.limit_usd": {"$lte": limit_usd}}
        return bool(
            self._docs.update_one(where, {"$set": {"budget.limit_usd": float(limit_usd)}}).matched_count
        )

    def pause_for_budget(self, batch_id: str, *, limit_usd: float) -> bool:
        """Let a running batch rest at its ceiling, unless that is no longer `limit_usd`: then there is new money.

        True if this write paused it. The shards in the queue are held back by their own write.
        """
        running = {"_id": batch_id, "status": "in_progress", "ending": None, "paused_at": None}
        new = {"paused_at": NOW_S, "pause_reason": BUDGET} | logged("batch.paused", {"reason": BUDGET})
        where = running | {"budget.limit_usd": limit_usd}
        return bool(self._docs.update_one(where, [{"$set": new}]).modified_count)

    def _write(
        self, hold: _Hold, settled_usd: float, in_flight_usd: float, *, only_if: Doc | bool
    ) -> UpdateResult:
        where = {"_id": hold.batch_id} | _LIMITED | {"$expr": {"$and": [hold.is_ours, only_if]}}
        lost = hold.carried(settled_usd)
        new = {
            "fence": hold.fence,
            "settled_usd": settled_usd,
            "in_flight_usd": in_flight_usd,
            "lost_usd": lost,
            "usd": {"$add": [lost, settled_usd + in_flight_usd]},
        }
        return self._docs.update_one(where, [{"$set": {hold.path: new}}])


class _Hold:
    """Where a shard's hold stands, and the expressions over it."""

    def __init__(self, batch_id: str, shard_id: str, fence: int) -> None:
        self.batch_id, self.fence = batch_id, fence
        # A dot would be a path; a name that begins with a digit could be taken for a place in an array.
        self.key = "s" + shard_id.removeprefix(f"{batch_id}.").replace(".", "_")
        self.path = f"budget.holds.{self.key}"

    @property
    def is_ours(self) -> Doc:
        return {"$lte": [{"$ifNull": [f"${self.path}.fence", self.fence]}, self.fence]}

    def carried(self, settled_usd: float) -> Doc:
        """What the shard has lost: until now, and with an earlier lease if this is the first write of a later one.

        core/budget.py's `carried_usd` in the database's words.
        """
        earlier = {"$lt": [{"$ifNull": [f"${self.path}.fence", self.fence]}, self.fence]}
        unrecorded = {"$subtract": [f"${self.path}.settled_usd", settled_usd]}
        known = {"$cond": [{"$gt": [unrecorded, TOLERANCE_USD]}, unrecorded, 0.0]}
        left = {"$cond": [earlier, {"$add": [f"${self.path}.in_flight_usd", known]}, 0.0]}
        return {"$add": [{"$ifNull": [f"${self.path}.lost_usd", 0.0]}, left]}

    @property
    def others(self) -> dict[str, Any]:
        usd = {"$cond": [{"$eq": ["$$hold.k", self.key]}, 0.0, "$$hold.v.usd"]}
        holds = {"$objectToArray": "$budget.holds"}
        return {"$sum": {"$map": {"input": holds, "as": "hold", "in": usd}}}
