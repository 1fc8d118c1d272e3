"""How fast something goes, from looks at how much of it is done. Pure: times are arguments.

The progress of the command line and the API's progress events both ask it.
"""

from __future__ import annotations

from collections import deque

_WINDOW_S = 10.0
_LOOKS_KEPT = 256


class Pace:
    """Items a second over the last ten seconds, and how long nothing has moved."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=_LOOKS_KEPT)
        self._moved_at_s: float | None = None

    def look(self, now_s: float, done: int) -> None:
        """Note how many items were done at this moment (any clock that does not jump)."""
        if self._moved_at_s is None or done != self._looks[-1][1]:
            self._moved_at_s = now_s
        self._looks.append((now_s, done))
        while len(self._looks) > 2 and self._looks[1][0] <= now_s - _WINDOW_S:
            self._looks.popleft()

    @property
    def per_second(self) -> float:
        """Items a second; 0 before the second look."""
        if len(self._looks) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._looks[0], self._looks[-1]
        return max(0.0, (last - first) / (last_s - first_s)) if last_s > first_s else 0.0

    @property
    def still_s(self) -> float:
        """Seconds since the number last changed."""
        if self._moved_at_s is None:
            return 0.0
        return self._looks[-1][0] - self._moved_at_s
