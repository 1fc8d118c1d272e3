"""Erase tenants: everything that one has, then its document, a bounded piece a round.

`Tenants.begin_erasing` marks the tenant, and from then on no key of its works. A round ends its batches, takes ended
ones away as retention does, then its files, then every other document that names it. What is under way elsewhere
(a call, an upload) may still bring something forth, so the tenant's document is the last to go and stays for a while:
as long as it is there, every round looks again. Broken off anywhere, the next round goes on.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from workers.finalizer import Finalizer
from workers.retention import BATCHES_A_ROUND, DOCUMENTS_A_ROUND, SLICE, Budget, Retention
from workers.store.stores import Stores
from workers.store.tenants import DEFAULT_TENANT, LINGERS_S
from workers.walk import PAGE, safely

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erasure:
    """Blocking; `round` by the sweeper, and once by the API where somebody asks for it. Two at once do no harm."""

    stores: Stores
    finalizer: Finalizer
    lingers_s: float = LINGERS_S

    def round(self, until: float) -> bool:
        """Go on with every marked tenant until then (monotonic seconds). False if there is more to do at once."""
        done = True
        for tenant in self.stores.tenants.erasing():
            done &= self.erase(tenant, until)
        return done

    def erase(self, tenant: str, until: float) -> bool:
        """Go on with one marked tenant. False if there is more to do at once."""
        self._end_batches(tenant, until)
        if not self._take_batches(tenant, until):
            return False
        # Workers may read the input of a batch until it has ended.
        if self.stores.belongings.has_batches(tenant):
            return True
        if not (self._take_files(tenant, until) and self._take_rest(tenant, until)):
            return False
        self.stores.pauses.resume("tenant", tenant, by=DEFAULT_TENANT)
        if self.stores.tenants.remove(tenant, marked_s=self.lingers_s):
            log.info("tenant %s is erased", tenant)
        return True

    def _end_batches(self, tenant: str, until: float) -> None:
        def end(batch_id: str) -> None:
            self.stores.batches.cancel(batch_id)
            self.finalizer.advance(batch_id, within_s=max(0.0, until - time.monotonic()))

        for batch_id in self.stores.belongings.live(tenant, PAGE):
            if time.monotonic() > until:
                return
            safely("erasure", batch_id, end)

    def _take_batches(self, tenant: str, until: float) -> bool:
        retention, budget = Retention(self.stores), Budget(DOCUMENTS_A_ROUND, until)
        found = {batch["_id"]: batch for batch in self.stores.belongings.let_go(tenant, BATCHES_A_ROUND)}
        for batch_id in found:
            if budget.spent:
                return False
            safely("erasure", batch_id, lambda one: retention.take_away(found[one], budget))
        return len(found) < BATCHES_A_ROUND and not budget.spent

    def _take_files(self, tenant: str, until: float) -> bool:
        found = self.stores.belongings.files(tenant, PAGE)
        for file_id in found:
            if time.monotonic() > until:
                return False
            safely("erasure", file_id, self.stores.belongings.remove_file)
        return len(found) < PAGE

    def _take_rest(self, tenant: str, until: float) -> bool:
        while self.stores.recorded.let_go(tenant, SLICE):
            if time.monotonic() > until:
                return False
        while self.stores.belongings.remove_rest(tenant, SLICE):
            if time.monotonic() > until:
                return False
        return True
