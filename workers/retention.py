"""Take away batches whose retention is over, with all that is theirs: one after the other, a bounded piece a round.

A batch's last move writes its `expire_at` (store/batches.py); from that date on its tenant sees it no more. What it
has goes an hour later, in slices of one range of ids, its document last, so that a crash in between is repeated from
there. No TTL index: it would delete millions of results one by one, at whatever moment, and leave what belongs
together in parts.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from workers.core import faultpoints
from workers.core.identity import view_file_id
from workers.store.mongo import Doc
from workers.store.stores import Stores
from workers.walk import safely

log = logging.getLogger(__name__)

SLICE = 1_000
DOCUMENTS_A_ROUND = 20_000
BATCHES_A_ROUND = 200


@dataclass(slots=True)
class Retention:
    """Blocking; `round` by the sweeper."""

    stores: Stores
    documents_a_round: int = DOCUMENTS_A_ROUND

    def round(self, until: float) -> bool:
        """Take away what there is time (monotonic seconds) and budget for. False if something is left."""
        self.stores.batches.begin_retention(BATCHES_A_ROUND)
        found = {batch["_id"]: batch for batch in self.stores.upkeep.expired(BATCHES_A_ROUND)}
        budget = Budget(self.documents_a_round, until)
        for batch_id in found:
            if budget.spent:
                return False
            safely("retention", batch_id, lambda one: self.take_away(found[one], budget))
        return len(found) < BATCHES_A_ROUND and not budget.spent

    def take_away(self, batch: Doc, budget: Budget) -> None:
        """Go on with one batch (_id, input_file_id) that its tenant sees no more, as far as the budget goes."""
        batch_id, stores = batch["_id"], self.stores
        for delete_some in (stores.results.delete_some, stores.shards.delete_of):
            while removed := delete_some(batch_id, SLICE):
                faultpoints.passes(faultpoints.PART_REMOVED, batch_id)
                budget.spend(removed)
                if budget.spent:
                    return
        stores.files.delete_views([view_file_id(batch_id, which) for which in ("output", "error")])
        faultpoints.passes(faultpoints.PART_REMOVED, batch_id)
        file_id = batch["input_file_id"]
        if not stores.upkeep.inputs_in_use([file_id], besides=batch_id):
            stores.files.drop(file_id)  # only if its user deleted it, or it has expired itself
        stores.outbox.forget([batch_id])
        faultpoints.passes(faultpoints.PART_REMOVED, batch_id)
        stores.batches.remove(batch_id)
        budget.spend(1)
        log.info("%s is over its retention and gone", batch_id)


class Budget:
    """What one round may remove: so many documents, and no longer than until then."""

    def __init__(self, documents: int, until: float) -> None:
        self._left, self._until = documents, until

    def spend(self, documents: int) -> None:
        """So many are removed."""
        self._left -= documents

    @property
    def spent(self) -> bool:
        """Whether it is used up."""
        return self._left <= 0 or time.monotonic() > self._until
