"""Take a running shard's items through cache, flights, money and limits, a chunk at a time, and start their calls.

todo -> cached? recorded
     -> somebody else's call? wait for it (coalesce.py)
     -> no money? wait or park      -> no limit left? rest or park      -> breaker open? another provider
     -> called
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from workers.core import faultpoints
from workers.core.budget import BUDGET
from workers.core.lanes import Ask, Blocked, Go, NotNow
from workers.core.messages import Attempt, Result
from workers.core.rate import must_park
from workers.engine import pipeline
from workers.engine.coalesce import Coalescing
from workers.engine.lineup import Call
from workers.engine.running import Running
from workers.engine.work import Answered, Failed, Work

CHUNK_ITEMS = 256
# A limit that is used up by estimates is given back when calls end that took less: worth a look now and then.
LIMIT_REST_S = 5.0
# As long as that a shard with no call under way asks for one of its tenant's places, then leaves its own for a while.
CROWDED_PARK_S = 3.0
MONEY_WAIT_S = 0.25
MONEY_PARK_S = 3.0
_RATES: tuple[Blocked, ...] = ("limit", "tenant_requests", "tenant_tokens")


class Feeder:
    """Starts the calls of one running shard."""

    def __init__(
        self,
        running: Running,
        flights: Coalescing,
        *,
        record: Callable[[Result], None],
        on_called: Callable[[Call], None],
    ) -> None:
        """`record` takes a cached answer, `on_called` every call that has ended."""
        self._running, self._flights = running, flights
        self._record, self._on_called = record, on_called
        self._poor_since: float | None = None
        self._crowded_since: float | None = None

    def may_feed(self) -> bool:
        """Whether there is anything to start and nothing against it."""
        running = self._running
        return bool(
            running.lineup.todo
            and not running.ending
            and running.desk.sink.has_room()
            and running.may_call()
            and time.monotonic() >= running.no_money_until
        )

    async def feed(self) -> bool:
        """Take one chunk as far as it goes. False if there was nothing to do."""
        running, slots = self._running, self._running.link.slots
        chunk = self._take_chunk()
        if not chunk:
            return False
        missed = [work for work in await self._answer_from_cache(chunk) if not self._goes_on(work)]
        free = slots.take(running.held.shard_id, len(missed))
        ready, rest = missed[:free], missed[free:]
        running.lineup.put_back(rest)
        owned = await self._flights.own(ready)
        started = await self._start(owned) if owned else 0
        if free > started:
            slots.give_back(running.held.shard_id, free - started)
        return bool(started or len(rest) < len(chunk))

    def _take_chunk(self) -> list[Work]:
        # Items not yet looked up need no slot; the others are useless without one.
        lineup = self._running.lineup
        room = self._running.link.slots.available(self._running.held.shard_id)
        first = lineup.todo[0]
        return lineup.take(CHUNK_ITEMS if room or (first.cache_key and not first.looked_up) else 0)

    async def _answer_from_cache(self, chunk: list[Work]) -> list[Work]:
        fresh = [work for work in chunk if work.cache_key and not work.looked_up]
        found = await self._running.desk.shelf.find(fresh)
        self._running.desk.shelf.count_hits(self._running.held, fresh, found)
        for work in fresh:
            work.looked_up = True
        missed, running = [], self._running
        for work in chunk:
            reply = found.get(work.cache_key) if work.cache_key else None
            if reply is None:
                missed.append(work)
            else:
                self._record(pipeline.cached(work, reply, running.link))
        return missed

    async def _start(self, owned: list[Work]) -> int:
        running = self._running
        works = await self._afford(owned)
        granted = await self._reserve(works) if works else []
        if not granted:
            return 0
        running.started += len(granted)
        ours, untold = False, frozenset(running.untold)
        try:
            ours = await running.writes.announce(running.started, untold)
        finally:
            if not ours:
                running.stop = running.stop or "lost"
                self._take_back([work for work, _ in granted])
        if not ours:
            return 0
        running.untold -= untold
        for work, begins_at in granted:
            task = asyncio.create_task(self._call(work, begins_at))
            running.lineup.called[task] = work
            task.add_done_callback(self._on_called)
        return len(granted)

    def _take_back(self, works: list[Work]) -> None:
        self._drop_money(works)
        for work in works:
            limits, link, tenant = self._running.desk.limits, self._running.link, self._running.held.tenant
            limits.ended(link, work.call.model, tenant)
            limits.not_made(link, work.est_tokens, tenant, work.granted_at)
        self._running.lineup.put_back(works)

    async def _call(self, work: Work, begins_at: float) -> Answered | Failed | None:
        # The limit grants a time, not only a number. What `announce` took is part of the wait: calls that come late by
        # different times come together, and more of them in a minute than the limit granted in any.
        if (wait_s := begins_at - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        running = self._running
        # Between the grant and now the provider may have asked for a pause; `announce` alone takes milliseconds.
        if running.stop or not running.may_call() or running.desk.limits.is_paused(running.link):
            return None
        work.calls += 1
        faultpoints.passes(faultpoints.CALLING, work)
        outcome = await pipeline.make_call(work, self._running.link)
        faultpoints.passes(faultpoints.ANSWERED, work)
        return outcome

    # --- limits

    async def _reserve(self, works: list[Work]) -> list[tuple[Work, float]]:
        """Those that may be called, each with its time (monotonic seconds); the others rest or go elsewhere."""
        running = self._running
        asks = [Ask(work.call.model, work.est_tokens) for work in works]
        verdicts = await running.desk.limits.reserve(running.link, asks, running.held.tenant)
        granted, refused, now = [], [], time.monotonic()
        for work, verdict in zip(works, verdicts, strict=True):
            if isinstance(verdict, Go):
                work.granted_at = now
                granted.append((work, now + verdict.wait_s))
            else:
                refused.append(work)
                self._hold_back(work, verdict)
        self._drop_money(refused)
        self._leave_if_crowded(now, crowded=not granted and refused[-1].why == "tenant_concurrency")
        return granted

    def _leave_if_crowded(self, now: float, *, crowded: bool) -> None:
        """Who has no call under way and finds all places of its tenant taken for too long gives its slot back."""
        if not crowded or self._running.lineup.called:
            self._crowded_since = None
        elif self._crowded_since is None:
            self._crowded_since = now
        elif must_park(now - self._crowded_since):
            self._running.park = self._running.park or (CROWDED_PARK_S, "tenant_concurrency")

    def _hold_back(self, work: Work, verdict: NotNow) -> None:
        running = self._running
        if verdict.why == "breaker" and (other := running.elsewhere(work, at_once=True)) is not None:
            work.note(Attempt(time.time(), running.link.name, "breaker_open", None, "hand_over"))
            running.lineup.moving[work] = other
            return
        of_all = verdict.why in _RATES and not verdict.lane
        wait_s = min(verdict.wait_s, LIMIT_REST_S) if of_all else verdict.wait_s
        running.lineup.rest(work, verdict.why, now=time.monotonic(), wait_s=wait_s)
        if not verdict.lane and must_park(wait_s):
            # It holds for the whole provider, or for the tenant: nothing of this shard can go on sooner.
            running.park = running.park or (wait_s, verdict.why)

    def _goes_on(self, work: Work) -> bool:
        """Whether it goes on to another provider, because an earlier lease ended before it could send it there."""
        running = self._running
        last = work.attempts[-1] if work.attempts else None
        if last is None or last.then != "hand_over" or last.provider != running.link.name:
            return False
        other = running.elsewhere(work)
        if other is not None:
            running.lineup.moving[work] = other
        return other is not None

    # --- money

    async def _afford(self, works: list[Work]) -> list[Work]:
        """Those whose money is held; the rest waits for other calls to end, or the batch has come to rest."""
        running = self._running
        if running.purse is None:
            return works
        allowed = await running.purse.allow(works)
        running.lineup.put_back(works[allowed.count :])
        if allowed.then == "pause":
            running.stop = running.stop or "paused"
        elif allowed.then == "wait":
            # The whole shard waits, and holds no slot: asking item by item would keep others from settling theirs.
            now = time.monotonic()
            running.no_money_until = now + MONEY_WAIT_S * (1 + random.random())  # noqa: S311
            self._wait_or_park(now, idle=not running.lineup.called and not allowed.count)
        return works[: allowed.count]

    def _wait_or_park(self, now: float, *, idle: bool) -> None:
        """Who waits for others' money alone gives its place in this process to them, or they might never get one."""
        if not idle:
            self._poor_since = None
        elif self._poor_since is None:
            self._poor_since = now
        elif must_park(now - self._poor_since):
            self._running.park = (MONEY_PARK_S, BUDGET)

    def _drop_money(self, works: list[Work]) -> None:
        if self._running.purse is not None:
            self._running.purse.drop(works)
