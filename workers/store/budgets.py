"""The ceiling of one batch (`budget` in its document of `batch_jobs`), and how a batch comes to rest at a ceiling.

holds.py keeps the sums, marks.py says what passes them.
"""

from __future__ import annotations

from workers.core.budget import BUDGET, TENANT_BUDGET
from workers.store.batch_log import logged
from workers.store.holds import Holds
from workers.store.marks import Marks
from workers.store.mongo import NOW, NOW_S, Db, Doc

# A ceiling that somebody raised is another one.
_MARKS = Marks("batch", about="_id", again=True)


class Budgets(Holds):
    """The money of batches. For a batch without a ceiling nothing is written."""

    def __init__(self, db: Db) -> None:
        super().__init__(db["batch_jobs"], _MARKS, from_now=False)

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
        where = _running(batch_id) | {"budget.limit_usd": limit_usd}
        new = {"paused_at": NOW_S, "pause_reason": BUDGET} | logged("batch.paused", {"reason": BUDGET})
        return bool(self._docs.update_one(where, [{"$set": new}, _MARKS.at_rest()]).modified_count)

    def pause_for_tenant(self, batch_id: str, account: str, *, limit_usd: float) -> bool:
        """Let a running batch rest at the ceiling of its tenant's month: `tenant_budget` keeps which, and how high.

        True if this write paused it. The sweeper lets it go on (`go_on`).
        """
        why = {"reason": TENANT_BUDGET, "account": account, "limit_usd": limit_usd}
        rests = {"account": {"$literal": account}, "limit_usd": limit_usd}
        new: Doc = {"paused_at": NOW_S, "pause_reason": TENANT_BUDGET, "tenant_budget": rests}
        steps = [{"$set": new | logged("batch.paused", why)}]
        return bool(self._docs.update_one(_running(batch_id), steps).modified_count)

    def resting_for_tenant(self, after: str, limit: int) -> list[Doc]:
        """Batches that rest at their tenant's ceiling, by id: tenant and tenant_budget of each, and what time it is."""
        where = {"ending": None, "paused_at": {"$gt": 0}, "_id": {"$gt": after}}
        found = self._docs.find(
            where | {"pause_reason": TENANT_BUDGET, "status": "in_progress"},
            {"tenant": 1, "tenant_budget": 1, "now": NOW},
        )
        return list(found.sort("_id", 1).limit(limit))

    def go_on(self, batch_id: str, rests: Doc) -> bool:
        """End the rest of a batch at this ceiling of its tenant; its shards are let go by their own write."""
        where = {"_id": batch_id, "pause_reason": TENANT_BUDGET, "tenant_budget": rests}
        new: Doc = {"paused_at": None, "pause_reason": None, "tenant_budget": None}
        news = logged("batch.resumed", {"reason": TENANT_BUDGET})
        return bool(self._docs.update_one(where, [{"$set": new | news}]).modified_count)


def _running(batch_id: str) -> Doc:
    return {"_id": batch_id, "status": "in_progress", "ending": None, "paused_at": None}
