"""When a lane that only fails is left alone, and how it is tried again: a circuit breaker.

    closed -> open (after so many failures in a row) -> half-open (one call tries) -> closed, or open for twice as long

Source of the word and the states: Nygard, Release It! (2007), 5.2. Counted over all processes:
store/lua/report_calls.lua and reserve_calls.lua are the same arithmetic; tests hold them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.core.lanes import BreakerRules, NotNow

PROBE_WAIT_S = 1.0  # until somebody asks again how the one call went


@dataclass(slots=True)
class Breaker:
    """A lane's state over all processes; all zero: closed, and nothing has failed."""

    failures: int = 0  # in a row, with no answer between
    opened: int = 0  # times in a row
    open_till_ms: float = 0  # 0: closed
    probe: str = ""  # the process whose call tries

    def heard(self, now_ms: float, *, alive: int, failed: int, rules: BreakerRules) -> None:
        """Take in one report. `alive`: answers and refusals, for whoever refuses is there.

        Failures of calls that began before it opened change nothing, nor does what comes while it is open.
        """
        if alive:
            self.failures, self.opened, self.open_till_ms, self.probe = 0, 0, 0, ""
        elif failed and self.open_till_ms:
            if self.probe:
                self._open(now_ms, rules)
        elif failed:
            self.failures += failed
            if self.failures >= rules.failures:
                self._open(now_ms, rules)

    def state(self, now_ms: float) -> Literal["closed", "open", "half-open"]:
        """How it stands."""
        if not self.open_till_ms:
            return "closed"
        return "open" if now_ms < self.open_till_ms else "half-open"

    def not_now(self, now_ms: float, *, probing: bool) -> NotNow | None:
        """Why a call may not start, or None; `probing`: the process that tries is alive and at it."""
        if now_ms < self.open_till_ms:
            return NotNow("breaker", (self.open_till_ms - now_ms) / 1000, lane=True)
        return NotNow("breaker", PROBE_WAIT_S, lane=True) if self.open_till_ms and probing else None

    def start(self, holder: str) -> None:
        """A call of this process starts; in the half-open state it is the one that tries."""
        if self.open_till_ms:
            self.probe = holder

    def _open(self, now_ms: float, rules: BreakerRules) -> None:
        self.opened += 1
        self.probe = ""
        rest_s = min(rules.open_s * 2 ** min(self.opened - 1, 30), rules.max_open_s)
        self.open_till_ms = now_ms + rest_s * 1000
