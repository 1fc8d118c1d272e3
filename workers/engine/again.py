"""The further tries of a running shard's failed items. The first try is bare: tenacity costs 19 microseconds a call.

    failed -> a coroutine of the item's own, in which tenacity asks core/retry.py whether and when
           -> rest: the item lies in the lineup, without a slot or a connection
           -> try: the run calls it like any other, and the outcome comes back here

tenacity keeps the order (stop, wait, rest, try); what it goes by is pure (core/again.py).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from tenacity import AsyncRetrying, retry_if_result

from workers.core.again import Steps, beginning_with, last_outcome
from workers.core.choose import Chosen
from workers.core.errors import InternalFault, TransportError
from workers.core.retry import GiveUp, HandOver, NextStep, Retry, after_failure, attempt_of, counted_as
from workers.engine import pipeline
from workers.engine.running import Running
from workers.engine.work import Answered, Failed, Work

log = logging.getLogger(__name__)

Outcome = Answered | Failed


class Again:
    """One coroutine for each failed item, until it has its answer, its last failure or another provider."""

    def __init__(
        self,
        running: Running,
        *,
        answered: Callable[[Work, Answered], None],
        moves: Callable[[Work, Chosen], None],
        fails: Callable[[Work, Failed], None],
    ) -> None:
        self._running, self._answered, self._moves, self._fails = running, answered, moves, fails
        self._tasks: dict[Work, asyncio.Task[None]] = {}
        self._awaited: dict[Work, asyncio.Future[Outcome]] = {}
        self._left = False

    def failed(self, work: Work, outcome: Failed) -> None:
        """A try has failed: see what follows. Nothing does once the run is over: calls may end after it."""
        if self._left:
            return
        self._running.lineup.deciding.add(work)
        task = self._tasks[work] = asyncio.create_task(self._follow(work, outcome))
        task.add_done_callback(lambda _: self._done(work, task))

    def takes(self, work: Work, outcome: Outcome) -> bool:
        """Hand the outcome of another try to its item's coroutine; False if the item has none."""
        awaited = self._awaited.pop(work, None)
        if awaited is None or awaited.done():
            return False
        self._running.lineup.deciding.add(work)
        awaited.set_result(outcome)
        return True

    def leave(self) -> None:
        """The run is over: what rests is the next lease's."""
        self._left = True
        for task in self._tasks.values():
            task.cancel()

    async def _follow(self, work: Work, first: Failed) -> None:
        steps = Steps[Outcome](lambda outcome: self._decide(work, outcome))

        async def rest(delay_s: float) -> None:
            self._rest(work, delay_s, excess=isinstance(steps.last, Retry) and steps.last.excess)

        retrying = AsyncRetrying(
            wait=steps.wait,
            stop=steps.stop,
            sleep=rest,
            retry=retry_if_result(lambda outcome: isinstance(outcome, Failed)),
            retry_error_callback=last_outcome,
        )
        failed: Outcome = first
        outcome: Outcome = await retrying(beginning_with(failed, lambda: self._next_outcome(work)))
        self._running.lineup.deciding.discard(work)
        if isinstance(outcome, Answered):
            self._answered(work, outcome)
        elif isinstance(steps.last, HandOver) and (other := self._running.elsewhere(work)) is not None:
            self._repeats(work, excess=steps.last.excess)
            self._moves(work, other)
        else:
            self._fails(work, outcome)
        self._running.changed.set()

    def _decide(self, work: Work, outcome: Outcome) -> NextStep:
        """What follows, written down with the item. tenacity asks only for failures."""
        assert isinstance(outcome, Failed)  # noqa: S101 - answers end its loop
        error = outcome.error
        # A call that never left us was none: nobody was asked, nothing can have been paid.
        work.calls -= not error.bytes_sent
        work.unknown += isinstance(error, TransportError) and error.bytes_sent
        step = after_failure(
            error,
            attempt=work.count(counted_as(error)),
            unknown_outcomes=work.unknown,
            rules=self._running.desk.rules.retry,
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
            elsewhere=self._running.elsewhere(work) is not None,
        )
        work.note(attempt_of(error, step, at=time.time(), provider=self._running.link.name))
        if not isinstance(step, GiveUp):
            pipeline.spend_on_failure(work, outcome, self._running.link)
        return step

    def _rest(self, work: Work, delay_s: float, *, excess: bool) -> None:
        running = self._running
        running.lineup.deciding.discard(work)
        self._repeats(work, excess=excess)
        running.lineup.rest(work, "retry", now=time.monotonic(), wait_s=delay_s)
        running.changed.set()

    def _repeats(self, work: Work, *, excess: bool) -> None:
        """It will be asked again, here or elsewhere. `excess`: what was asked may have been answered."""
        work.excess += excess
        self._running.untold.add(work)
        # Where its outcome is known, a crash from here on repeats nothing of it.
        self._running.started -= not excess

    async def _next_outcome(self, work: Work) -> Outcome:
        awaited: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._awaited[work] = awaited
        return await awaited

    def _done(self, work: Work, task: asyncio.Task[None]) -> None:
        if self._tasks.get(work) is task:
            del self._tasks[work]
        if not task.cancelled() and (broken := task.exception()) is not None:
            # Nobody else looks at it, and the item would be in nobody's hands for ever.
            log.error("the next try of item %d broke inside the engine", work.item.line, exc_info=broken)
            self._running.lineup.deciding.discard(work)
            fault = InternalFault("the engine failed on this failure", provider=self._running.link.name)
            self._fails(work, Failed(fault, 0.0))
            self._running.changed.set()
