"""Run one leased shard: look up, share, reserve, call, record, until every item has its result or we must stop.

    todo -> cache -> flight -> limit -> call -> record
              ^        |         |        |
              +--------+---------+--------+   waiting for another's answer, for a limit, for another attempt

One coroutine decides (`run`); feeder.py starts calls, which are tasks; outcomes.py takes what comes of them. Nothing
here claims or ends a shard in the database: engine/steward.py does, by what `run` returns.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable

from workers.core.messages import Result
from workers.core.rate import must_park
from workers.core.tally import Tally
from workers.engine.coalesce import Coalescing
from workers.engine.desk import Desk, Ran, StopReason
from workers.engine.feeder import CHUNK_ITEMS, Feeder
from workers.engine.heartbeat import Lease
from workers.engine.lineup import Lineup
from workers.engine.moving import Moving
from workers.engine.outcomes import Outcomes
from workers.engine.ports import Link
from workers.engine.purse import Purse
from workers.engine.running import Running, Writes
from workers.engine.work import Held, Work

# Slots that come free within this time are filled by one chunk: one set of look-ups and one `started` write. That
# set costs about a millisecond, as much as twenty items.
GATHER_S = 0.02
_GATHER_STEP_S = 0.005
LOOK_AGAIN_S = 2.0


class ShardRun:
    """One shard in the hands of this process."""

    def __init__(
        self,
        held: Held,
        works: Iterable[Work],
        *,
        lease: Lease,
        link: Link,
        desk: Desk,
        tally: Tally,
        writes: Writes,
        purse: Purse | None = None,
    ) -> None:
        """`purse`: the batch's money; None without a ceiling."""
        self.held, self.tally = held, tally
        lineup = Lineup(deque(sorted(works, key=lambda work: work.item.twin > 0)))
        running = self._running = Running(held, lease, link, desk, lineup, writes, purse)
        self._lineup = lineup
        self._flights = Coalescing(
            held, desk.shelf, desk.sharing, link, record=self._record, try_again=self._try_again
        )
        self._outcomes = Outcomes(self, running, self._flights, record=self._record)
        self._feeder = Feeder(running, self._flights, record=self._record, on_called=self._outcomes.on_called)
        self._moving = Moving(running, self._flights)
        self._let_go = False
        self._looked_at = time.monotonic()

    # --- told from outside

    def stop(self, reason: StopReason) -> None:
        """Start no more calls; what is under way may end."""
        self._running.stop = self._running.stop or reason
        self._running.changed.set()

    def cut(self) -> None:
        """End the calls under way: the time to wait for them is over."""
        self._outcomes.cut()

    def on_recorded(self, result: Result, line_bytes: int) -> None:
        """The recorder has written one of ours."""
        self.tally.add(result, line_bytes)
        self._running.unrecorded -= 1
        self._running.changed.set()

    # --- the one coroutine that decides

    async def run(self) -> Ran:
        """Work until everything is recorded, or until we must stop or park."""
        running, slots, shard_id = self._running, self._running.link.slots, self.held.shard_id
        slots.join(shard_id, self.held.batch_id, self._slot_is_free)
        try:
            while not self._finished():
                running.changed.clear()
                if running.ending and not self._let_go:
                    self._let_go = True  # what we will not call now, somebody else may
                    self._lineup.todo.extend(await self._flights.let_go(self._lineup.left))
                self._wake_rested()
                if self._moving.is_due():
                    await self._moving.move()
                elif self._feeder.may_feed() and await self._feeder.feed():
                    continue
                else:
                    await self._wait()
            return self._ran()
        finally:
            self._outcomes.leave()
            slots.leave(shard_id)
            lineup = self._lineup
            await self._flights.let_go({*lineup.left, *lineup.called.values(), *lineup.taken})

    def _finished(self) -> bool:
        running, lineup = self._running, self._lineup
        if lineup.called or lineup.deciding or running.unrecorded:
            # A lost lease needs no waiting: whatever we still record does no harm and helps nobody.
            return running.stop == "lost"
        if running.stop:
            return True
        # What is on its way to another provider goes there before the shard is given back.
        return not lineup.moving if running.park else not (lineup.left or self._flights.waiting)

    async def _wait(self) -> None:
        """Until something changes, an item's rest ends, or it is time to look again."""
        running, lineup, now = self._running, self._lineup, time.monotonic()
        if running.unrecorded and not lineup.called and not lineup.left:
            running.desk.sink.hurry()
        ends = [now + LOOK_AGAIN_S, lineup.next_due, self._moving.next_due]
        if running.no_money_until > now:
            ends.append(running.no_money_until)
        timeout_s = max(0.0, min(end for end in ends if end is not None) - now)
        try:
            async with asyncio.timeout(timeout_s):
                await running.changed.wait()
        except TimeoutError:
            pass  # a rest is over, or it is time to look again
        now = time.monotonic()
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            self._flights.look_again()
            if running.purse is not None:
                # One long call must not keep the money of all that have ended before it.
                await running.purse.settle()
        if lineup.called and lineup.todo:
            await self._gather()

    async def _gather(self) -> None:
        """Let more calls end, so that their slots are filled together."""
        slots, shard_id, until = self._running.link.slots, self.held.shard_id, time.monotonic() + GATHER_S
        worth = min(CHUNK_ITEMS, slots.total // 4)
        with slots.gathering(shard_id) as ours:
            # An event would wake it for each of the many calls that end meanwhile.
            while ours and slots.available(shard_id) < worth and time.monotonic() < until:  # noqa: ASYNC110
                await asyncio.sleep(_GATHER_STEP_S)

    def _wake_rested(self) -> None:
        running, lineup, now = self._running, self._lineup, time.monotonic()
        lineup.wake(now)
        first = lineup.first_resting
        if first is None or running.ending or lineup.todo or lineup.called or lineup.deciding:
            return
        if lineup.moving or not must_park(first.due - now) or self._flights.waits_beyond(lineup.resting):
            return
        # A rest that holds for the whole provider has parked the shard before (feeder.py): this one is of a model.
        why = "model_paused" if first.why in ("paused", "limit") else first.why
        running.park = (first.due - now, why)
        running.changed.set()  # there is nothing to wait for any more

    # --- items that change their place

    def _record(self, result: Result) -> None:
        self._running.unrecorded += 1
        self._running.desk.sink.add(self, result)

    def _slot_is_free(self) -> None:
        if self._lineup.todo:
            self._running.changed.set()

    def _try_again(self, work: Work) -> None:
        self._lineup.todo.append(work)
        self._running.changed.set()

    # --- leaving

    def _ran(self) -> Ran:
        running = self._running
        left = [*self._lineup.left, *self._flights.waiting]
        # A repeat that is still to come may repeat a call that happened, and is counted here, once.
        unknown = self._outcomes.cut_off + sum(work.excess for work in left)
        park_s, reason = running.park or (None, None)
        histories = {work.item.line: work.history(parked_for=reason) for work in left}
        return Ran(running.stop, park_s, reason, histories, unknown)
