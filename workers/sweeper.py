"""What was left lying: expired leases, old dispatches, ended windows, plans, batches near their end, uploads, events.

In every worker, and in the API for when none lives; one acts at a time under a MongoDB lease. Every step is bounded and
repeatable, so two at once would only do the same work twice. Steps look by index at what needs them, and page by id
from where the last round stopped (walk.py); retention.py, erasure.py and orphans.py are steps of their own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from workers import metrics
from workers.celery_config import PLAN_QUEUE, batch_queue
from workers.core.budget import account_id, goes_on, month_of
from workers.core.errors import StoreUnavailable
from workers.core.silence import Clocks, overslept, silent_until
from workers.erasure import Erasure
from workers.finalizer import Finalizer
from workers.observed import OBSERVED
from workers.orphans import Orphans
from workers.queue import Queue
from workers.retention import Retention
from workers.store.mongo import STORE_TROUBLE
from workers.store.stores import Stores
from workers.store.threads import Threads
from workers.walk import PAGE, Walk, safely

log = logging.getLogger(__name__)

PLANS_AT_ONCE = 20
EMPTY_QUEUE_RECALL_S = 5.0
STALE_UPLOAD_S = 900.0  # the setting's default, for whoever has no settings
# One step's time in a round. A round that leaves work behind is followed by the next one sooner.
STEP_S = 1.0
SOONER = 10


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
    stale_upload_s: float = STALE_UPLOAD_S
    # The API answers requests meanwhile: closing a million items would make every one of them wait.
    if_no_worker_lives: bool = False
    _silent_until: float = 0.0
    _looked: Clocks | None = None
    _behind: bool = False
    _walks: dict[str, Walk] = field(default_factory=dict)
    _retention: Retention = field(init=False)
    _orphans: Orphans = field(init=False)
    _erasure: Erasure = field(init=False)

    def __post_init__(self) -> None:
        self._retention, self._orphans = Retention(self.stores), Orphans(self.stores)
        self._erasure = Erasure(self.stores, self.finalizer)

    async def run(self) -> None:
        """Sweep for ever; cancel to stop."""
        while True:
            wait_s = self.every_s / SOONER if self._behind else self.every_s
            self._notice_gap(STEP_S)
            await asyncio.sleep(wait_s)
            self._notice_gap(wait_s)
            try:
                await self.threads.call(self.sweep)
            except STORE_TROUBLE as error:
                # After a gap of our own, workers may be back before their leases look alive to us.
                self._silent_until = silent_until(self._silent_until, _clocks(), self.lease_s)
                log.warning("cannot sweep: %s", type(error).__name__)

    def sweep(self) -> bool:
        """One round, if it is ours to make. Gives whether it was.

        Raises: STORE_TROUBLE if the database is away; whatever else is wrong with a step stops no other.
        """
        if self.if_no_worker_lives and self.stores.processes.count():
            return False
        hold_s = max(2.0, self.every_s * 2)
        held_at = time.monotonic()
        if not self.stores.elections.hold("sweep", self.owner, hold_s):
            return False
        self._behind, began = False, held_at
        for name, step in self._steps().items():
            if time.monotonic() - held_at > hold_s / 2:
                held_at = time.monotonic()
                if not self.stores.elections.hold("sweep", self.owner, hold_s):
                    break
            self._notice_gap(STEP_S)
            safely("sweep", name, partial(_for_a_while, step))
        OBSERVED.time(metrics.SWEEP_SECONDS, seconds=time.monotonic() - began)
        return True

    def _steps(self) -> dict[str, Callable[[float], object]]:
        return {
            "leases": self._expire,
            "dispatches": self._recall,
            "windows": self._end_windows,
            "endings": self._end,
            "plans": self._plan,
            "pauses": self._rest_or_go_on,
            "months": self._try_again,
            "batches": self._complete,
            "uploads": self._abandon,
            "outbox": self._collect,
            "ledger": self._sum_up,
            "retention": self._retain,
            "erasure": self._erase,
            "orphans": self._orphans.round,
            "workers": lambda _: self.stores.processes.forget_dead(),
        }

    # --- silence

    def _notice_gap(self, asked_s: float) -> None:
        """A machine that was asleep, or a stopped process, must not take for dead who was asleep with it."""
        now = _clocks()
        if self._looked is not None and overslept(asked_s, self._looked, now, self.lease_s):
            self._silent_until = silent_until(self._silent_until, now, self.lease_s)
            log.warning("this process stood still; it takes no lease away for %g s", self.lease_s)
        self._looked = now

    # --- steps; each ends by itself at `until`, monotonic seconds

    def _expire(self, until: float) -> None:
        if time.monotonic() < self._silent_until:
            return
        expired, more = 0, True
        while more and time.monotonic() < until:
            page = self.stores.shards.expire(PAGE)
            expired, more = expired + page, page == PAGE
        self._behind |= more
        if expired:
            OBSERVED.count(metrics.SWEEP_TAKEN, "leases", by=expired)
            log.warning("%d shards taken back from workers that fell silent", expired)

    def _recall(self, until: float) -> None:
        for provider in self.stores.dispatches.providers_dispatched():
            if time.monotonic() > until:
                return  # a broker that is silent takes seconds to say nothing, and leases run out meanwhile
            try:
                empty = self.queue.depth(batch_queue(provider)) == 0
            except StoreUnavailable:
                continue  # no broker, no republishing; the next round sees
            timeout_s = EMPTY_QUEUE_RECALL_S if empty else self.dispatch_timeout_s
            if recalled := self.stores.dispatches.recall(provider, timeout_s):
                OBSERVED.count(metrics.SWEEP_TAKEN, "dispatches", by=recalled)

    def _end_windows(self, until: float) -> None:
        more = True
        while more and time.monotonic() < until:
            more = len(self.stores.batches.end_windows(PAGE)) == PAGE
        self._behind |= more

    def _end(self, until: float) -> None:
        def end(batch_id: str) -> None:
            self.finalizer.advance(batch_id, within_s=max(0.0, until - time.monotonic()))

        walked = self._walk("endings").each(self.stores.upkeep.ending, end, until)
        # Also where the last one took the rest of the time: it may not have ended.
        self._behind |= not walked or time.monotonic() > until

    def _complete(self, until: float) -> None:
        """Batches whose last shard's worker died before it could say so."""
        upkeep, walk, more = self.stores.upkeep, self._walk("batches"), True
        while more and time.monotonic() < until:
            page = walk.page(upkeep.running, PAGE)
            for batch_id in upkeep.without_open_shards(page):
                OBSERVED.count(metrics.SWEEP_TAKEN, "batches")
                safely(walk.name, batch_id, self.finalizer.advance)
            more = len(page) == PAGE

    def _plan(self, _: float) -> None:
        try:
            if self.queue.depth(PLAN_QUEUE) == 0:
                for batch_id in self._walk("plans").page(self.stores.upkeep.to_plan, PLANS_AT_ONCE):
                    self.queue.publish_plan(batch_id)
        except StoreUnavailable as error:
            log.warning("cannot publish plans: %s", error)

    def _rest_or_go_on(self, until: float) -> None:
        """A worker may hear of a pause, or of its end, half a second late and leave its shard the wrong way."""
        shards, upkeep = self.stores.shards, self.stores.upkeep

        def go_on(batch_id: str) -> None:
            if upkeep.awake([batch_id]):
                shards.let_go(batch_id)

        self._walk("held back").each(upkeep.held_back, go_on, until)
        self._walk("paused").each(upkeep.paused, shards.hold_back, until)

    def _try_again(self, until: float) -> None:
        """Batches that rest at their tenant's ceiling go on when the month turns, or the ceiling is raised."""
        budgets, shards, after, more = self.stores.budgets, self.stores.shards, "", True
        while more and time.monotonic() < until:
            page = budgets.resting_for_tenant(after, PAGE)
            for batch in page:
                tenant, rests, after = batch["tenant"], batch["tenant_budget"], batch["_id"]
                cap_usd = self.stores.accounts.cap_usd(tenant)
                account = account_id(tenant, month_of(batch["now"].timestamp()))
                if goes_on(rests, account, cap_usd) and budgets.go_on(after, rests):
                    shards.let_go(after)
            more = len(page) == PAGE

    def _abandon(self, until: float) -> None:
        for file_id in self.stores.files.stale_uploads(self.stale_upload_s, PAGE):
            if time.monotonic() > until:
                return
            safely("uploads", file_id, self.stores.files.abandon)
            OBSERVED.count(metrics.SWEEP_TAKEN, "uploads")

    def _collect(self, until: float) -> None:
        while self.stores.outbox.collect(PAGE) == PAGE and time.monotonic() < until:
            pass

    def _sum_up(self, until: float) -> None:
        """So that nobody who asks what batches have cost has to wait for a sum of all of them."""

        def sum_up(tenant: str) -> None:
            while self.stores.ledger.sum_up(tenant):
                if time.monotonic() > until:
                    self._behind = True
                    return

        self._walk("ledger").each(self.stores.ledger.tenants, sum_up, until)
        while time.monotonic() < until and self.stores.recorded.fold():
            pass

    def _retain(self, until: float) -> None:
        self._behind |= not self._retention.round(until)

    def _erase(self, until: float) -> None:
        self._behind |= not self._erasure.round(until)

    def _walk(self, name: str) -> Walk:
        return self._walks.setdefault(name, Walk(name))


def _for_a_while(step: Callable[[float], object], _: str) -> None:
    step(time.monotonic() + STEP_S)


def _clocks() -> Clocks:
    return Clocks(wall=time.time(), monotonic=time.monotonic())
