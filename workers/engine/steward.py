"""From a shard's id to its end in the database: claim, make ready, run, then finish, park, release or close.

    run_shard(id) -> claimed? -> missing children -> poison? -> lines -> ShardRun.run -> done | queued | closed

One per process. It also tells running shards what changes around them: a drain, an ended or paused batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from workers.core import faultpoints, handover, poison
from workers.core.choose import Chosen
from workers.core.price import load_lists
from workers.core.states import Ending
from workers.core.tally import Tally
from workers.engine.closing import close_shard
from workers.engine.desk import Desk, Ran, StopReason
from workers.engine.heartbeat import Heartbeat, Lease
from workers.engine.ports import Link
from workers.engine.purse import Purse
from workers.engine.reading import Reader, Target, held_of
from workers.engine.recorder import Recorder
from workers.engine.running import Writes
from workers.engine.shard import ShardRun
from workers.engine.work import Work
from workers.store.mongo import STORE_TROUBLE
from workers.store.stores import Stores
from workers.store.threads import Threads

log = logging.getLogger(__name__)

READ_FLAGS_EVERY_S = 0.5
_FOR_EVER = -1.0


@dataclass(slots=True)
class Active:
    """A shard in the hands of this process."""

    batch_id: str
    tally: Tally
    run: ShardRun | None = None
    stop: StopReason | None = None
    purse: Purse | None = None


@dataclass(slots=True)
class Steward:
    """Runs shards by id. `after` is called when a shard has left our hands, so that others can go on."""

    stores: Stores
    threads: Threads
    links: Mapping[str, Link]
    heartbeat: Heartbeat
    recorder: Recorder
    reader: Reader
    desk: Desk
    owner: str
    after: Callable[[str, bool], Awaitable[None]]
    active: dict[str, Active] = field(default_factory=dict)
    draining: bool = False
    _claiming: int = 0
    _left: asyncio.Event = field(default_factory=asyncio.Event)

    async def run_shard(self, shard_id: str) -> str:
        """Claim a shard and bring it as far as it goes now. Gives what became of it, for logs and Flower."""
        if self.draining:
            return "draining"
        if shard_id in self.active:
            # Our own lease of it ran out while we slept. That run hears of it from the heartbeat and ends; were
            # the shard claimed here again before, two runs would stand under one name.
            return "still running here"
        self._claiming += 1
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
        active = self.active[shard_id] = Active(
            doc["batch_id"], Tally(), stop="drain" if self.draining else None
        )
        lease = self.heartbeat.hold(shard_id, doc["fence"], asked_at, lambda: self._stop(shard_id, "lost"))
        try:
            end = await self._bring_to_an_end(doc, lease, active)
        except STORE_TROUBLE as error:
            log.warning("shard %s left to its lease: %s", shard_id, type(error).__name__)
            end = "lease left to expire"
        finally:
            self.heartbeat.drop(lease)
            del self.active[shard_id]
        with contextlib.suppress(*STORE_TROUBLE):
            await self.after(doc["batch_id"], end in ("done", "closed"))
        return end

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

    async def read_flags(self) -> None:
        """Tell running shards of ended and paused batches, for ever; cancel to stop."""
        while True:
            await asyncio.sleep(READ_FLAGS_EVERY_S)
            wanted = {active.batch_id for active in self.active.values()}
            if not wanted:
                continue
            try:
                flags = await self.threads.call(self.stores.batches.flags, wanted)
            except STORE_TROUBLE:
                continue
            for shard_id, active in list(self.active.items()):
                if active.batch_id not in wanted:
                    continue  # claimed since we asked: of its batch the answer says nothing
                flag = flags.get(active.batch_id)
                if flag is None or flag["ending"]:
                    self._stop(shard_id, "ending")
                elif flag.get("paused_at"):
                    self._stop(shard_id, "paused")

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

    # --- the way of one shard

    async def _bring_to_an_end(self, doc: dict[str, Any], lease: Lease, active: Active) -> str:
        batch = await self.threads.call(self.stores.batches.get, doc["batch_id"])
        if batch is None:
            return "batch is gone"
        await self.threads.call(self.stores.shards.insert_missing_children, doc)
        if batch["ending"]:
            return await self._close(doc, batch)
        if batch.get("paused_at"):
            active.stop = active.stop or "paused"  # it was moved here, or its lease ended, after the pause
        link = self.links.get(doc["provider"])
        if link is None:
            await self.heartbeat.patiently(
                lease,
                lambda: self.stores.shards.release(doc["_id"], lease.fence, wait_s=5.0, reason="no_worker"),
            )
            return "no such provider here"
        # At the first shard that needs them, and not in the loop.
        await self.threads.call(load_lists, link.kind)
        items = await self.reader.unrecorded_items(doc, active.tally)
        if batch.get("budget"):
            active.purse = self._purse(doc, lease, link, active.tally)
        step = poison.decide(doc["takeovers"], items)
        if isinstance(step, poison.Split):
            end = await self._split(doc, lease, step, active)
        else:
            works = await self.reader.works(doc, batch, link, items, active.tally)
            if isinstance(step, poison.Condemn):
                for work in works:
                    bad = work.history().ends(poison.result(work.item.line, work.custom_id))
                    self.recorder.add(Target(doc, active.tally), bad)
                works = []
            end = await self._settle(doc, lease, await self._run(doc, lease, link, works, active), active)
        if active.purse is not None and end in ("done", "closed"):
            await active.purse.close()
        return end

    def _purse(self, doc: dict[str, Any], lease: Lease, link: Link, tally: Tally) -> Purse:
        async def ask(call: Callable[[], Any]) -> Any:
            return await self.heartbeat.patiently(lease, call)

        return Purse(held_of(doc), link, self.stores, ask, tally.cost_usd, self.links)

    async def _run(
        self, doc: dict[str, Any], lease: Lease, link: Link, works: list[Work], active: Active
    ) -> Ran:
        async def announce(started: int) -> bool:
            held = await self.heartbeat.patiently(
                lease, lambda: self.stores.shards.set_started(doc["_id"], lease.fence, started)
            )
            return bool(held)

        async def move(parcel: Mapping[Work, Chosen], started: int, unknown: int) -> bool:
            chosen = {work.item.line: other for work, other in parcel.items()}
            histories = {work.item.line: work.history() for work in parcel}
            parts = handover.parts(doc, chosen, histories)
            return await self._move_out(doc, lease, parts, started=started, unknown=unknown)

        run = ShardRun(
            held_of(doc),
            works,
            lease=lease,
            link=link,
            desk=self.desk,
            tally=active.tally,
            writes=Writes(announce, move),
            purse=active.purse,
        )
        active.run = run
        if active.stop:
            run.stop(active.stop)
        return await run.run()

    async def _settle(self, doc: dict[str, Any], lease: Lease, ran: Ran, active: Active) -> str:
        shard_id, fence = doc["_id"], lease.fence
        if ran.stopped == "lost":
            return "lease lost"
        await self.recorder.flush()
        if active.purse is not None:
            # First the money, then the shard: the next lease takes what it finds in flight for lost.
            await active.purse.settle()
        attempts = {str(line): history.to_doc() for line, history in ran.histories.items() if history}
        if ran.stopped == "ending":
            doc["attempts"] = attempts
            fresh = await self.heartbeat.patiently(lease, lambda: self.stores.batches.get(doc["batch_id"]))
            return await self._close(doc, fresh) if fresh and fresh["ending"] else "lease left to expire"
        if ran.stopped is None and ran.park_s is None:
            finish = partial(self.stores.shards.finish, shard_id, fence, active.tally)
            done = await self.heartbeat.patiently(lease, finish)
            faultpoints.passes(faultpoints.SHARD_DONE, shard_id)
            return "done" if done else "lease lost"
        reasons = {"drain": "drain", "paused": "paused", None: ran.park_reason}
        wait_s = _FOR_EVER if ran.stopped == "paused" else (ran.park_s or 0.0)
        give_back = partial(
            self.stores.shards.release,
            shard_id,
            fence,
            wait_s=wait_s,
            reason=reasons[ran.stopped],
            attempts=attempts,
            unknown=ran.unknown,
        )
        if not await self.heartbeat.patiently(lease, give_back):
            return "lease lost"
        return f"parked: {ran.park_reason}" if ran.stopped is None else f"released: {ran.stopped}"

    async def _close(self, doc: dict[str, Any], batch: dict[str, Any]) -> str:
        await self.threads.call(close_shard, self.stores, doc, batch, Ending(batch["ending"]), held=True)
        return "closed"

    async def _split(self, doc: dict[str, Any], lease: Lease, step: poison.Split, active: Active) -> str:
        moved = poison.parts(doc, step)
        if active.purse is not None:
            await active.purse.settle()
        if not await self._move_out(doc, lease, moved):
            return "lease lost"
        finish = partial(self.stores.shards.finish, doc["_id"], lease.fence, active.tally)
        await self.heartbeat.patiently(lease, finish)
        return "done"

    async def _move_out(
        self, doc: dict[str, Any], lease: Lease, parts: list[dict[str, Any]], **counts: int
    ) -> bool:
        """Parent first, then the children: whoever claims the parent later inserts those that are missing."""
        done = await self.heartbeat.patiently(
            lease, lambda: self.stores.shards.move_out(doc["_id"], lease.fence, parts, **counts)
        )
        if done:
            doc["moved"] = [*doc["moved"], *parts]
            # Calls are under way: they must not be given up because MongoDB is away for a moment.
            await self.heartbeat.patiently(lease, lambda: self.stores.shards.insert_missing_children(doc))
            await self.after(doc["batch_id"], False)
        return bool(done)
