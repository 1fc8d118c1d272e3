"""Decide what follows a failed attempt. Pure: the caller supplies the random draw.

The engine asks and carries the answer out; core/again.py says it to tenacity; nobody sleeps in here.

    answered 408, 429, 5xx, or with nothing usable    again: an attempt, no excess
    time-out or broken connection after bytes         once more (`repeat_unknown`), counted as excess
    nothing sent                                      again, for nothing: no attempt
    the last of these, or no money, key or model      another provider, where the item has one left
    refused (4xx), our own fault, a flood             the end
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.core.errors import BodyTooLarge, ProviderError, RateLimited, TransportError
from workers.core.messages import Attempt

MAX_ASKED_WAIT_S = 900.0
_MAX_DOUBLINGS = 6

Counter = Literal["attempt", "refusals", "unreached"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask again after `delay_s`. `excess`: the failed call may have happened, so the next one may repeat it."""

    delay_s: float
    excess: bool = False


@dataclass(frozen=True, slots=True)
class HandOver:
    """Give the item to another provider, whose first attempt it is. `excess` as in `Retry`."""

    why: str
    excess: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Record the failure as the item's result."""

    reason: str


NextStep = Retry | HandOver | GiveUp


@dataclass(frozen=True, slots=True)
class RetryRules:
    """Attempts a request may have, and how often a call of unknown outcome may be repeated (0 or 1).

    A 429 says nothing against the request, so it may be asked far more often. `max_asks_again`: how often an
    answer that does not match its schema is asked for anew.
    """

    max_attempts: int = 3
    max_rate_limited: int = 20
    repeat_unknown: int = 1
    max_asks_again: int = 2
    max_wait_s: float = 90.0


def counted_as(error: ProviderError | TransportError) -> Counter:
    """Which of an item's counts a failure adds to: an attempt, a refusal for rate, or a try that reached nobody."""
    if isinstance(error, TransportError):
        return "attempt" if error.bytes_sent else "unreached"
    return "refusals" if isinstance(error, RateLimited) else "attempt"


def after_failure(
    error: ProviderError | TransportError,
    *,
    attempt: int,
    unknown_outcomes: int,
    rules: RetryRules,
    jitter: float,
    elsewhere: bool = False,
) -> NextStep:
    """Choose between one more attempt, another provider and giving up.

    A provider that cannot be reached never uses up an item's attempts: the breaker keeps it from being hammered,
    and the batch's window bounds the wait. What a provider refuses for the request's own sake is the item's result
    and goes nowhere else. That holds for a prompt that is too long, since a model that reads more is another and
    dearer one, for the user to choose; for content kept back, since no filter is to be got round by asking
    the next provider; and for what an API cannot say, since that fails before anything is paid.

    Args:
        attempt: how often the item has failed in this way (`counted_as`) here, this one included.
        unknown_outcomes: failures of this item, this one included, whose call may have happened.
        jitter: uniform draw in [0, 1); spreads workers that failed in the same second.
        elsewhere: whether the item has another provider left.
    Raises: ValueError if `attempt` < 1, which is our bug.
    """
    if attempt < 1:
        raise ValueError(f"attempt counts from 1, got {attempt}")
    backoff_s = min(rules.max_wait_s, 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)) * (0.5 + jitter / 2)
    if isinstance(error, TransportError):
        return _after_no_answer(error, attempt, unknown_outcomes, rules, backoff_s, elsewhere=elsewhere)
    limit = rules.max_rate_limited if isinstance(error, RateLimited) else rules.max_attempts
    if error.retryable and attempt < limit:
        # The provider knows its own window; coming back sooner only spends another refusal.
        return Retry(max(backoff_s, min(error.retry_after_s or 0.0, MAX_ASKED_WAIT_S)))
    said = f"{type(error).__name__} on attempt {attempt} of {limit}"
    may_pass_there = error.retryable or error.action == "reroute"
    return HandOver(said) if may_pass_there and elsewhere else GiveUp(said)


def _after_no_answer(
    error: TransportError,
    attempt: int,
    unknown_outcomes: int,
    rules: RetryRules,
    backoff_s: float,
    *,
    elsewhere: bool,
) -> NextStep:
    if isinstance(error, BodyTooLarge):
        return GiveUp("the answer is larger than the bound")
    if not error.bytes_sent:
        return Retry(backoff_s)
    if unknown_outcomes > rules.repeat_unknown:
        return GiveUp("the call's outcome stayed unknown")
    if attempt < rules.max_attempts:
        return Retry(backoff_s, excess=True)
    said = f"{type(error).__name__} on attempt {attempt} of {rules.max_attempts}"
    return HandOver(said, excess=True) if elsewhere else GiveUp(said)


def attempt_of(error: ProviderError | TransportError, step: NextStep, *, at: float, provider: str) -> Attempt:
    """What is kept of a failed try at `provider` that ended `at` (Unix seconds) and was followed by `step`."""
    status = error.status if isinstance(error, ProviderError) else None
    match step:
        case Retry(delay_s, excess):
            return Attempt(at, provider, error.code, status, "retry", delay_s, excess)
        case HandOver(_, excess):
            return Attempt(at, provider, error.code, status, "hand_over", excess=excess)
        case GiveUp():
            return Attempt(at, provider, error.code, status, "give_up")
