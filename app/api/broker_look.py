"""Whether the broker answers, for those who ask why a batch stands: seldom, and never for long.

The API itself does without a broker (the sweeper publishes again), so only `why` asks. One question is under way at a
time; everybody shares its answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from workers.core.errors import StoreUnavailable

FRESH_S = 3.0
PATIENCE_S = 1.0


class BrokerLook:
    """`answers` says what the last question brought.

    Args:
        ask: any question to the broker; raises StoreUnavailable.

    Attributes:
        away_since: Unix seconds of the first look that found it away; None once it answers again.
    """

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[bool] | None = None
        self._asked_s = float("-inf")
        self.away_since: float | None = None

    async def answers(self) -> bool:
        """False where the broker refuses, or says nothing for a second; an answer counts for three."""
        asking = self._asking
        if asking is None or (asking.done() and time.monotonic() - self._asked_s >= FRESH_S):
            self._asked_s = time.monotonic()
            asking = self._asking = asyncio.create_task(self._try())
        # One that has been under way for longer than this is an answer, too.
        left_s = max(0.0, self._asked_s + PATIENCE_S - time.monotonic())
        await asyncio.wait((asking,), timeout=left_s)
        answers = asking.done() and not asking.cancelled() and asking.result()
        if answers:
            self.away_since = None
        elif self.away_since is None:
            self.away_since = time.time()
        return answers

    async def _try(self) -> bool:
        try:
            await self._ask()
        except StoreUnavailable:
            return False
        return True
