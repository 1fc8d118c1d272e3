"""Which process runs on which core.

The engine under test has the last core, the simulated provider the first, with the API and whoever hands out
work. MongoDB and Redis are bound to none: on two cores they fill what the two leave, wherever that is. Bound to
the provider's core they would slow the provider down, but only for engines that record anything; bound to the
engine's they would take from its core what the raw loops keep. The same holds for every row.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """`engine` for the engine, `others` for the rest; None and () where processes cannot be bound."""

    engine: int | None = None
    others: tuple[int, ...] = ()


def choose(free: list[int]) -> Cores:
    """The last core is the engine's; with a single one, or none known, nobody is bound."""
    if len(free) < 2:
        return Cores()
    return Cores(free[-1], tuple(free[:-1]))


def cores() -> Cores:
    """The placement on this machine."""
    return choose(sorted(usable()))


def bind_this_thread(placed: Cores) -> None:
    """Keep the calling thread, and what it starts, off the engine's core."""
    if placed.others and sys.platform == "linux":
        os.sched_setaffinity(0, placed.others)


def release_this_thread(before: set[int]) -> None:
    """Let it run where it could before."""
    if before and sys.platform == "linux":
        os.sched_setaffinity(0, before)


def usable() -> set[int]:
    """The cores of the calling thread; none where they cannot be told."""
    return set(os.sched_getaffinity(0)) if sys.platform == "linux" else set()
