"""Bring a batch to its final state once all its shards have ended.

    all done            in_progress -> finalizing -> completed
    ending cancelled    cancelling -> cancelled
    ending expired      in_progress -> expired

Every step can be repeated: counts are made again from the results, file ids are derived, moves are conditional.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from workers.core import savings, states
from workers.core.budget import ended
from workers.core.identity import view_file_id
from workers.core.recorded import recorded_rows
from workers.core.states import BatchStatus, Ending
from workers.core.tally import Tally, total
from workers.engine.closing import close_free
from workers.store.stores import Stores

CLOSE_AT_ONCE = 100
# A batch that ends early may have thousands of shards to close. Every shard of it that ends in a worker would do so to
# its end, and every cancel in the API, on the threads by which leases are renewed and requests are answered: they give
# it this time, and the sweeper alone does what that leaves.
CLOSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Finalizer:
    """Blocking: call it on a store thread."""

    stores: Stores

    def advance(self, batch_id: str, *, within_s: float = math.inf) -> BatchStatus | None:
        """Take a batch as far towards its end as it goes now; gives its state, None if there is no such batch.

        `within_s`: begin nothing after this; a batch with many shards to close is then left for the next call.
        """
        until = time.monotonic() + within_s
        batch = self.stores.batches.get(batch_id)
        if batch is None:
            return None
        status = BatchStatus(batch["status"])
        if states.is_terminal(status):
            return status
        if batch["ending"] in (Ending.CANCELLED, Ending.EXPIRED):
            return self._end_early(batch, Ending(batch["ending"]), until)
        if status is BatchStatus.VALIDATING or not batch.get("plan", {}).get("opened"):
            return status
        if not self._all_ended(batch_id):
            return status
        if status is BatchStatus.IN_PROGRESS and not self.stores.batches.finalize(batch_id):
            return status  # a cancel or the window's end came first; the next look follows it
        return self._complete(batch)

    def _all_ended(self, batch_id: str) -> bool:
        shards = self.stores.shards
        if shards.any_open(batch_id):
            return False
        # A parent that promised children and vanished: without them their items would have no result.
        for parent in self.stores.upkeep.parents(batch_id):
            shards.insert_missing_children(parent)
        return not shards.any_open(batch_id)

    def _complete(self, batch: dict[str, Any]) -> BatchStatus:
        final = self._final(batch)
        self.stores.batches.end(states.COMPLETE, batch["_id"], final)
        return BatchStatus.COMPLETED

    def _end_early(self, batch: dict[str, Any], ending: Ending, until: float) -> BatchStatus:
        batch_id = batch["_id"]
        status = BatchStatus(batch["status"])
        move = states.END_CANCELLED if ending is Ending.CANCELLED else states.END_EXPIRED
        if batch.get("in_progress_at") is None:
            # No item was ever accepted: there is nothing to close, and nothing to count.
            self.stores.shards.delete_of(batch_id)
            self.stores.results.delete_of(batch_id)
            self.stores.batches.end(move, batch_id, {"counts": Tally().as_dict(), "booked": True})
            return move.target
        while waiting := self.stores.shards.to_close(batch_id, CLOSE_AT_ONCE):
            if time.monotonic() > until:
                return status
            close_free(self.stores, waiting, batch, ending)
        if not self._all_ended(batch_id):
            return status
        self.stores.batches.end(move, batch_id, self._final(batch))
        return move.target

    def _final(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What the last write holds: counts made again from the results, and the files that exist.

        The ledger's row is written here, before that write says that it is there (`booked`).
        """
        batch_id = batch["_id"]
        by_shard = self.stores.results.shares(batch_id)
        counts = total(by_shard.values())
        summed = self.stores.shards.summed(batch_id)
        final: dict[str, Any] = {
            "counts": summed.as_dict(counts),
            "output_file_id": None,
            "error_file_id": None,
            "booked": True,
        }
        providers = self.stores.shards.providers_of(shard_id for shard_id, _ in by_shard)
        recorded = recorded_rows(by_shard, providers, summed.repeated)
        self.stores.ledger.book(batch, savings.shares(by_shard, providers), recorded)
        if batch.get("budget") or batch.get("accounts"):
            # As it is now, since a shard settles after it has ended; a hold whose worker died before that ends here.
            fresh = self.stores.batches.get(batch_id) or batch
            if fresh.get("budget"):
                final["budget"] = ended(fresh["budget"], counts.cost_usd)
            for account in fresh.get("accounts", ()):
                self.stores.accounts.fold(account, batch_id)
        kept_s = self.stores.batches.retention_s(batch["tenant"])
        # They go with their batch at the latest: what was asked for can only be shorter.
        shown_s = min(kept_s, batch.get("output_expires_after_s", math.inf))
        for which, size in (("output", counts.output_bytes), ("error", counts.error_bytes)):
            if size:
                file_id = view_file_id(batch_id, which)
                self.stores.files.put_view(
                    file_id,
                    batch["tenant"],
                    batch_id,
                    which=which,
                    size_bytes=size,
                    kept_s=shown_s,
                )
                final[f"{which}_file_id"] = file_id
        return final
