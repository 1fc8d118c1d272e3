"""Look at batches until all have ended, showing every look. The server may be away for a while meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from app.cli.live import Display
from app.cli.progress import SIMULATED, Row, View, row_of, waiting_text
from app.client.calls import poll_delay_s
from app.client.errors import ApiUnreachable
from app.client.models import BatchInfo, Waiting
from workers.core.pace import Pace

T = TypeVar("T")

STILL_S = 2.0
SETTLED_S = 1.5
_ASK_WHY_EVERY_S = 2.0
_WHY_BATCHES = 3
_AWAY_S = 60.0


class Server(Protocol):
    """What following needs of a client."""

    def get(self, batch_id: str) -> BatchInfo: ...

    def why(self, batch_id: str) -> tuple[Waiting, ...]: ...


@dataclass(slots=True)
class Followed:
    """One batch that is watched; `seconds` is set when it has ended, or rests at its money ceiling."""

    name: str
    batch: BatchInfo
    started_s: float
    done_before: int = 0
    seconds: float | None = None
    resting_since_s: float | None = None


# Given what is watched, starts one batch more and gives it, or None when there is nothing to start now.
More = Callable[[Sequence[Followed]], Followed | None]


def rows_of(watched: Sequence[Followed]) -> tuple[Row, ...]:
    """A row for each batch."""
    return tuple(row_of(each.name, each.batch) for each in watched)


@dataclass(slots=True)
class Follower:
    """Watch batches.

    Args:
        simulation_known: whether it was said already that the simulator answers; else it is, once it shows.
        rows_of: what is shown of them; a row each, unless they are parts of one thing.
        check: called between two looks; raises when there is no use in waiting (a worker given up).
        clock, sleep: seconds that never jump, and the wait between two looks.
    """

    server: Server
    display: Display
    simulation_known: bool = False
    rows_of: Callable[[Sequence[Followed]], tuple[Row, ...]] = rows_of
    check: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _pace: Pace = field(default_factory=Pace)
    _waiting: tuple[str, ...] = ()
    _asked_why_s: float = float("-inf")

    def follow(self, watched: list[Followed], more: More | None = None) -> None:
        """Return when every batch has ended, or rests until somebody raises its ceiling.

        Args:
            more: starts the next batch when it is time for it; what it gives is watched as well.
        """
        started_s = self.clock()
        while True:
            for each in watched:
                if each.seconds is None:
                    self._look(each)
            if watched:
                self._show(watched, started_s)
            added = self._next(watched, more)
            if added is not None:
                watched.append(added)
                continue
            if all(each.seconds is not None for each in watched):
                return
            self.check()
            running = sum(each.seconds is None for each in watched)
            # Ten batches are not asked ten times as often as one.
            self.sleep(poll_delay_s(self.clock() - started_s) * max(1.0, running / 4))

    def _next(self, watched: list[Followed], more: More | None) -> Followed | None:
        if more is None:
            return None
        # Who has never answered is not being restarted: a wrong address is said at once.
        return self._patiently(lambda: more(watched)) if watched else more(watched)

    def _look(self, each: Followed) -> None:
        before = each.batch.done
        each.batch = self._patiently(lambda: self.server.get(each.batch.id))
        now_s = self.clock()
        if not each.batch.at_ceiling or each.batch.done != before or each.resting_since_s is None:
            each.resting_since_s = now_s if each.batch.at_ceiling else None
        # What was under way when it came to rest is still being recorded for a moment.
        rests = each.resting_since_s is not None and now_s - each.resting_since_s >= SETTLED_S
        if each.batch.ended or rests:
            each.seconds = now_s - each.started_s

    def _patiently(self, ask: Callable[[], T]) -> T:
        """A server that is being restarted comes back; a minute is given."""
        away_since_s: float | None = None
        while True:
            try:
                return ask()
            except ApiUnreachable as error:
                now_s = self.clock()
                if away_since_s is None:
                    away_since_s = now_s
                    self.display.note(f"{error.message}; trying again")
                if now_s - away_since_s > _AWAY_S:
                    raise
                self.check()
                self.sleep(1.0)

    def _show(self, watched: Sequence[Followed], started_s: float) -> None:
        now_s = self.clock()
        rows = self.rows_of(watched)
        self._pace.look(now_s, sum(row.done for row in rows))
        if not self.simulation_known and any(row.simulated for row in rows):
            self.simulation_known = True
            self.display.note(SIMULATED)
        self._ask_why(watched, now_s)
        self.display.update(View(rows, now_s - started_s, self._pace.per_second, self._waiting))

    def _ask_why(self, watched: Sequence[Followed], now_s: float) -> None:
        if self._pace.still_s < STILL_S:
            self._waiting = ()
            return
        if now_s - self._asked_why_s < _ASK_WHY_EVERY_S:
            return
        self._asked_why_s = now_s
        running = [each for each in watched if each.seconds is None]
        said: dict[str, None] = {}
        try:
            for each in running[:_WHY_BATCHES]:
                reasons = self.server.why(each.batch.id)
                said.update(dict.fromkeys(waiting_text(waiting, each.batch.id) for waiting in reasons))
        except ApiUnreachable:
            return
        self._waiting = tuple(said)
