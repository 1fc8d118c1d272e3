"""Whether a sweeper may take leases away: not while it cannot know that their holders had the chance to renew. Pure.

A laptop that is closed stops every process at once. Whoever wakes first would find all leases over, although each
holder is about to renew its own; the sweeper therefore waits one lease after any gap of its own (store trouble, a
stopped process, a machine asleep). sweeper.py reads the clocks.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clocks:
    """One moment on both clocks, in seconds.

    `wall` goes on while the machine is suspended and may be set by hand; `monotonic` does neither on Linux.
    """

    wall: float
    monotonic: float


def overslept(asked_s: float, before: Clocks, now: Clocks, lease_s: float) -> bool:
    """Whether far more time has passed than was meant to.

    Leases are renewed every third of their length, so one that was renewed in time outlives a gap of up to two
    thirds of it. Half of it is taken for the bound: a longer gap counts, a slow round does not. A wall clock that is
    set forward by hand looks like a gap, which costs one lease of patience; one that is set back hides none that the
    other clock sees.

    Args:
        asked_s: how long the wait or the work between the two moments should have taken.
    """
    passed_s = max(now.wall - before.wall, now.monotonic - before.monotonic)
    return passed_s - asked_s > lease_s / 2


def silent_until(before_s: float, now: Clocks, lease_s: float) -> float:
    """Until when (monotonic seconds) no lease may be taken away, after a gap that ended now.

    Args:
        before_s: the time that held until now; it is never shortened.
    """
    return max(before_s, now.monotonic + lease_s)
