"""What comes of a running shard's calls: an answer to keep and record, another try, another provider, or the end.

ended call -> answered -> matches its schema? -> cache, flight, record
                 |             `-> asked again
              failed -> again.py: rest and try again
                           `-> another provider (moving.py), or recorded as failed
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from workers.core.choose import Chosen
from workers.core.errors import InternalFault
from workers.core.messages import Result
from workers.engine import pipeline
from workers.engine.again import Again
from workers.engine.coalesce import Coalescing
from workers.engine.lineup import Call
from workers.engine.ports import RecordTarget
from workers.engine.running import Running
from workers.engine.work import Answered, Failed, Work

log = logging.getLogger(__name__)

# How often a shard leaves one of its places among a provider's calls at once to whoever asks first.
SHARE_EVERY_S = 4.0
_PLACES = ("concurrency", "tenant_concurrency")


class Outcomes:
    """Takes the calls of one running shard as they end.

    Attributes:
        cut_off: calls that were ended by us while they were under way.
    """

    def __init__(
        self,
        target: RecordTarget,
        running: Running,
        flights: Coalescing,
        *,
        record: Callable[[Result], None],
    ) -> None:
        """`target` is who the results are recorded for, `record` takes those that need no cache before."""
        self._target, self._running, self._flights, self._record = target, running, flights, record
        self._again = Again(running, answered=self._answer, moves=self._move, fails=self._give_up)
        self.cut_off = 0
        self._shared_at = 0.0

    def cut(self) -> None:
        """End the calls under way. Asked again, it counts none twice."""
        for task, work in self._running.lineup.called.items():
            if not task.cancelling():
                self.cut_off += task.cancel() and work.calls > 0

    def leave(self) -> None:
        """The run is over: whatever still goes on belongs to nobody."""
        self._again.leave()
        for task in self._running.lineup.called:
            task.cancel()

    def on_called(self, task: Call) -> None:
        """A call has ended: its slot is free, its money is known, its outcome is taken."""
        running, link = self._running, self._running.link
        work = running.lineup.called.pop(task)
        link.slots.give_back(running.held.shard_id)
        running.desk.limits.ended(link, work.call.model, running.held.tenant)
        self._next_in_its_place()
        running.changed.set()
        if task.cancelled():
            # What was cut off stays under way in the purse, and used at the limit: it may have happened.
            running.desk.limits.cut_off(link, work.est_tokens, running.held.tenant)
            running.lineup.put_back([work])
            return
        outcome = task.result()
        if running.purse is not None:
            running.purse.take(work, outcome)
            running.no_money_until = 0.0
        try:
            self._take(work, outcome)
        except Exception:
            # asyncio would only log it, and the item would be in nobody's hands for ever.
            log.exception("the outcome of item %d broke inside the engine", work.item.line)
            fault = InternalFault("the engine failed on this answer", provider=link.name)
            self._give_up(work, Failed(fault, 0.0))

    def _next_in_its_place(self) -> None:
        """Let one that waits for a place among the calls at once ask for this one, before its rest is over.

        Most of a short call's time would pass in between otherwise. But who always came first would keep its places
        from all other shards and processes: so now and then a place is left to their asking.
        """
        now = time.monotonic()
        if now - self._shared_at < SHARE_EVERY_S:
            self._running.lineup.wake_first(_PLACES, now)
        else:
            self._shared_at = now

    def _take(self, work: Work, outcome: Answered | Failed | None) -> None:
        running = self._running
        if outcome is None:
            running.started -= 1  # it never left; the next `announce` says so
            running.desk.limits.not_made(running.link, work.est_tokens, running.held.tenant, work.granted_at)
            running.lineup.put_back([work])
            return
        limits, tenant = running.desk.limits, running.held.tenant
        limits.saw(running.link, work.call.model, outcome, work.est_tokens, tenant)
        if self._again.takes(work, outcome):
            return
        if isinstance(outcome, Answered):
            self._answer(work, outcome)
        else:
            self._again.failed(work, outcome)

    def _answer(self, work: Work, outcome: Answered) -> None:
        running, asked_before = self._running, work.asks_again
        wrong = pipeline.ask_again(work, outcome, running.desk.rules.retry)
        if wrong is not None:
            self._end_unshared(work, pipeline.mismatched(work, outcome, wrong))
            return
        if work.asks_again > asked_before:
            running.started -= 1  # its outcome is known: a crash from here on repeats nothing of it
            running.untold.add(work)
            running.lineup.todo.append(work)
            return
        result = pipeline.answered(work, outcome)
        if not work.fingerprint:
            self._record(result)
            return
        self._flights.answered(work, result)
        running.unrecorded += 1
        running.desk.shelf.put(self._target, work, outcome.reply, result, self._flights.ticket(work))

    def _move(self, work: Work, other: Chosen) -> None:
        self._running.lineup.moving[work] = other

    def _give_up(self, work: Work, outcome: Failed) -> None:
        self._running.started -= work.calls == 0
        self._end_unshared(work, pipeline.failed(work, outcome, self._running.link))

    def _end_unshared(self, work: Work, result: Result) -> None:
        """A final failure: never cached, and shared only where the next one would get the same."""
        self._flights.failed(work, result)
        self._record(result)
