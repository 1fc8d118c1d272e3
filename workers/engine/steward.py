"""Which shards this process has in its hands: claim them, let each run its errand, tell it what changes around it.

    run_shard(id) -> a seat (seats.py) -> claimed? -> Errand.run (errand.py) -> given back, done, closed, or broken off

One per process. What changes: a drain, an ended or paused batch, a paused provider or tenant, an operator's revoke,
a tenant's limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from structlog.contextvars import bind_contextvars

from workers import metrics
from workers.core import faultpoints, poison
from workers.core.errors import StoreUnavailable
from workers.core.pauses import Standing
from workers.core.tally import Tally
from workers.core.tenant_limits import rates_of
from workers.engine.desk import Desk, StopReason
from workers.engine.errand import Active, Errand
from workers.engine.heartbeat import Heartbeat, Lease
from workers.engine.ports import Link
from workers.engine.reading import Reader
from workers.engine.recorder import Recorder
from workers.engine.seats import Seats
from workers.observed import OBSERVED
from workers.store.mongo import STORE_TROUBLE, Doc
from workers.store.stores import Stores
from workers.store.threads import Threads

log = logging.getLogger(__name__)

READ_FLAGS_EVERY_S = 0.5
LEARN_LIMITS_EVERY_S = 1.0


@dataclass(slots=True)
class Steward:
    """Runs shards by id. `after` is called when a shard has left our hands, so that others can go on.

    `threads_of_celery`: how many shards bring a thread of their own (seats.py).
    """

    stores: Stores
    threads: Threads
    links: Mapping[str, Link]
    heartbeat: Heartbeat
    recorder: Recorder
    reader: Reader
    desk: Desk
    owner: str
    after: Callable[[str, bool], Awaitable[None]]
    threads_of_celery: int
    active: dict[str, Active] = field(default_factory=dict)
    draining: bool = False
    _claiming: int = 0
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    seats: Seats = field(init=False)

    def __post_init__(self) -> None:
        self.seats = Seats(self.threads_of_celery, self._provider_of, self._recorded_of)

    async def run_shard(self, shard_id: object) -> str:
        """Claim a shard and bring it as far as it goes now. Gives what became of it, for logs and Flower.

        It may go on after that, when others wait for its thread.
        """
        if not isinstance(shard_id, str):
            return "no shard id"  # it comes from a message, which anybody may have written
        if self.draining:
            return "draining"
        if shard_id in self.active:
            # Our own lease of it ran out while we slept. That run hears of it from the heartbeat and ends; were
            # the shard claimed here again before, two runs would stand under one name.
            return "still running here"
        self._claiming += 1
        return await self.seats.sit(shard_id, self._run(shard_id))

    async def _run(self, shard_id: str) -> str:
        try:
            return await self._claim_and_run(shard_id)
        finally:
            self._claiming -= 1
            self._left.set()

    async def _claim_and_run(self, shard_id: str) -> str:
        asked_at = time.monotonic()
        faultpoints.passes(faultpoints.BEFORE_CLAIM, shard_id)
        try:
            doc = await self.threads.call(
                self.stores.shards.claim, shard_id, self.owner, self.desk.rules.lease_s
            )
        except STORE_TROUBLE:
            return "no database"  # the message is a hint: the sweeper sends another one
        if doc is None:
            return "not ours"
        faultpoints.passes(faultpoints.CLAIMED, shard_id)
        if shard_id in self.active:
            return "lease left to expire"  # claimed twice in one instant; the other run stands
        # On every line that this run logs from here on, and that its calls do.
        bind_contextvars(shard_id=shard_id, batch_id=doc["batch_id"])
        active = self.active[shard_id] = Active(
            doc["batch_id"], doc["tenant"], doc["provider"], Tally(), stop="drain" if self.draining else None
        )
        lease = self.heartbeat.hold(shard_id, doc["fence"], asked_at, lambda: self._stop(shard_id, "lost"))
        try:
            end = await self._errand(doc, lease, active).run()
        except (*STORE_TROUBLE, StoreUnavailable) as error:
            log.warning("shard %s left to its lease: %s", shard_id, type(error).__name__)
            end = "lease left to expire"
        except Exception:
            log.exception("the run of shard %s broke inside the engine", shard_id)
            end = await self._break_off(doc, lease)
        finally:
            self.heartbeat.drop(lease)
            del self.active[shard_id]
        _log_run(doc, active, end, time.monotonic() - asked_at)
        await self._tell(doc["batch_id"], ended=end in ("done", "closed"))
        return end

    def _errand(self, doc: Doc, lease: Lease, active: Active) -> Errand:
        return Errand(
            self.stores,
            self.threads,
            self.links,
            self.heartbeat,
            self.recorder,
            self.reader,
            self.desk,
            self.after,
            doc,
            lease,
            active,
        )

    async def _break_off(self, doc: Doc, lease: Lease) -> str:
        """Give a shard back whose run broke, as one more that was lost: in the end what breaks it is condemned."""
        with contextlib.suppress(*STORE_TROUBLE):
            # What has been answered must not be asked again: the next lease knows what is recorded.
            await self.recorder.flush()
            rest_s = poison.rest_s(doc["takeovers"])
            held = await self.threads.call(
                self.stores.shards.break_off, doc["_id"], lease.fence, wait_s=rest_s, reason="engine_error"
            )
            return "released: engine_error" if held else "lease lost"
        return "lease left to expire"

    async def _tell(self, batch_id: str, *, ended: bool) -> None:
        try:
            await self.after(batch_id, ended)
        except STORE_TROUBLE as error:
            log.warning("%s: %s; the sweeper looks after it", batch_id, type(error).__name__)
        except Exception:
            log.exception("%s: what follows a shard's end broke; the sweeper looks after it", batch_id)

    async def drain(self) -> None:
        """Start nothing new; give running calls `drain_grace_s`, then cut them; return when no shard is left."""
        self.draining = True
        for shard_id in list(self.active):
            self._stop(shard_id, "drain")
        try:
            async with asyncio.timeout(self.desk.rules.drain_grace_s):
                await self._all_gone()
        except TimeoutError:
            for active in self.active.values():
                if active.run:
                    active.run.cut()
            await self._all_gone()  # what was cut gives its shard back at once

    async def _all_gone(self) -> None:
        while self.active or self._claiming:
            self._left.clear()
            await self._left.wait()

    def revoke(self, shard_id: str) -> bool:
        """Give this shard back at once: its calls are cut off and counted as unknown. False if it is not here."""
        active = self.active.get(shard_id)
        if active is None:
            return False
        self._stop(shard_id, "revoked")
        if active.run:
            active.run.cut()
        return True

    async def read_flags(self) -> None:
        """Tell running shards of ended batches and of pauses, for ever; cancel to stop."""
        while True:
            await asyncio.sleep(READ_FLAGS_EVERY_S)
            wanted = {active.batch_id for active in self.active.values()}
            if not wanted:
                continue
            try:
                flags, standing, capped = await self.threads.call(self._flags, wanted)
            except STORE_TROUBLE:
                continue
            self.desk.heed(standing)
            for shard_id, active in list(self.active.items()):
                # One that was claimed since we asked: of its batch the answer says nothing.
                if active.batch_id in wanted:
                    self._heed(shard_id, active, flags.get(active.batch_id), standing)
                    if active.run and active.account is None and active.tenant in capped:
                        self._stop(shard_id, "capped")  # its next lease holds money under the new ceiling

    async def learn_limits(self) -> None:
        """Go by the limits that tenants have now. Raises whatever the database says."""
        rules = await self.threads.call(self.stores.tenants.rules)
        self.desk.limits.heed(rates_of(rules))

    async def keep_limits(self) -> None:
        """Learn of changed limits, for ever; cancel to stop. Without the database those known last stand."""
        while True:
            await asyncio.sleep(LEARN_LIMITS_EVERY_S)
            with contextlib.suppress(*STORE_TROUBLE):
                await self.learn_limits()

    def _flags(self, batch_ids: set[str]) -> tuple[dict[str, Doc], Standing, set[str]]:
        tenants = {active.tenant for active in list(self.active.values())}
        capped = {tenant for tenant in tenants if self.stores.accounts.cap_usd(tenant) is not None}
        return self.stores.batches.flags(batch_ids), self.stores.pauses.standing(), capped

    def _heed(self, shard_id: str, active: Active, flag: Doc | None, standing: Standing) -> None:
        if flag is None or flag["ending"]:
            self._stop(shard_id, "ending")
        elif flag.get("paused_at"):
            self._stop(shard_id, "paused")
        elif standing.over(active.provider, active.tenant):
            self._stop(shard_id, "held")

    def tally(self, shard_id: str) -> Tally | None:
        """The counts of a running shard, for the recorder; None once it has left."""
        active = self.active.get(shard_id)
        return active.tally if active else None

    def _stop(self, shard_id: str, reason: StopReason) -> None:
        active = self.active.get(shard_id)
        if active:
            active.stop = active.stop or reason
            if active.run:
                active.run.stop(reason)

    def _provider_of(self, shard_id: str) -> str | None:
        active = self.active.get(shard_id)
        return active.provider if active else None

    def _recorded_of(self, shard_id: str) -> int:
        active = self.active.get(shard_id)
        return active.tally.recorded if active else 0


def _log_run(doc: Doc, active: Active, end: str, seconds: float) -> None:
    """The one line about a shard; what it counts is of all its leases, the time of this one."""
    outcome = end.partition(":")[0].replace(" ", "_")
    OBSERVED.time(metrics.SHARD_SECONDS, doc["provider"], outcome, seconds=seconds)
    tally = active.tally
    fields = {
        "provider": doc["provider"],
        "outcome": end,
        "items": doc["size"],
        "recorded": tally.recorded,
        "failed": tally.failed,
        "calls": tally.calls,
        "ms": round(seconds * 1000, 1),
    }
    log.info("shard", extra=fields)
