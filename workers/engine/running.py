"""What the parts of one running shard share: its names, its items' places, and how it is to end.

shard.py decides over it, feeder.py starts calls, outcomes.py takes what comes of them, moving.py hands items over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from workers.core.choose import Chosen
from workers.engine.desk import Desk, StopReason
from workers.engine.heartbeat import Lease
from workers.engine.lineup import Lineup
from workers.engine.ports import Link
from workers.engine.purse import Purse
from workers.engine.work import Held, Work


@dataclass(frozen=True, slots=True)
class Writes:
    """What a run writes of itself into the shard's document; each False when the shard is no longer ours.

    Both write what the last argument's items have been through: what `started` counts no longer must stand there.

    Attributes:
        announce: before they start, how many calls of this lease have been started.
        move: these items to other providers; then the calls of this lease that may still be repeated, and the calls
            for the moved items that their next ones may repeat.
    """

    announce: Callable[[int, Collection[Work]], Awaitable[bool]]
    move: Callable[[Mapping[Work, Chosen], int, int, Collection[Work]], Awaitable[bool]]


@dataclass(slots=True, eq=False)
class Running:
    """One shard in the hands of this process.

    Attributes:
        purse: the batch's money; None without a ceiling.
        started: calls of this lease that a crash from here on might repeat: started, and not known to have ended
            without an answer.
        untold: items whose calls have ended without a result since what they have been through was written.
        unrecorded: results on their way into the database.
        park: give the shard back for so many seconds, and why.
        no_money_until: monotonic seconds before which the ceiling has no room for more.
    """

    held: Held
    lease: Lease
    link: Link
    desk: Desk
    lineup: Lineup
    writes: Writes
    purse: Purse | None = None
    stop: StopReason | None = None
    park: tuple[float, str] | None = None
    started: int = 0
    untold: set[Work] = field(default_factory=set)
    unrecorded: int = 0
    no_money_until: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ending(self) -> bool:
        """Whether no more calls may start."""
        return self.stop is not None or self.park is not None

    def may_call(self) -> bool:
        """Whether our right to call is fresh enough, by this process's own clock."""
        rules = self.desk.rules
        return self.lease.may_call(rules.lease_s, rules.call_margin_s, time.monotonic())

    def elsewhere(self, work: Work, *, at_once: bool = False) -> Chosen | None:
        """Who else could answer this item; under a ceiling, at a price that is known.

        One that an operator has paused comes last, and with `at_once` not at all.
        """
        awake = self._other_than(self.held.tried | self.desk.paused, work)
        return awake or (None if at_once else self._other_than(self.held.tried, work))

    def _other_than(self, without: frozenset[str], work: Work) -> Chosen | None:
        while (other := self.desk.elsewhere(work.asked, without)) is not None:
            if self.purse is None or self.purse.may_buy(other):
                break
            without |= {other.provider}
        return other
