"""Money that shards hold under a ceiling: `budget` in one document, one conditional write of that document each time.

budget: limit_usd, spent_usd and lost_usd (of ended shards), holds {<shard>: {fence, settled_usd, in_flight_usd,
lost_usd, usd, base_usd?}}; a hold's `usd` is what of it counts here.

budgets.py    the ceiling of a batch, in `batch_jobs`
accounts.py   the ceiling of a tenant's month, in `accounts`; there, a shard's `base_usd` is what it had cost before

Amounts are absolute, so every write may be repeated. A shard's lease (its fence) counts: what an earlier lease had
in flight, or had paid for answers that were never recorded, is known to nobody any more; the first write of a later
lease takes it over as lost.
"""

from __future__ import annotations

from math import inf
from typing import Any

from pymongo.collection import Collection
from pymongo.results import UpdateResult

from workers.core.budget import TOLERANCE_USD, Room, room_in
from workers.store.marks import Marks
from workers.store.mongo import Doc

LIMITED: Doc = {"budget.limit_usd": {"$exists": True}}
# The answer of `Holds.hold` where there is none, or no document either.
NO_CEILING = Room(granted=True, free_usd=inf, others_in_flight_usd=0.0, limit_usd=inf)


class Holds:
    """Hold, settle and close the money of shards. Where there is no ceiling nothing is written.

    `from_now`: what a shard had cost before its first hold here does not count here.
    """

    def __init__(self, docs: Collection[Doc], marks: Marks, *, from_now: bool) -> None:
        self._docs, self._marks, self._from_now = docs, marks, from_now

    def hold(self, id_: str, shard_id: str, fence: int, *, settled_usd: float, in_flight_usd: float) -> Room:
        """Reserve before calls start: the shard holds what it has spent plus what it has under way, or nothing new.

        Args:
            id_: the document with the ceiling.
            fence: the lease that will make the calls; one older than the hold's is refused (`superseded`).
            settled_usd: true cost of all that the shard has recorded so far.
            in_flight_usd: estimates of all its calls under way and of those about to start.
        """
        hold = _Hold(id_, shard_id, fence, settled_usd, from_now=self._from_now)
        total = {"$add": ["$budget.spent_usd", "$budget.lost_usd", hold.others, hold.carried, hold.spent]}
        ceiling = {"$add": ["$budget.limit_usd", TOLERANCE_USD]}
        room = {"$lte": [{"$add": [total, in_flight_usd]}, ceiling]}
        if self._write(id_, hold, in_flight_usd, only_if=room).matched_count:
            # Advice is for who was refused: a second look at the document would cost as much as the write.
            return Room(granted=True, free_usd=0.0, others_in_flight_usd=0.0, limit_usd=inf)
        budget = (self._docs.find_one({"_id": id_}, {"budget": 1}) or {}).get("budget")
        if not budget or "limit_usd" not in budget:
            return NO_CEILING
        return room_in(budget, hold.key, fence, settled_usd, from_now=self._from_now)

    def settle(
        self, id_: str, shard_id: str, fence: int, *, settled_usd: float, in_flight_usd: float = 0.0
    ) -> bool:
        """Say what the shard has truly spent, and what is still under way. Never refused for the ceiling.

        False where there is none, and for a lease that is superseded.
        """
        hold = _Hold(id_, shard_id, fence, settled_usd, from_now=self._from_now)
        # Who never held anything here has nothing to settle: a late word must not bring back a hold that has ended.
        held = {"$ne": [{"$type": f"${hold.path}"}, "missing"]} if self._from_now else True
        return bool(self._write(id_, hold, in_flight_usd, only_if=held).matched_count)

    def close(
        self, id_: str, shard_id: str, fence: int, *, settled_usd: float, lost_usd: float = 0.0
    ) -> bool:
        """The shard has ended: its hold leaves the map and is added to what is spent, once.

        Args:
            fence: the lease that ended it.
            lost_usd: estimates of this lease's calls whose outcome nobody knows.
        Returns: False if there was no hold, or none of an older or this lease.
        """
        hold = _Hold(id_, shard_id, fence, settled_usd, from_now=self._from_now)
        where = {"_id": id_, hold.path: {"$exists": True}} | {"$expr": hold.is_ours}
        sums = {
            "budget.spent_usd": {"$add": ["$budget.spent_usd", hold.spent]},
            "budget.lost_usd": {"$add": ["$budget.lost_usd", hold.carried, lost_usd]},
        }
        steps: list[Doc] = [{"$set": sums}, {"$unset": hold.path}, *self._marks.stages()]
        return bool(self._docs.update_one(where, steps).modified_count)

    def _write(self, id_: str, hold: _Hold, in_flight_usd: float, *, only_if: Doc | bool) -> UpdateResult:
        where = {"_id": id_} | LIMITED | {"$expr": {"$and": [hold.is_ours, only_if]}}
        new = {
            "fence": hold.fence,
            "settled_usd": hold.settled_usd,
            "in_flight_usd": in_flight_usd,
            "lost_usd": hold.carried,
            "usd": {"$add": [hold.carried, hold.spent, in_flight_usd]},
        }
        if self._from_now:
            new["base_usd"] = hold.base
        return self._docs.update_one(where, [{"$set": {hold.path: new}}, *self._marks.stages()])


class _Hold:
    """Where a shard's hold stands, and the expressions over it."""

    def __init__(self, id_: str, shard_id: str, fence: int, settled_usd: float, *, from_now: bool) -> None:
        self.fence, self.settled_usd = fence, settled_usd
        # A dot would be a path; a name that begins with a digit could be taken for a place in an array.
        self.key = "s" + shard_id.removeprefix(f"{id_}.").replace(".", "_")
        self.path = f"budget.holds.{self.key}"
        self.base: Any = {"$ifNull": [f"${self.path}.base_usd", settled_usd if from_now else 0.0]}
        self.spent: Doc = {"$subtract": [settled_usd, self.base]}

    @property
    def is_ours(self) -> Doc:
        return {"$lte": [{"$ifNull": [f"${self.path}.fence", self.fence]}, self.fence]}

    @property
    def carried(self) -> Doc:
        """What the shard has lost: until now, and with an earlier lease if this is the first write of a later one.

        core/budget.py's `carried_usd` in the database's words.
        """
        earlier = {"$lt": [{"$ifNull": [f"${self.path}.fence", self.fence]}, self.fence]}
        unrecorded = {"$subtract": [f"${self.path}.settled_usd", self.settled_usd]}
        known = {"$cond": [{"$gt": [unrecorded, TOLERANCE_USD]}, unrecorded, 0.0]}
        left = {"$cond": [earlier, {"$add": [f"${self.path}.in_flight_usd", known]}, 0.0]}
        return {"$add": [{"$ifNull": [f"${self.path}.lost_usd", 0.0]}, left]}

    @property
    def others(self) -> dict[str, Any]:
        usd = {"$cond": [{"$eq": ["$$hold.k", self.key]}, 0.0, "$$hold.v.usd"]}
        holds = {"$objectToArray": "$budget.holds"}
        return {"$sum": {"$map": {"input": holds, "as": "hold", "in": usd}}}
