"""Short leases by name, for economy: who sweeps, who dispatches for a provider.

Nothing depends on there being one holder only; two would do the same work twice, and every write of theirs is
conditional.
"""

from __future__ import annotations

from workers.store.mongo import EPOCH, NOW, Db, after_s


class Elections:
    """`hold` a name for some seconds, `give_up` when done."""

    def __init__(self, db: Db) -> None:
        self._leases = db["elections"]

    def hold(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew the lease; False while someone else holds it."""
        free = {"_id": name, "$or": [{"owner": owner}, {"$expr": {"$lte": ["$until", NOW]}}]}
        taken = [{"$set": {"owner": owner, "until": after_s(seconds)}}]
        if self._leases.update_one(free, taken).matched_count:
            return True
        # An upsert's filter may not hold an $expr: the first holder of a name makes its document here.
        fresh = {"_id": name, "owner": "", "until": EPOCH}
        made = self._leases.update_one({"_id": name}, {"$setOnInsert": fresh}, upsert=True).upserted_id
        return made is not None and bool(self._leases.update_one(free, taken).matched_count)

    def give_up(self, name: str, owner: str) -> None:
        """Let the next one have it at once."""
        self._leases.update_one({"_id": name, "owner": owner}, {"$set": {"until": EPOCH}})
