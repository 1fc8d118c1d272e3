"""Where the items of one running shard stand. No I/O and no clock: times come as arguments.

todo -> called -> recorded (elsewhere)
  ^        |
  |        v
resting <- deciding -> moving   to another provider
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from workers.core.choose import Chosen
from workers.engine.work import Answered, Failed, Work

Call = asyncio.Task[Answered | Failed | None]


@dataclass(slots=True)
class Lineup:
    """The places. An item is in one of them at most; one that is in none is recorded, or waits for another's answer.

    Attributes:
        todo: the next one first.
        taken: those that were taken last; by now they are in other places, unless an error broke in on their way.
        resting: until their `due`.
        called: each with the call under way for it.
        deciding: failed just now; what follows is about to be said.
        moving: who is to answer them instead.
    """

    todo: deque[Work]
    taken: list[Work] = field(default_factory=list)
    resting: list[Work] = field(default_factory=list)
    called: dict[Call, Work] = field(default_factory=dict)
    deciding: set[Work] = field(default_factory=set)
    moving: dict[Work, Chosen] = field(default_factory=dict)

    def take(self, limit: int) -> list[Work]:
        """The next ones to do."""
        self.taken = [self.todo.popleft() for _ in range(min(limit, len(self.todo)))]
        return self.taken

    def put_back(self, works: Iterable[Work]) -> None:
        """These are next again, in their order."""
        self.todo.extendleft(reversed(list(works)))

    def rest(self, work: Work, why: str, *, now: float, wait_s: float) -> None:
        """Not before `wait_s` from now (monotonic seconds)."""
        work.rest(why, now=now, wait_s=wait_s)
        self.resting.append(work)

    def wake(self, now: float) -> None:
        """Whose rest is over is next."""
        ready = [work for work in self.resting if work.due <= now]
        if ready:
            self.resting = [work for work in self.resting if work.due > now]
            self._awake(ready, now)

    def wake_first(self, whys: Collection[str], now: float) -> None:
        """What some rest for has come before its time: the one of them that would be next."""
        waiting = [work for work in self.resting if work.why in whys]
        if waiting:
            first = min(waiting, key=lambda work: work.due)
            self.resting.remove(first)
            self._awake([first], now)

    @property
    def next_due(self) -> float | None:
        """When the first rest ends, monotonic seconds."""
        return min((work.due for work in self.resting), default=None)

    @property
    def first_resting(self) -> Work | None:
        """The one whose rest ends first."""
        return min(self.resting, key=lambda work: work.due, default=None)

    @property
    def left(self) -> list[Work]:
        """All that are not called and not recorded."""
        return [*self.todo, *self.resting, *self.deciding, *self.moving]

    def _awake(self, ready: list[Work], now: float) -> None:
        for work in ready:
            work.wake(now)
        self.put_back(ready)
