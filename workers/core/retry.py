"""Decide what follows a failed attempt. Pure: the caller supplies the random draw.

engine/pipeline.py asks and carries the answer out; nobody sleeps in here.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.core.errors import BodyTooLarge, ProviderError, RateLimited, TransportError

MAX_ASKED_WAIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask again after `delay_s`. `excess`: the failed call may have happened, so the next one may repeat it."""

    delay_s: float
    excess: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Record the failure as the item's result."""

    reason: str


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


def after_failure(
    error: ProviderError | TransportError,
    *,
    attempt: int,
    unknown_outcomes: int,
    rules: RetryRules,
    jitter: float,
) -> Retry | GiveUp:
    """Choose between one more attempt and giving up.

    Args:
        attempt: the attempt that just failed, counted from 1; refusals for rate (429) are counted by themselves.
        unknown_outcomes: failures of this item, this one included, whose call may have happened.
        jitter: uniform draw in [0, 1); spreads workers that failed in the same second.
    """
    if attempt < 1:
        raise ValueError(f"attempt counts from 1, got {attempt}")
    backoff_s = min(rules.max_wait_s, 2.0 ** min(attempt - 1, 6)) * (0.5 + jitter / 2)
    if isinstance(error, TransportError):
        return _after_no_answer(error, attempt, unknown_outcomes, rules, backoff_s)
    limit = rules.max_rate_limited if isinstance(error, RateLimited) else rules.max_attempts
    if not error.retryable or attempt >= limit:
        return GiveUp(f"{type(error).__name__} on attempt {attempt} of {limit}")
    asked_s = min(error.retry_after_s or 0.0, MAX_ASKED_WAIT_S)
    # The provider knows its own window; coming back sooner only spends another refusal.
    return Retry(max(backoff_s, asked_s))


def _after_no_answer(
    error: TransportError, attempt: int, unknown_outcomes: int, rules: RetryRules, backoff_s: float
) -> Retry | GiveUp:
    if isinstance(error, BodyTooLarge):
        return GiveUp("the answer is larger than the bound")
    if attempt >= rules.max_attempts:
        return GiveUp(f"{type(error).__name__} on attempt {attempt} of {rules.max_attempts}")
    if not error.bytes_sent:
        return Retry(backoff_s)
    if unknown_outcomes > rules.repeat_unknown:
        return GiveUp("the call's outcome stayed unknown")
    return Retry(backoff_s, excess=True)
