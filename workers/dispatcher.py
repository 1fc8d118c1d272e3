"""Keep each provider's free slots filled with due shards, the fairest first.

The shards collection is the queue's truth; Celery's queue holds a window of it: as many messages as there are
free slots. Any process may dispatch: a short lease per provider saves work, the conditional mark decides.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.core.errors import StoreUnavailable
from workers.core.fairness import Out, choose, enough
from workers.core.lanes import Rates
from workers.queue import Queue
from workers.store.mongo import STORE_TROUBLE
from workers.store.stores import Stores
from workers.store.threads import Threads

log = logging.getLogger(__name__)

TICK_S = 1.0
HOLD_S = 2.0
TRY_AGAIN_S = 0.05


@dataclass(slots=True)
class Dispatcher:
    """One per process: `run` in the loop, `nudge` when a slot came free or shards appeared."""

    stores: Stores
    queue: Queue
    threads: Threads
    owner: str
    rates: Mapping[str, Rates]
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)

    def nudge(self) -> None:
        """Look again soon."""
        self._nudged.set()

    async def run(self) -> None:
        """Fill at every nudge and every second, for ever; cancel to stop."""
        while True:
            try:
                async with asyncio.timeout(TICK_S):
                    await self._nudged.wait()
            except TimeoutError:
                pass  # the tick: due times come without anyone saying so
            self._nudged.clear()
            try:
                complete = await self.threads.call(self.fill_all)
            except (*STORE_TROUBLE, StoreUnavailable) as error:
                log.warning("cannot dispatch: %s", error)
                continue
            if not complete:
                await asyncio.sleep(
                    TRY_AGAIN_S
                )  # another process is at it; its look may be older than our news
                self._nudged.set()

    def fill_all(self) -> bool:
        """Fill every provider that has queued shards. False if another process held one of them. Blocking."""
        waiting = self.stores.dispatches.providers_with_work()
        if not waiting:
            return True
        slots = self.stores.processes.slots()
        filled = [self.fill(provider, slots.get(provider, 0)) for provider in waiting]
        return all(filled)

    def fill(self, provider: str, slots: int) -> bool:
        """Dispatch up to the provider's free slots. False if another process holds the provider. Blocking."""
        if slots == 0:
            return True
        name = f"dispatch:{provider}"
        if not self.stores.elections.hold(name, self.owner, HOLD_S):
            return False
        try:
            out = self.stores.dispatches.out(provider)
            free = slots - out.shards
            if free > 0 and not self.stores.dispatches.waits_for_its_limit(provider):
                self._dispatch(provider, free, out)
        finally:
            self.stores.elections.give_up(name, self.owner)
        return True

    def _dispatch(self, provider: str, free: int, out: Out) -> None:
        waiting = self.stores.dispatches.waiting(provider, per_tenant=free)
        if not waiting:
            return
        fair = choose(waiting, out.tokens, self.stores.tenants.weights(), free)
        chosen = enough(fair, out, self.rates.get(provider, Rates()))
        ours = self.stores.dispatches.dispatch([one.shard_id for one in chosen], secrets.token_hex(8))
        self.queue.publish_shards(provider, ours)
