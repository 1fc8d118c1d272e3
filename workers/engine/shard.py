"""Run one leased shard: look up, share, reserve, call, record, until every item has its result or we must stop.

    todo -> cache -> flight -> limit -> call -> record
              ^        |         |        |
              +--------+---------+--------+   waiting for another's answer, for a limit, for another attempt

One coroutine decides (`run`); calls are tasks that report back by `_on_called`. Nothing here claims or ends a
shard in the database: engine/steward.py does, by what `run` returns.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from workers.core.budget import BUDGET
from workers.core.errors import InternalFault, RateLimited, TransportError
from workers.core.messages import Result
from workers.core.rate import must_park
from workers.core.retry import Retry, after_failure
from workers.core.tally import Tally
from workers.engine import pipeline
from workers.engine.coalesce import Coalescing
from workers.engine.desk import Desk, Ran, StopReason
from workers.engine.heartbeat import Lease
from workers.engine.ports import Link
from workers.engine.purse import Purse
from workers.engine.work import Answered, Failed, Held, Work

log = logging.getLogger(__name__)

CHUNK_ITEMS = 128
# Slots that come free within this time are filled by one chunk: one set of look-ups and one `started` write.
GATHER_S = 0.005
LOOK_AGAIN_S = 2.0
MONEY_WAIT_S = 0.25
MONEY_PARK_S = 3.0
_WORTH_A_CHUNK = 16


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
        announce: Callable[[int], Awaitable[bool]],
        purse: Purse | None = None,
    ) -> None:
        """
        Args:
            announce: writes, before they start, that so many calls of this lease have been started.
            purse: the batch's money; None without a ceiling.
        """
        self.held, self.tally, self._purse = held, tally, purse
        self._lease, self._link, self._desk, self._announce = lease, link, desk, announce
        self._flights = Coalescing(
            held, desk.shelf, desk.sharing, record=self._record, try_again=self._try_again
        )
        self._todo = deque(sorted(works, key=lambda work: work.item.twin > 0))
        self._resting: list[Work] = []
        self._calls: dict[asyncio.Task[Answered | Failed | None], Work] = {}
        self._unrecorded = 0
        self._started = 0
        self._park: tuple[float, str] | None = None
        self._no_money_until = 0.0
        self._poor_since: float | None = None
        self._stop: StopReason | None = None
        self._cut_off = 0
        self._let_go = False
        self._looked_at = time.monotonic()
        self._changed = asyncio.Event()

    # --- told from outside

    def stop(self, reason: StopReason) -> None:
        """Start no more calls; what is under way may end."""
        self._stop = self._stop or reason
        self._changed.set()

    def cut(self) -> None:
        """End the calls under way: the time to wait for them is over."""
        for task, work in self._calls.items():
            self._cut_off += work.calls > 0
            task.cancel()

    def on_recorded(self, result: Result, line_bytes: int) -> None:
        """The recorder has written one of ours."""
        self.tally.add(result, line_bytes)
        self._unrecorded -= 1
        self._changed.set()

    # --- the one coroutine that decides

    async def run(self) -> Ran:
        """Work until everything is recorded, or until we must stop or park."""
        self._link.slots.join(self.held.shard_id, self._changed.set)
        try:
            while not self._finished():
                self._changed.clear()
                if (self._stop or self._park) and not self._let_go:
                    self._let_go = True  # what we will not call now, somebody else may
                    self._todo.extend(await self._flights.let_go([*self._todo, *self._resting]))
                self._wake_rested()
                if self._may_feed() and await self._feed():
                    continue
                await self._wait()
            return self._ran()
        finally:
            for task in self._calls:
                task.cancel()
            await self._flights.let_go([*self._todo, *self._resting, *self._calls.values()])
            self._link.slots.leave(self.held.shard_id)

    def _finished(self) -> bool:
        if self._calls or self._unrecorded:
            # A lost lease needs no waiting: whatever we still record does no harm and helps nobody.
            return self._stop == "lost"
        if self._stop or self._park:
            return True
        return not (self._todo or self._resting or self._flights.waiting)

    def _may_feed(self) -> bool:
        return bool(
            self._todo
            and not self._stop
            and not self._park
            and self._desk.sink.has_room()
            and self._fresh_lease()
            and time.monotonic() >= self._no_money_until
        )

    def _fresh_lease(self) -> bool:
        return self._lease.may_call(
            self._desk.rules.lease_s, self._desk.rules.call_margin_s, time.monotonic()
        )

    async def _wait(self) -> None:
        """Until something changes, an item's rest ends, or it is time to look again."""
        now = time.monotonic()
        until = min((work.due for work in self._resting), default=now + LOOK_AGAIN_S)
        if self._no_money_until > now:
            until = min(until, self._no_money_until)
        timeout_s = max(0.0, min(until - now, LOOK_AGAIN_S))
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass  # a rest is over, or it is time to look again
        now = time.monotonic()
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            self._flights.look_again()
            if self._purse is not None:
                # One long call must not keep the money of all that have ended before it.
                await self._purse.settle()
        if self._calls and self._todo and self._link.slots.available(self.held.shard_id) < _WORTH_A_CHUNK:
            await asyncio.sleep(GATHER_S)  # let more calls end, so that their slots are filled together

    def _wake_rested(self) -> None:
        now = time.monotonic()
        ready = [work for work in self._resting if work.due <= now]
        if ready:
            self._resting = [work for work in self._resting if work.due > now]
            self._todo.extendleft(ready)
        if (
            not self._todo
            and not self._calls
            and not self._flights.waiting
            and self._resting
            and not self._stop
        ):
            wait_s = min(work.due for work in self._resting) - now
            if must_park(wait_s):
                self._park = (wait_s, "backoff")

    # --- feeding

    async def _feed(self) -> bool:
        """Take a chunk through cache, flights and limits, and start its calls. False if there was nothing to do."""
        chunk = self._take_chunk()
        if not chunk:
            return False
        missed = await self._answer_from_cache(chunk)
        slots = self._link.slots.take(self.held.shard_id, len(missed))
        ready, rest = missed[:slots], missed[slots:]
        self._todo.extendleft(reversed(rest))
        owned = await self._flights.own(ready)
        started = await self._reserve_and_start(owned) if owned else 0
        if slots > started:
            self._link.slots.give_back(self.held.shard_id, slots - started)
        return bool(started or len(rest) < len(chunk))

    def _take_chunk(self) -> list[Work]:
        # Items not yet looked up need no slot; the others are useless without one.
        room = self._link.slots.available(self.held.shard_id)
        limit = CHUNK_ITEMS if room else 0
        if not room and self._todo[0].cache_key and not self._todo[0].looked_up:
            limit = CHUNK_ITEMS
        return [self._todo.popleft() for _ in range(min(limit, len(self._todo)))]

    async def _answer_from_cache(self, chunk: list[Work]) -> list[Work]:
        fresh = [work for work in chunk if work.cache_key and not work.looked_up]
        found = await self._desk.shelf.find(work.cache_key for work in fresh)
        for work in fresh:
            work.looked_up = True
        missed = []
        for work in chunk:
            reply = found.get(work.cache_key) if work.cache_key else None
            if reply is None:
                missed.append(work)
            else:
                self._record(pipeline.cached(work, reply))
        return missed

    async def _afford(self, works: list[Work]) -> list[Work]:
        """Those whose money is held; the rest waits for other calls to end, or the batch has come to rest."""
        if self._purse is None:
            return works
        allowed = await self._purse.allow(works)
        rest = works[allowed.count :]
        self._todo.extendleft(reversed(rest))
        if allowed.then == "pause":
            self._stop = self._stop or "paused"
        elif allowed.then == "wait":
            # The whole shard waits, and holds no slot: asking item by item would keep others from settling theirs.
            now = time.monotonic()
            self._no_money_until = now + MONEY_WAIT_S * (1 + random.random())  # noqa: S311
            self._wait_or_park(now, idle=not self._calls and not allowed.count)
        return works[: allowed.count]

    def _wait_or_park(self, now: float, *, idle: bool) -> None:
        """Who waits for others' money alone gives its place in this process to them, or they might never get one."""
        if not idle:
            self._poor_since = None
        elif self._poor_since is None:
            self._poor_since = now
        elif must_park(now - self._poor_since):
            self._park = (MONEY_PARK_S, BUDGET)

    async def _reserve_and_start(self, owned: list[Work]) -> int:
        works = await self._afford(owned)
        if not works:
            return 0
        grant = await self._desk.limits.reserve(
            self._link.name, self._link.rates, [w.est_tokens for w in works]
        )
        granted, refused = works[: len(grant.waits_s)], works[len(grant.waits_s) :]
        if refused:
            self._give_money_back(refused)
            now = time.monotonic()
            for work in refused:
                work.due = now + grant.next_wait_s
            self._resting.extend(refused)
            if must_park(grant.next_wait_s):
                self._park = (grant.next_wait_s, "limit")
                self._resting, back = [], self._resting
                self._todo.extendleft(back)
        if not granted:
            return 0
        self._started += len(granted)
        if not await self._announce(self._started):
            self._give_money_back(granted)
            self._todo.extendleft(granted)
            return 0
        for work, wait_s in zip(granted, grant.waits_s, strict=True):
            task = asyncio.create_task(self._call(work, wait_s))
            self._calls[task] = work
            task.add_done_callback(self._on_called)
        return len(granted)

    def _give_money_back(self, works: list[Work]) -> None:
        if self._purse is not None:
            self._purse.drop(works)

    async def _call(self, work: Work, wait_s: float) -> Answered | Failed | None:
        if wait_s > 0:
            await asyncio.sleep(wait_s)  # the limit grants a time, not only a number
        if self._stop or not self._fresh_lease():
            return None
        work.calls += 1
        return await pipeline.make_call(work, self._link)

    # --- outcomes

    def _on_called(self, task: asyncio.Task[Answered | Failed | None]) -> None:
        work = self._calls.pop(task)
        self._link.slots.give_back(self.held.shard_id)
        self._changed.set()
        outcome = None if task.cancelled() else task.result()
        if self._purse is not None and not task.cancelled():
            self._purse.take(work, outcome)  # what was cut off stays under way: it may be paid
            self._no_money_until = 0.0
        try:
            self._take_outcome(work, outcome)
        except Exception:
            # asyncio would only log it, and the item would be in nobody's hands for ever.
            log.exception("the outcome of item %d broke inside the engine", work.item.line)
            fault = InternalFault("the engine failed on this answer", provider=self._link.name)
            self._give_up(work, Failed(fault, 0.0))

    def _take_outcome(self, work: Work, outcome: Answered | Failed | None) -> None:
        if outcome is None:
            self._started -= 1  # it never left; the next `announce` says so
            self._todo.appendleft(work)
        elif isinstance(outcome, Answered):
            self._answer(work, outcome)
        else:
            self._fail(work, outcome)

    def _answer(self, work: Work, outcome: Answered) -> None:
        usage = outcome.reply.usage
        self._desk.shelf.settle(
            self._link, reserved=work.est_tokens, used=usage.input_tokens + usage.output_tokens
        )
        asked_before = work.asks_again
        wrong = pipeline.ask_again(work, outcome, self._desk.rules.retry)
        if wrong is not None:
            self._end_unshared(work, pipeline.mismatched(work, outcome, wrong))
            return
        if work.asks_again > asked_before:
            self._started -= 1  # its outcome is known: a crash from here on repeats nothing of it
            self._todo.append(work)
            return
        result = pipeline.answered(work, outcome)
        if not work.fingerprint:
            self._record(result)
            return
        self._unrecorded += 1
        ttl_s = pipeline.ttl_s(
            work.call.endpoint,
            answers_s=self._desk.rules.ttl_answers_s,
            embeddings_s=self._desk.rules.ttl_embeddings_s,
        )
        self._flights.answered(work, result)
        self._desk.shelf.put(
            self, work, outcome.reply, result, ticket=self._flights.ticket(work), ttl_s=ttl_s
        )

    def _fail(self, work: Work, outcome: Failed) -> None:
        refused_for_rate = isinstance(outcome.error, RateLimited)
        work.refusals += refused_for_rate
        work.attempt += not refused_for_rate
        # A call that never left us was none: nobody was asked, nothing can have been paid.
        work.calls -= not outcome.error.bytes_sent
        if isinstance(outcome.error, TransportError):
            work.unknown += outcome.error.bytes_sent
        step = after_failure(
            outcome.error,
            attempt=work.refusals if refused_for_rate else work.attempt,
            unknown_outcomes=work.unknown,
            rules=self._desk.rules.retry,
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
        )
        if isinstance(step, Retry):
            pipeline.spend_on_failure(work, outcome, self._link)
            work.excess += step.excess
            self._started -= (
                not step.excess
            )  # its outcome is known: a crash from here on repeats nothing of it
            work.due = time.monotonic() + step.delay_s
            self._resting.append(work)
            if refused_for_rate:
                self._desk.shelf.pause(self._link, step.delay_s)
            return
        self._give_up(work, outcome)

    def _give_up(self, work: Work, outcome: Failed) -> None:
        self._started -= work.calls == 0
        self._end_unshared(work, pipeline.failed(work, outcome, self._link))

    def _end_unshared(self, work: Work, result: Result) -> None:
        """A final failure: never cached, and shared only where the next one would get the same."""
        self._flights.failed(work, result)
        self._record(result)

    def _record(self, result: Result) -> None:
        self._unrecorded += 1
        self._desk.sink.add(self, result)

    def _try_again(self, work: Work) -> None:
        self._todo.append(work)
        self._changed.set()

    # --- leaving

    def _ran(self) -> Ran:
        left = [*self._todo, *self._resting, *self._flights.waiting]
        attempts = {str(work.item.line): work.history for work in left if any(work.history)}
        # A repeat that is still to come may repeat a call that happened, and is counted here, once.
        unknown = self._cut_off + sum(work.excess for work in left)
        park_s, reason = self._park or (None, None)
        return Ran(self._stop, park_s, reason, attempts, unknown)
