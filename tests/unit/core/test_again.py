"""The retry rules as tenacity carries them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
from tenacity import AsyncRetrying, retry_if_result

from workers.core.again import Steps, beginning_with, last_outcome
from workers.core.errors import Overloaded, ProviderError, QuotaExhausted, TransportError
from workers.core.retry import GiveUp, HandOver, NextStep, Retry, RetryRules, after_failure

Outcome = ProviderError | TransportError | str
BUSY, BROKE = Overloaded("503", provider="a"), QuotaExhausted("no money", provider="a")
UNSENT = TransportError("refused", bytes_sent=False)


class Rest:
    """Sleeps for no time, and remembers for how long it should have."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.asked_s: list[float] = []
        self._wake = wake

    async def __call__(self, seconds: float) -> None:
        self.asked_s.append(seconds)
        self._wake()


def decider(*, elsewhere: bool = False) -> Callable[[Outcome], NextStep]:
    """Counts as the engine does, by the pure rules."""
    counts: Iterator[int] = iter(range(1, 100))

    def decide(failed: Outcome) -> NextStep:
        assert not isinstance(failed, str)
        return after_failure(
            failed,
            attempt=next(counts),
            unknown_outcomes=0,
            rules=RetryRules(),
            jitter=0.0,
            elsewhere=elsewhere,
        )

    return decide


async def run(steps: Steps[Outcome], outcomes: Iterable[Outcome], rest: Rest) -> Outcome:
    """The first outcome is known before tenacity is asked, as in the engine."""
    later = iter(outcomes)
    first = next(later)

    async def call() -> Outcome:
        return next(later)

    again = AsyncRetrying(
        wait=steps.wait,
        stop=steps.stop,
        sleep=rest,
        retry=retry_if_result(lambda outcome: not isinstance(outcome, str)),
        retry_error_callback=last_outcome,
    )
    ended: Outcome = await again(beginning_with(first, call))
    return ended


async def test_an_answer_after_two_failures_ends_it_with_the_waits_of_the_rules() -> None:
    rest, steps = Rest(), Steps(decider())
    assert await run(steps, [BUSY, BUSY, "answer"], rest) == "answer"
    assert rest.asked_s == [0.5, 1.0]


async def test_the_last_failure_comes_back_as_it_is_and_nobody_rests_after_it() -> None:
    rest, steps = Rest(), Steps(decider())
    assert await run(steps, [BUSY, BUSY, BUSY], rest) is BUSY
    assert isinstance(steps.last, GiveUp) and rest.asked_s == [0.5, 1.0]


async def test_what_another_provider_may_answer_stops_here_at_once() -> None:
    rest, steps = Rest(), Steps(decider(elsewhere=True))
    assert await run(steps, [BROKE], rest) is BROKE
    assert isinstance(steps.last, HandOver) and rest.asked_s == []


async def test_each_failure_is_decided_once() -> None:
    seen: list[Outcome] = []

    def decide(failed: Outcome) -> NextStep:
        seen.append(failed)
        return Retry(len(seen)) if len(seen) < 3 else GiveUp("enough")

    await run(Steps(decide), [BUSY, UNSENT, BROKE], Rest())
    assert seen == [BUSY, UNSENT, BROKE]


async def test_a_rest_that_ends_in_an_error_ends_the_tries() -> None:
    """So an engine that has to stop leaves by its rest."""

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await run(Steps(decider()), [BUSY, "never asked for"], Rest(stop))
