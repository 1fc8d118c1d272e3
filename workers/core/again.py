"""The retry rules (core/retry.py) as tenacity's `wait` and `stop`. Pure: deciding is the caller's, so is sleeping.

    steps = Steps(decide)
    AsyncRetrying(wait=steps.wait, stop=steps.stop, sleep=..., retry=retry_if_result(...),
                  retry_error_callback=last_outcome)

The first attempt is made without tenacity, which costs 19 microseconds a call; `beginning_with` makes its failure
the first that tenacity sees.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from workers.core.retry import NextStep, Retry

if TYPE_CHECKING:
    from tenacity import RetryCallState

Outcome = TypeVar("Outcome")


class Steps(Generic[Outcome]):
    """What follows each failure of one item: `decide` is asked once for each, however often tenacity asks.

    Attributes:
        last: the step that was decided last; None before the first failure.
    """

    def __init__(self, decide: Callable[[Outcome], NextStep]) -> None:
        self._decide = decide
        self._decided_for = 0
        self.last: NextStep | None = None

    def wait(self, state: RetryCallState) -> float:
        """Seconds to rest before the next try; 0 where there is none."""
        step = self._step(state)
        return step.delay_s if isinstance(step, Retry) else 0.0

    def stop(self, state: RetryCallState) -> bool:
        """Whether that was the last try here."""
        return not isinstance(self._step(state), Retry)

    def _step(self, state: RetryCallState) -> NextStep:
        if self.last is None or state.attempt_number != self._decided_for:
            self.last, self._decided_for = self._decide(last_outcome(state)), state.attempt_number
        return self.last


def last_outcome(state: RetryCallState) -> Any:
    """The failed outcome itself, where tenacity alone would raise RetryError around it."""
    if state.outcome is None:
        raise ValueError("tenacity asks before anything has failed")
    return state.outcome.result()


def beginning_with(
    first: Outcome, call: Callable[[], Awaitable[Outcome]]
) -> Callable[[], Awaitable[Outcome]]:
    """`call`, but for the first time, when `first` is what came of it already."""
    made = False

    async def next_outcome() -> Outcome:
        nonlocal made
        if made:
            return await call()
        made = True
        return first

    return next_outcome
