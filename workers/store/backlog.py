"""How much of a tenant is accepted and not answered yet, over all its batches (`batch_jobs`, `batch_shards`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workers.core.errors import StoreUnavailable
from workers.core.states import TERMINAL_BATCH, BatchStatus
from workers.core.tenancy import rules_in
from workers.store.elections import Elections
from workers.store.mongo import Db, Doc

_ACCEPTED = [str(status) for status in BatchStatus if status not in {*TERMINAL_BATCH, BatchStatus.VALIDATING}]
# A look and one write take milliseconds; who has died in between holds the others up for so long.
TURN_S = 5.0
_LOOKS = 100
_LOOK_AGAIN_S = 0.1


class Backlog:
    """Counts what the workers say in their shards, which is at most a second old."""

    def __init__(self, db: Db) -> None:
        self._batches, self._shards, self._tenants = db["batch_jobs"], db["batch_shards"], db["tenants"]
        self._elections = Elections(db)

    def items(self, tenant: str) -> int:
        """Items of the tenant's batches that are accepted and have no result yet."""
        where: Doc = {"tenant": tenant, "status": {"$in": _ACCEPTED}}
        totals = {row["_id"]: row["total"] for row in self._batches.find(where, {"total": 1})}
        recorded = {"$group": {"_id": None, "recorded": {"$sum": "$counts.recorded"}}}
        rows = list(self._shards.aggregate([{"$match": {"batch_id": {"$in": list(totals)}}}, recorded]))
        return max(0, int(sum(totals.values()) - (rows[0]["recorded"] if rows else 0)))

    def most(self, tenant: str) -> int | None:
        """How many of them the tenant may have; None: as many as it likes."""
        doc = self._tenants.find_one({"_id": tenant}, {"limits": 1})
        return rules_in(doc or {}).limits.max_queued_items

    @contextmanager
    def turn(self, tenant: str, owner: str, wait: Callable[[float], None] = time.sleep) -> Iterator[None]:
        """One at a time adds to the tenant's items, so that two that fit alone are not both let in. Blocking.

        Raises: StoreUnavailable when it does not come to its turn.
        """
        name = f"backlog:{tenant}"
        for _ in range(_LOOKS):
            if self._elections.hold(name, owner, TURN_S):
                break
            wait(_LOOK_AGAIN_S)
        else:
            raise StoreUnavailable(f"no turn to add to the items of tenant {tenant}")
        try:
            yield
        finally:
            self._elections.give_up(name, owner)
