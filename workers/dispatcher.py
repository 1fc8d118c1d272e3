"""Keep each provider's part of the slots filled with due shards, the fairest first.

The shards collection is the queue's truth; Celery's queue holds a window of it: as many messages as a provider has
free slots. Any process may dispatch: a short lease per provider saves work, the conditional mark decides.

    fill_all     which providers have work, how many slots are whose (core/fairness.py), then each is filled
    make_room    all threads of this process are taken and others wait: who has most goes on without some
    admit        one shard beyond the slots for a batch that has nothing out while others' shards last long
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from workers import metrics
from workers.celery_config import PLAN_QUEUE, SCHEDULES_QUEUE, TICK_S
from workers.core.errors import StoreUnavailable
from workers.core.fairness import (
    Out,
    Sent,
    Waiting,
    choose,
    enough,
    for_newcomers,
    idlers,
    leavers,
    windows,
    within_limits,
)
from workers.core.lanes import Rates
from workers.core.tenancy import TenantRules
from workers.core.tenant_limits import rates_of
from workers.engine.seats import Seats
from workers.observed import OBSERVED
from workers.queue import Queue
from workers.store.mongo import STORE_TROUBLE
from workers.store.stores import Stores
from workers.store.threads import Threads

log = logging.getLogger(__name__)

LOOK_S = 1.0
HOLD_S = 2.0
TRY_AGAIN_S = 0.05
# A free thread takes a message within milliseconds: what has lain for so long waits behind full threads.
OVERDUE_S = 1.0
LOOK_FOR_ROOM_S = 0.5
# A shard without an answer for so long needs its thread less than one that waits for any.
IDLE_S = 2.0
# Of each tenant so many of the oldest shards, and as many that open a batch: enough to find one that is new.
LOOK_FOR_NEWCOMERS = 8
# Of the shards that may go on without a thread, this part may do so for new batches; the rest is for other providers,
# which a stalled one with many batches would keep out otherwise.
NEWCOMERS = 0.25
# So old may be what is known of tenants' weights and limits.
RULES_S = 1.0


@dataclass(slots=True)
class Dispatcher:
    """One per process: `run` and `make_room` in the loop, `nudge` when a slot came free or shards appeared.

    `rates`: of every provider that this process serves.
    """

    stores: Stores
    queue: Queue
    threads: Threads
    owner: str
    rates: Mapping[str, Rates]
    seats: Seats
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)
    _rules: Mapping[str, TenantRules] = field(default_factory=dict)
    _limits_of: Mapping[str, Rates] = field(default_factory=dict)
    _read_rules_at: float = -math.inf

    def nudge(self) -> None:
        """Look again soon."""
        self._nudged.set()

    async def run(self) -> None:
        """Fill at every nudge and every `LOOK_S`, for ever; cancel to stop."""
        admitted_at = 0.0
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._nudged.wait()
            except TimeoutError:
                pass  # due times come, and pauses end, without anyone saying so
            self._nudged.clear()
            try:
                complete = await self.threads.call(self.fill_all)
                if time.monotonic() - admitted_at >= LOOK_S:
                    await self.threads.call(self.admit)
                    admitted_at = time.monotonic()
            except (*STORE_TROUBLE, StoreUnavailable) as error:
                log.warning("cannot dispatch: %s", error)
                continue
            if not complete:
                await asyncio.sleep(
                    TRY_AGAIN_S
                )  # another process is at it; its look may be older than our news
                self._nudged.set()

    async def make_room(self) -> None:
        """Look for those who wait for a thread while others keep them all, for ever; cancel to stop."""
        while True:
            await asyncio.sleep(LOOK_FOR_ROOM_S)
            idle = self.seats.idle(time.monotonic(), IDLE_S)
            if not self.seats.full:
                continue
            try:
                waiting, newcomers = await self.threads.call(self.overdue, OVERDUE_S)
                working = (
                    set() if waiting or not idle else await self.threads.call(self.stores.dispatches.sent)
                )
                leaving = self._leaving(waiting, newcomers, set(working), idle)
                # Threads may have come free while we asked: then the queue is being emptied already.
                if leaving and self.seats.full:
                    self.seats.leave(leaving)
                    await self.threads.call(self.stores.dispatches.unseat, leaving, self.owner)
            except STORE_TROUBLE as error:
                log.warning("cannot see who waits for a thread: %s", type(error).__name__)

    def _leaving(
        self, waiting: Mapping[str, int], newcomers: int, working: set[str], idle: set[str]
    ) -> list[str]:
        seated, room = self.seats.seated(), self.seats.room
        if not waiting:
            return idlers(seated, working, room, idle)
        leaving = leavers(seated, waiting, room, idle)
        spare = room - int(self.seats.threads * (1 - NEWCOMERS))
        return leaving + for_newcomers(seated, leaving, min(spare, newcomers))

    def overdue(self, older_than_s: float) -> tuple[dict[str, int], int]:
        """What waits so long for a thread as one of ours could be, by provider; plans and ticks by queue. Blocking.

        Beside it, how many batches among them have nothing running.
        """
        found = self.stores.dispatches.overdue(older_than_s, self.rates)
        waiting = {provider: sum(batches.values()) for provider, batches in found.items()}
        newcomers = self.stores.dispatches.without_lease(found) if found else 0
        plans = self.stores.dispatches.overdue_plans(older_than_s)
        silent_s = self.stores.chores.beat_silent_s()
        ticks = 0 if silent_s is None or silent_s < TICK_S + older_than_s else self._ticks()
        by_queue = {PLAN_QUEUE: plans, SCHEDULES_QUEUE: ticks}
        return waiting | {name: count for name, count in by_queue.items() if count}, newcomers

    def _ticks(self) -> int:
        """Whether a tick waits: beat may also be silent, or not be run at all."""
        try:
            return self.queue.depth(SCHEDULES_QUEUE)
        except StoreUnavailable:
            return 0

    def fill_all(self) -> bool:
        """Fill every provider that has queued shards. False if another process held one of them. Blocking."""
        queued = self.stores.dispatches.providers_with_work()
        if not queued:
            return True
        pauses, slots = self.stores.pauses.standing(), self.stores.processes.slots()
        going = [name for name in queued if name not in pauses.providers and slots.get(name, 0)]
        sent, without = self.stores.dispatches.sent(), self._without(pauses.tenants, queued)
        due = self._due(going, sent, slots, without)
        # Each against its own slots: not every process serves every provider.
        window = {name: windows(sent, due, slots[name])[name] for name in going}
        # Another's limits are known to those who serve it: they fill it. And who has its window out already is not
        # asked for its lease: that takes two writes, at every nudge.
        ours = [name for name in going if name in self.rates]
        open_ = [name for name in ours if window[name] > sent.get(name, Sent()).shards]
        filled = [self.fill(name, window[name], without) for name in open_]
        return all(filled)

    def admit(self) -> None:
        """Send off a shard of a batch that has none out, for each provider of ours, whatever the window says. Blocking.

        With slow calls a shard lasts for minutes: whoever came first would have all threads for as long.
        """
        dispatches = self.stores.dispatches
        queued = dispatches.providers_with_work()
        ours = self.rates.keys() & set(queued)
        if not ours:
            return
        pauses, slots, sent = self.stores.pauses.standing(), self.stores.processes.slots(), dispatches.sent()
        without = self._without(pauses.tenants, queued)
        for provider in ours:
            served = slots.get(provider, 0)
            most = served + math.ceil(served * NEWCOMERS)
            if provider in pauses.providers or sent.get(provider, Sent()).shards >= most:
                continue
            out = dispatches.out(provider)
            waiting = dispatches.waiting(provider, LOOK_FOR_NEWCOMERS, without=without)
            newcomers = [one for one in waiting if one.batch_id not in out.tokens]
            if newcomers and not dispatches.waits_for_its_limit(provider):
                self._dispatch(provider, newcomers, 1, out)

    def fill(self, provider: str, window: int, without: Collection[str]) -> bool:
        """Dispatch up to the provider's window, nothing of the tenants `without`. Blocking.

        False if another process holds the provider.
        """
        name = f"dispatch:{provider}"
        if not self.stores.elections.hold(name, self.owner, HOLD_S):
            return False
        try:
            out = self.stores.dispatches.out(provider)
            free = window - out.shards
            if free > 0 and not self.stores.dispatches.waits_for_its_limit(provider):
                waiting = self.stores.dispatches.waiting(provider, free, without=without)
                self._dispatch(provider, waiting, free, out)
        finally:
            self.stores.elections.give_up(name, self.owner)
        return True

    def _without(self, paused: Collection[str], queued: Collection[str]) -> Collection[str]:
        """Tenants of which nothing is to be sent off: paused ones, and those that have used up a limit of their own."""
        if time.monotonic() - self._read_rules_at >= RULES_S:
            self._rules, self._read_rules_at = self.stores.tenants.rules(), time.monotonic()
            self._limits_of = rates_of(self._rules)
        return {*paused, *self.stores.dispatches.at_their_limits(queued)} if self._limits_of else paused

    def _due(
        self,
        going: Sequence[str],
        sent: Mapping[str, Sent],
        slots: Mapping[str, int],
        without: Collection[str],
    ) -> dict[str, int]:
        """How many shards each of them could send off; one that is alone has no need to be counted."""
        if len(sent.keys() | set(going)) == 1:
            return {name: slots[name] for name in going}
        dispatches = self.stores.dispatches
        return {
            name: 0
            if dispatches.waits_for_its_limit(name)
            else dispatches.due(name, slots[name], without=without)
            for name in going
        }

    def _dispatch(self, provider: str, waiting: Sequence[Waiting], free: int, out: Out) -> None:
        if not waiting:
            return
        weights = {tenant: rule.weight for tenant, rule in self._rules.items()}
        fair = choose(within_limits(waiting, out, self._limits_of), out.tokens, weights, free)
        chosen = enough(fair, out, self.rates.get(provider, Rates()))
        ours = self.stores.dispatches.dispatch([one.shard_id for one in chosen], secrets.token_hex(8))
        self.queue.publish_shards(provider, ours)
        OBSERVED.count(metrics.SHARDS_DISPATCHED, provider, by=len(ours))
