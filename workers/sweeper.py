"""What was left lying: expired leases, old dispatches, ended windows, plans, batches near their end, uploads.

In every worker and in the API; one acts at a time under a MongoDB lease. Every step is bounded and repeatable, so
two at once would only do the same work twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from workers.celery_config import PLAN_QUEUE, batch_queue
from workers.core.errors import StoreUnavailable
from workers.core.states import BatchStatus
from workers.finalizer import Finalizer
from workers.queue import Queue
from workers.store.mongo import STORE_TROUBLE, Doc
from workers.store.stores import Stores
from workers.store.threads import Threads

log = logging.getLogger(__name__)

PAGE = 500
EMPTY_QUEUE_RECALL_S = 5.0
STALE_UPLOAD_S = 900.0


@dataclass(slots=True)
class Sweeper:
    """`run` in a loop; `sweep` once, blocking."""

    stores: Stores
    finalizer: Finalizer
    queue: Queue
    threads: Threads
    owner: str
    every_s: float
    lease_s: float
    dispatch_timeout_s: float
    _silent_until: float = field(default=0.0)

    async def run(self) -> None:
        """Sweep for ever; cancel to stop."""
        while True:
            await asyncio.sleep(self.every_s)
            try:
                await self.threads.call(self.sweep)
            except STORE_TROUBLE as error:
                # After a gap of our own, workers may be back before their leases look alive to us.
                self._silent_until = time.monotonic() + self.lease_s
                log.warning("cannot sweep: %s", type(error).__name__)

    def sweep(self) -> bool:
        """One round, if it is ours to make. Gives whether it was."""
        if not self.stores.elections.hold("sweep", self.owner, max(2.0, self.every_s * 2)):
            return False
        if time.monotonic() >= self._silent_until:
            expired = self.stores.shards.expire(PAGE)
            if expired:
                log.warning("%d shards taken back from workers that fell silent", expired)
        self._recall()
        self._move_batches()
        for file_id in self.stores.files.stale_uploads(STALE_UPLOAD_S, PAGE):
            self.stores.files.abandon(file_id)
        self.stores.processes.forget_dead()
        return True

    def _recall(self) -> None:
        for provider in self.stores.dispatches.providers_dispatched():
            try:
                empty = self.queue.depth(batch_queue(provider)) == 0
            except StoreUnavailable:
                continue  # no broker, no republishing; the next round sees
            self.stores.dispatches.recall(
                provider, EMPTY_QUEUE_RECALL_S if empty else self.dispatch_timeout_s
            )

    def _move_batches(self) -> None:
        after = ""
        while page := self.stores.batches.unfinished(after, PAGE):
            for batch in page:
                self._move(batch)
            after = page[-1]["_id"]

    def _move(self, batch: Doc) -> None:
        batch_id = batch["_id"]
        status = BatchStatus(batch["status"])
        if status is BatchStatus.IN_PROGRESS and not batch["ending"]:
            self.stores.batches.end_window(batch_id)
        self._rest_or_go_on(batch)
        if not batch["ending"] and not batch.get("plan", {}).get("opened"):
            self._republish_plan(batch_id)
        else:
            self.finalizer.advance(batch_id)

    def _rest_or_go_on(self, batch: Doc) -> None:
        """A worker may hear of a pause, or of its end, half a second late and leave its shard the wrong way."""
        if batch.get("paused_at"):
            self.stores.shards.hold_back(batch["_id"])
        elif batch.get("in_progress_at"):
            self.stores.shards.let_go(batch["_id"])

    def _republish_plan(self, batch_id: str) -> None:
        try:
            if self.queue.depth(PLAN_QUEUE) == 0:
                self.queue.publish_plan(batch_id)
        except StoreUnavailable as error:
            log.warning("cannot publish the plan of %s: %s", batch_id, error)
