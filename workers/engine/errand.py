"""One leased shard on its way to its end in the database: make ready, run, then finish, park, release or close.

    missing children -> ending? paused? -> poison? -> lines -> ShardRun.run -> done | queued | closed

steward.py makes one for every shard it has claimed, and tells it what changes around it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from workers.core import faultpoints, handover, poison
from workers.core.choose import Chosen
from workers.core.pauses import HELD, Standing
from workers.core.price import load_lists
from workers.core.states import Ending
from workers.core.tally import Tally
from workers.engine.closing import close_shard
from workers.engine.desk import Desk, Ran, StopReason
from workers.engine.heartbeat import Heartbeat, Lease
from workers.engine.ports import Link
from workers.engine.purse import Ceiling, Purse
from workers.engine.reading import Reader, held_of
from workers.engine.recorder import Recorder
from workers.engine.running import Writes
from workers.engine.shard import ShardRun
from workers.engine.work import Work
from workers.store.stores import Stores
from workers.store.threads import Threads

_FOR_EVER = -1.0
NO_WORKER_REST_S = 5.0
# Who ended a shard by hand wants to see it ended, not started again by the next thread that comes free.
REVOKED_REST_S = 10.0
# How a run that was stopped gives its shard back: the shard's reason, and the seconds it rests. What is held rests
# for no time: nobody sends it off while the pause stands, and nothing has to be let go when it ends.
_GIVEN_BACK: Final[Mapping[StopReason, tuple[str, float]]] = {
    "drain": ("drain", 0.0),
    "paused": ("paused", _FOR_EVER),
    "held": (HELD, 0.0),
    "capped": ("capped", 0.0),
    "revoked": ("revoked", REVOKED_REST_S),
}


@dataclass(slots=True)
class Active:
    """A shard in the hands of this process. `account`: that of its tenant's month, if that has a ceiling."""

    batch_id: str
    tenant: str
    provider: str
    tally: Tally
    run: ShardRun | None = None
    stop: StopReason | None = None
    purse: Purse | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Errand:
    """What one shard takes. `after` is called when others can go on (steward.py)."""

    stores: Stores
    threads: Threads
    links: Mapping[str, Link]
    heartbeat: Heartbeat
    recorder: Recorder
    reader: Reader
    desk: Desk
    after: Callable[[str, bool], Awaitable[None]]
    doc: dict[str, Any]
    lease: Lease
    active: Active

    async def run(self) -> str:
        """Bring it as far as it goes now; gives what became of it. Raises whatever the database says."""
        doc, active = self.doc, self.active
        batch, standing, active.account = await self.threads.call(self._look)
        self.desk.heed(standing)
        if batch is None:
            return "batch is gone"
        await self.threads.call(self.stores.shards.insert_missing_children, doc)
        if batch["ending"]:
            return await self._close(batch)
        if batch.get("paused_at"):
            active.stop = active.stop or "paused"  # it was moved here, or its lease ended, after the pause
        elif standing.over(doc["provider"], doc["tenant"]):
            active.stop = active.stop or "held"  # its message lay in the queue when the pause began
        if active.stop in ("paused", "held"):
            return await self._give_back(*_GIVEN_BACK[active.stop], said=f"released: {active.stop}")
        link = self.links.get(doc["provider"])
        if link is None:
            return await self._give_back("no_worker", NO_WORKER_REST_S, said="no such provider here")
        if not poison.is_suspect(doc["takeovers"], is_child="parent" in doc):
            return await self._bring_to_an_end(batch, link)
        if self.desk.trial.locked():
            return await self._give_back("suspect", poison.TURN_S, said="waits for its trial")
        async with self.desk.trial:
            return await self._bring_to_an_end(batch, link)

    async def _bring_to_an_end(self, batch: dict[str, Any], link: Link) -> str:
        doc, active = self.doc, self.active
        # At the first shard that needs them, and not in the loop.
        await self.threads.call(load_lists, link.kind)
        items = await self.reader.unrecorded_items(doc, active.tally)
        active.purse = self._purse(batch, link)
        step = poison.decide(doc["takeovers"], items)
        if isinstance(step, poison.Split):
            end = await self._split(step)
        else:
            works: list[Work] = []
            if isinstance(step, poison.Condemn):
                await self.reader.condemn(doc, batch, items, active.tally)
            else:
                works = await self.reader.works(doc, batch, link, items, active.tally)
            end = await self._settle(await self._work_on(link, works))
        if active.purse is not None and end in ("done", "closed"):
            await active.purse.close()
        return end

    def _look(self) -> tuple[dict[str, Any] | None, Standing, str | None]:
        batch, standing = self.stores.batches.get(self.doc["batch_id"]), self.stores.pauses.standing()
        if batch is None or batch["ending"] or batch.get("paused_at"):
            return batch, standing, None
        # By the database's clock, which has just begun the lease: a worker's own may be in another month.
        began_s = self.doc["lease_until"].timestamp() - self.desk.rules.lease_s
        return batch, standing, self.stores.accounts.open(self.doc["tenant"], batch, now_s=began_s)

    def _purse(self, batch: Mapping[str, Any], link: Link) -> Purse | None:
        stores, account = self.stores, self.active.account
        ceilings = [Ceiling(stores.budgets, batch["_id"])] if batch.get("budget") else []
        if account is not None:
            ceilings.append(Ceiling(stores.accounts, account))
        if not ceilings:
            return None

        async def ask(call: Callable[[], Any]) -> Any:
            return await self.heartbeat.patiently(self.lease, call)

        spent_usd = self.active.tally.cost_usd
        return Purse(held_of(self.doc), link, stores, ceilings, ask, spent_usd, self.links)

    async def _work_on(self, link: Link, works: list[Work]) -> Ran:
        doc, lease, active = self.doc, self.lease, self.active

        async def announce(started: int, untold: Collection[Work]) -> bool:
            known = _histories(untold)
            held = await self.heartbeat.patiently(
                lease, lambda: self.stores.shards.set_started(doc["_id"], lease.fence, started, known)
            )
            return bool(held)

        async def move(
            parcel: Mapping[Work, Chosen], started: int, unknown: int, untold: Collection[Work]
        ) -> bool:
            chosen = {work.item.line: other for work, other in parcel.items()}
            histories = {work.item.line: work.history() for work in parcel}
            parts = handover.parts(doc, chosen, histories)
            known = _histories(untold)
            return await self._move_out(parts, started=started, unknown=unknown, attempts=known)

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

    async def _settle(self, ran: Ran) -> str:
        doc, lease, active = self.doc, self.lease, self.active
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
            ending = fresh and fresh["ending"]
            return await self._close(fresh, ran.unknown) if ending else "lease left to expire"
        if ran.stopped is not None:
            said = f"released: {ran.stopped}"
            reason, wait_s = _GIVEN_BACK[ran.stopped]
            return await self._give_back(reason, wait_s, said=said, attempts=attempts, unknown=ran.unknown)
        if ran.park_s is not None:
            why, said = ran.park_reason, f"parked: {ran.park_reason}"
            return await self._give_back(why, ran.park_s, said=said, attempts=attempts, unknown=ran.unknown)
        finish = partial(self.stores.shards.finish, doc["_id"], lease.fence, active.tally)
        faultpoints.passes(faultpoints.SHARD_RECORDED, doc["_id"])
        done = await self.heartbeat.patiently(lease, finish)
        faultpoints.passes(faultpoints.SHARD_DONE, doc["_id"])
        return "done" if done else "lease lost"

    async def _give_back(
        self,
        reason: str | None,
        wait_s: float,
        *,
        said: str,
        attempts: Mapping[str, Any] | None = None,
        unknown: int = 0,
    ) -> str:
        """Release the shard; `attempts` None: its items have been through nothing new here."""
        give_back = partial(
            self.stores.shards.release,
            self.doc["_id"],
            self.lease.fence,
            wait_s=wait_s,
            reason=reason,
            attempts=attempts,
            unknown=unknown,
        )
        return said if await self.heartbeat.patiently(self.lease, give_back) else "lease lost"

    async def _close(self, batch: dict[str, Any], unknown: int = 0) -> str:
        ending = Ending(batch["ending"])
        await self.threads.call(close_shard, self.stores, self.doc, batch, ending, unknown=unknown)
        return "closed"

    async def _split(self, step: poison.Split) -> str:
        doc, lease, active = self.doc, self.lease, self.active
        moved = poison.parts(doc, step)
        if active.purse is not None:
            await active.purse.settle()
        if not await self._move_out(moved):
            return "lease lost"
        finish = partial(self.stores.shards.finish, doc["_id"], lease.fence, active.tally)
        await self.heartbeat.patiently(lease, finish)
        return "done"

    async def _move_out(self, parts: list[dict[str, Any]], **known: Any) -> bool:
        """Parent first, then the children: whoever claims the parent later inserts those that are missing."""
        doc, lease = self.doc, self.lease
        done = await self.heartbeat.patiently(
            lease, lambda: self.stores.shards.move_out(doc["_id"], lease.fence, parts, **known)
        )
        if done:
            doc["moved"] = [*doc["moved"], *parts]
            # Calls are under way: they must not be given up because MongoDB is away for a moment.
            await self.heartbeat.patiently(lease, lambda: self.stores.shards.insert_missing_children(doc))
            await self.after(doc["batch_id"], False)
        return bool(done)


def _histories(works: Collection[Work]) -> dict[str, Any]:
    """What these items have been through, as a shard's document has it."""
    return {str(work.item.line): work.history().to_doc() for work in works}
