"""The ceiling of a tenant's calendar month (`accounts`): one document for each tenant and month that has one.

An account: _id `<tenant>:2026-11`, tenant, month, budget (holds.py), log and events (batch_log.py). It is made when the
first shard under the ceiling opens it, with what the month has cost until then by the ledger; and brought up to that
when a ceiling comes back that was taken away, since nothing is held without one. A lease belongs to the month in which
it began; the shard's next one, after the turn, opens the account of the next.
"""

from __future__ import annotations

import time
from functools import partial

from workers.core.budget import Room, account_id, month_of
from workers.store.holds import LIMITED, NO_CEILING, Holds
from workers.store.ledger import Ledger
from workers.store.marks import Marks
from workers.store.mongo import Db, Doc, insert_missing
from workers.store.tenants import Tenants

_SPENT: Doc = {"$subtract": ["$$hold.v.settled_usd", "$$hold.v.base_usd"]}
# How long a process may go by the ceiling that it has read.
CAP_FRESH_S = 2.0
# Once for each month, whatever becomes of its ceiling.
_MARKS = Marks("tenant", about="tenant", again=False)


class Accounts(Holds):
    """The money of tenants' months. A tenant without a ceiling costs one look at its rules in two seconds."""

    def __init__(self, db: Db) -> None:
        super().__init__(db["accounts"], _MARKS, from_now=True)
        self._batches, self._tenants, self._ledger = db["batch_jobs"], Tenants(db), Ledger(db)
        self._caps: dict[str, tuple[float, float | None]] = {}
        self._written: dict[str, float | None] = {}

    def cap_usd(self, tenant: str, *, fresh: bool = False) -> float | None:
        """The tenant's ceiling for a month, as it was two seconds ago at most; None without one."""
        now, kept = time.monotonic(), self._caps.get(tenant)
        if not fresh and kept is not None and now - kept[0] < CAP_FRESH_S:
            return kept[1]
        try:
            cap_usd = self._tenants.rules_of(tenant).max_cost_usd_per_month
        except LookupError:
            cap_usd = None
        self._caps[tenant] = now, cap_usd
        return cap_usd

    def open(self, tenant: str, batch: Doc, *, now_s: float) -> str | None:
        """The account under which a shard of this batch holds money from now on; None for a tenant without a ceiling.

        Args:
            batch: its document; that it has held money there is written into it first, for its end (`fold`).
            now_s: Unix seconds, which say the month.
        """
        if self.cap_usd(tenant) is None or (cap_usd := self.cap_usd(tenant, fresh=True)) is None:
            return None
        month = month_of(now_s)
        id_ = account_id(tenant, month)
        if id_ not in batch.get("accounts", ()):
            self._batches.update_one({"_id": batch["_id"]}, {"$addToSet": {"accounts": id_}})
        self._write_cap(id_, cap_usd)
        return id_

    def hold(self, id_: str, shard_id: str, fence: int, *, settled_usd: float, in_flight_usd: float) -> Room:
        """As `Holds.hold`, under the ceiling that the tenant has by now."""
        tenant, hold = id_.rpartition(":")[0], partial(super().hold, id_, shard_id, fence)
        cap_usd = self.cap_usd(tenant)
        if self._written.get(id_) != cap_usd:
            self._write_cap(id_, cap_usd)
        room = hold(settled_usd=settled_usd, in_flight_usd=in_flight_usd)
        if room is NO_CEILING and (cap_usd := self.cap_usd(tenant, fresh=True)) is not None:
            # Another process took it away, and it is back; or the account itself is gone.
            self._write_cap(id_, cap_usd)
            room = hold(settled_usd=settled_usd, in_flight_usd=in_flight_usd)
        return room

    def reached(self, id_: str, *, limit_usd: float) -> None:
        """Say, once a month, that a batch had to rest at this ceiling."""
        self._docs.update_one({"_id": id_, "budget.limit_usd": limit_usd}, [_MARKS.at_rest()])

    def fold(self, id_: str, batch_id: str) -> bool:
        """A batch has ended: what its shards still hold in this account is spent, or lost if nobody knows of it.

        A worker that dies between the end of its shard and that of its hold leaves the hold to nobody.
        """
        prefix = f"s{batch_id}_"
        begins = {"$eq": [{"$substrBytes": ["$$hold.k", 0, len(prefix)]}, prefix]}
        holds = {"$objectToArray": "$budget.holds"}
        mine = {"$filter": {"input": holds, "as": "hold", "cond": begins}}
        rest = {"$filter": {"input": holds, "as": "hold", "cond": {"$not": begins}}}
        lost = {"$add": ["$$hold.v.lost_usd", "$$hold.v.in_flight_usd"]}
        sums: Doc = {
            "budget.spent_usd": {"$add": ["$budget.spent_usd", _sum(mine, _SPENT)]},
            "budget.lost_usd": {"$add": ["$budget.lost_usd", _sum(mine, lost)]},
            "budget.holds": {"$arrayToObject": rest},
        }
        where = {"_id": id_, "$expr": {"$gt": [{"$size": mine}, 0]}}
        return bool(self._docs.update_one(where, [{"$set": sums}, *_MARKS.stages()]).modified_count)

    def get(self, id_: str) -> Doc | None:
        """One account."""
        return self._docs.find_one({"_id": id_})

    def _write_cap(self, id_: str, cap_usd: float | None) -> None:
        self._written[id_] = cap_usd
        if cap_usd is None:
            self._docs.update_one({"_id": id_}, {"$unset": {"budget.limit_usd": ""}})
            return
        limit = {"budget.limit_usd": float(cap_usd)}
        if self._docs.update_one({"_id": id_} | LIMITED, {"$set": limit}).matched_count:
            return
        tenant, _, month = id_.rpartition(":")
        spent_usd = self._ledger.spent_usd(tenant, month)
        # Without a ceiling nothing was held, so the account lacks what was spent meanwhile.
        known = _sum({"$objectToArray": "$budget.holds"}, _SPENT)
        spent = {"$max": ["$budget.spent_usd", {"$subtract": [spent_usd, known]}]}
        back = {"_id": id_, "budget.limit_usd": {"$exists": False}}
        if self._docs.update_one(back, [{"$set": limit | {"budget.spent_usd": spent}}]).matched_count:
            return
        budget = {"limit_usd": float(cap_usd), "spent_usd": spent_usd, "lost_usd": 0.0, "holds": {}}
        # Another process may have made it, or brought the ceiling back, in the same instant.
        insert_missing(self._docs, [{"_id": id_, "tenant": tenant, "month": month, "budget": budget}])


def _sum(holds: Doc, usd: Doc) -> Doc:
    return {"$sum": {"$map": {"input": holds, "as": "hold", "in": usd}}}
