"""Whether a server that one can do without answers; while it does not, nobody waits for its time-outs for long."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

SHORTEST_S = 1.0
LONGEST_S = 30.0
# It is left alone so many times as long as the last failure took: a fifth of the time is spent on it at most.
_PATIENCE = 4.0


class Contact:
    """What one process knows of one server."""

    def __init__(self, server: str, without: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`without`: what does not happen meanwhile, for the log. `clock`: monotonic seconds."""
        self._server, self._without, self._clock = server, without, clock
        self._lost, self._until_s = False, 0.0

    @property
    def away(self) -> bool:
        """Whether it has failed so lately that it is not worth asking."""
        return self._lost and self._clock() < self._until_s

    def now(self) -> float:
        """The clock by which `lost` knows how long a question took."""
        return self._clock()

    def lost(self, error: Exception, asked_at: float) -> None:
        """It did not answer what was asked at that moment."""
        now = self._clock()
        rest_s = min(LONGEST_S, max(SHORTEST_S, _PATIENCE * (now - asked_at)))
        if not self._lost:
            name = type(error).__name__
            log.warning("%s does not answer (%s): %s until it does", self._server, name, self._without)
        self._lost, self._until_s = True, now + rest_s

    def found(self) -> None:
        """It answered."""
        if self._lost:
            self._lost = False
            log.warning("%s answers again", self._server)
