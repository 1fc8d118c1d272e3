"""How a lane slows down when its provider says "too many", and how it comes back.

Concurrency by additive increase and multiplicative decrease (Chiu and Jain 1989, Computer Networks and ISDN
Systems 17): halved by a refusal, one more per window of answers. Where most were refused, it starts again from
one and doubles up to the half (slow start, RFC 5681 3.1). A provider that refuses even a few calls at a time counts
by the minute: then the gap between starts adapts instead. Refusals without an answer rest the lane.
store/lua/report_calls.lua and reserve_calls.lua are the same arithmetic over all processes; tests hold them equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.core.gcra import BUSY_WAIT_S
from workers.core.lanes import NotNow

CUT_EVERY_MS = 1_000
FEW_AT_ONCE = 4
FIRST_REST_MS, LONGEST_REST_MS = 500, 60_000
FIRST_GAP_MS, LONGEST_GAP_MS, LEAST_GAP_MS = 500, 60_000, 5
GAP_SHRINK, EASE_EVERY_MS = 0.95, 1_000


@dataclass(slots=True)
class Throttle:
    """A lane's state over all processes; all zero: not in force."""

    concurrency: int = 0
    ramping: bool = False  # it starts again: each start costs one of `ramp`, each answer gives two
    ramp: int = 0
    refusals: int = 0  # reports in a row that had refusals and no answer
    rest_till_ms: float = 0
    gap_ms: float = 0
    next_ms: float = 0  # no start before this, by the gap
    cut_ms: float = 0
    started: bool = False  # whether a call has started since the last cut or rest
    peak: int = 0  # what was under way when it was first cut: what the holders could use
    grown: int = 0  # answers towards one more
    answers: int = 0  # since the last cut: between two refusals they tell the provider's pace
    eased_ms: float = 0  # when the gap was last made shorter

    def heard(self, now_ms: float, *, answered: int, throttled: int, in_flight: int) -> None:
        """Take in one report; `in_flight`: over all processes, those included that the report has ended."""
        if answered:
            self._answered(now_ms, answered)
        if throttled:
            self._refused(now_ms, in_flight)
            if 2 * throttled >= in_flight or (self.refusals and not answered):
                self._rest(now_ms, doubled=not answered)

    def not_now(self, now_ms: float, in_flight: int) -> NotNow | None:
        """Why a call may not start, or None if it may."""
        if now_ms < self.rest_till_ms:
            return NotNow("paused", (self.rest_till_ms - now_ms) / 1000, lane=True)
        if now_ms < self.next_ms:
            return NotNow("limit", (self.next_ms - now_ms) / 1000, lane=True)
        # With nothing under way there is nobody whose answer could let the ramp go on.
        if 0 < self.concurrency <= in_flight or (self.ramping and self.ramp <= 0 < in_flight):
            return NotNow("concurrency", BUSY_WAIT_S)
        return None

    def start(self, now_ms: float) -> None:
        """A call starts."""
        self.started = True
        self.ramp -= self.ramping
        if self.gap_ms:
            self.next_ms = now_ms + self.gap_ms

    def _answered(self, now_ms: float, answered: int) -> None:
        self.refusals = 0
        self.answers += answered
        if now_ms - self.eased_ms >= EASE_EVERY_MS:
            eased_ms = self.gap_ms * GAP_SHRINK
            self.gap_ms, self.eased_ms = eased_ms if eased_ms >= LEAST_GAP_MS else 0, now_ms
        if self.ramping:
            # Answers to calls from before the rest say nothing about what may start after it.
            self.ramp += 2 * answered if self.started else 0
            self.ramping = self.ramp < self.concurrency
        elif self.concurrency and not self.gap_ms:
            self.grown += answered
            if self.grown >= self.concurrency:
                self.grown, self.concurrency = 0, self.concurrency + 1
        if self.concurrency > self.peak:
            self.concurrency = self.grown = self.peak = 0
            self.rest_till_ms = self.next_ms = 0

    def _refused(self, now_ms: float, in_flight: int) -> None:
        # What started before the last cut was too much then; it says nothing about what has started since.
        if not self.concurrency or (self.started and now_ms - self.cut_ms >= CUT_EVERY_MS):
            was = max(1, min(in_flight, self.concurrency or in_flight))
            if was <= FEW_AT_ONCE:
                # Refused with so few under way: it counts by the minute. An idle lane had few answers and no slow
                # provider; so at most twice the gap it has.
                gap_ms = max(2 * self.gap_ms, FIRST_GAP_MS)
                if self.answers:
                    gap_ms = min(gap_ms, (now_ms - self.cut_ms) / self.answers)
                self.gap_ms = min(max(gap_ms, self.gap_ms), LONGEST_GAP_MS)
            self.peak = max(self.peak, was)
            self.concurrency, self.cut_ms = max(1, was // 2), now_ms
            self.grown = self.answers = 0
            # A rest that is due is decided by the calls started since the last one, too.
            self.started = self.started and self.refusals > 0

    def _rest(self, now_ms: float, *, doubled: bool) -> None:
        """Most of what was asked was refused: nothing starts for a while, and then one call after the other."""
        self.ramping, self.ramp = self.concurrency > 1, 1
        if self.refusals and (now_ms < self.rest_till_ms or not self.started):
            return
        self.refusals += doubled
        self.started = False
        rest_ms = FIRST_REST_MS * 2 ** max(0, self.refusals - 1)
        self.rest_till_ms = now_ms + min(rest_ms, LONGEST_REST_MS)
