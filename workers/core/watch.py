"""Decide whether this process's consumer is dead: messages wait, it is free, and nothing reaches it. Pure.

watchdog.py looks every few seconds and asks. kombu's connection to the broker is seen to hang after an outage while
everything else of the process works; then only a new process helps. Anything that explains the silence clears the
suspicion, since a restart that was not needed costs the calls under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment.

    Attributes:
        at_s: monotonic clock; it stands still, or not, while the machine sleeps.
        wall_s: the time of day.
        depths: messages by queue of this process; None: the broker did not say.
        free_slots: tasks that this process could begin now.
        seen: messages that have reached it since its start, refused ones included.
        draining: it takes no more on purpose.
    """

    at_s: float
    wall_s: float
    depths: Mapping[str, int] | None
    free_slots: int
    seen: int
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """What a row of looks amounts to.

    Attributes:
        waiting_since_s: for each queue that had messages at every look since, while nothing explained it: when that
            began, on the monotonic clock.
    """

    last: Look
    waiting_since_s: Mapping[str, float] = field(default_factory=dict)

    def starved(self, limit_s: float) -> str | None:
        """The queue whose messages have waited for `limit_s`, the longest first; None while there is no such one."""
        late = {q: since for q, since in self.waiting_since_s.items() if self.last.at_s - since >= limit_s}
        return min(late, key=lambda queue: (late[queue], queue)) if late else None


def follow(before: Watch | None, look: Look, *, longest_gap_s: float) -> Watch:
    """Take one more look into account.

    Args:
        before: None at the first look.
        longest_gap_s: two looks further apart, by either clock, or clocks that disagree by so much, say that the
            process or the machine slept: then nothing is known of the time between.
    """
    if look.depths is None or look.free_slots <= 0 or look.draining:
        return Watch(look)
    if before is None or look.seen != before.last.seen or _slept(before.last, look, longest_gap_s):
        known: Mapping[str, float] = {}
    else:
        known = before.waiting_since_s
    return Watch(look, {q: known.get(q, look.at_s) for q, depth in look.depths.items() if depth > 0})


def _slept(before: Look, now: Look, longest_gap_s: float) -> bool:
    passed_s, by_wall_s = now.at_s - before.at_s, now.wall_s - before.wall_s
    return passed_s > longest_gap_s or abs(by_wall_s - passed_s) > longest_gap_s
