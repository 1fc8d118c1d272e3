"""Give shards back that shall not run here: because an operator says so, or because this process ends.

Flower's Terminate and Revoke, and messages that came when the drain had begun, end here. Nothing is lost by it: a
shard goes back to `queued`, and any process may have it next.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from dataclasses import dataclass

from workers.engine.errand import REVOKED_REST_S
from workers.engine.steward import Steward
from workers.store.dispatches import Dispatches
from workers.store.mongo import STORE_TROUBLE
from workers.store.threads import Threads

log = logging.getLogger(__name__)


@dataclass(slots=True)
class GivingBack:
    """One per process; its methods may be called from any thread and return at once."""

    steward: Steward
    dispatches: Dispatches
    threads: Threads
    loop: asyncio.AbstractEventLoop

    def revoke(self, shard_id: str) -> Future[None]:
        """Cut the shard's calls here, or take back its message; it rests 10 s. The future ends once that is written
        or begun."""
        return asyncio.run_coroutine_threadsafe(self._revoke(shard_id), self.loop)

    def unstarted(self, shard_id: str) -> Future[None]:
        """A message came too late to be worked on: its shard goes to the next process at once, not after 60 s."""
        return asyncio.run_coroutine_threadsafe(self._return(shard_id, rest_s=0.0, reason=None), self.loop)

    async def _revoke(self, shard_id: str) -> None:
        if not self.steward.revoke(shard_id):
            await self._return(shard_id, rest_s=REVOKED_REST_S, reason="revoked")
            self.steward.revoke(shard_id)  # it may have been claimed while we asked

    async def _return(self, shard_id: str, *, rest_s: float, reason: str | None) -> None:
        try:
            await self.threads.call(self.dispatches.take_back, shard_id, rest_s=rest_s, reason=reason)
        except STORE_TROUBLE as error:
            log.warning("shard %s left to its recall: %s", shard_id, type(error).__name__)
