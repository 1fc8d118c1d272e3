"""What calls and waits come to is counted under words of a short list."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers import metrics
from workers.core.errors import (
    CallTimeout,
    InternalFault,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRefused,
    TransportError,
    UnusableReply,
)
from workers.core.lanes import Go, NotNow
from workers.engine.counting import count_call, count_waits
from workers.engine.work import Failed
from workers.observed import OBSERVED, Readings

pytestmark = pytest.mark.fast


def seen_since(before: Readings) -> Readings:
    """What was counted after that."""
    return OBSERVED.read().since(before)


def errors() -> Iterator[tuple[ProviderError | TransportError, str]]:
    """One of each sort, and its word."""
    yield RateLimited("busy", provider="p"), "rate_limited"
    yield Overloaded("busy", provider="p"), "overloaded"
    yield UnusableReply("nonsense", provider="p"), "unusable"
    yield InternalFault("ours", provider="p"), "engine"
    yield RequestRefused("no", provider="p"), "refused"
    yield CallTimeout("late", bytes_sent=True), "timeout"
    yield TransportError("broken", bytes_sent=True), "broken"


@pytest.mark.parametrize(("error", "word"), list(errors()), ids=lambda each: str(each)[:12])
def test_a_call_is_timed_under_what_came_of_it(error: ProviderError | TransportError, word: str) -> None:
    before = OBSERVED.read()
    count_call("of-counting", Failed(error, 250.0))
    took = seen_since(before).times[metrics.LLM_SECONDS.name, ("of-counting", word)]
    assert (took.count, took.sum_s) == (1, 0.25)


def test_the_waits_of_a_chunk_are_counted_by_their_reason_and_who_may_start_at_once_waits_for_nothing() -> (
    None
):
    before = OBSERVED.read()
    count_waits(
        "of-waits", [Go(0.0), Go(0.5), NotNow("limit", 2.0), NotNow("limit", 3.0), NotNow("breaker", 1.0)]
    )
    times, seconds = metrics.LIMITER_WAITS.name, metrics.LIMITER_WAIT_SECONDS.name
    assert {key: value for key, value in seen_since(before).counts.items() if key[1][0] == "of-waits"} == {
        (times, ("of-waits", "pace")): 1.0,
        (seconds, ("of-waits", "pace")): 0.5,
        (times, ("of-waits", "limit")): 2.0,
        (seconds, ("of-waits", "limit")): 5.0,
        (times, ("of-waits", "breaker")): 1.0,
        (seconds, ("of-waits", "breaker")): 1.0,
    }
