"""What follows a failed attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors import (
    BodyTooLarge,
    CallTimeout,
    ContentBlocked,
    ContextTooLong,
    InternalFault,
    KeyRefused,
    ModelUnknown,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    TransportError,
    Untranslatable,
    UnusableReply,
)
from workers.core.messages import Attempt
from workers.core.retry import (
    MAX_ASKED_WAIT_S,
    GiveUp,
    HandOver,
    NextStep,
    Retry,
    RetryRules,
    after_failure,
    attempt_of,
    counted_as,
)

JITTER = st.floats(0, 1, exclude_max=True)
ASKED = st.none() | st.floats(0, 1e9)
ATTEMPTS = st.integers(1, 1000)
RULES = st.builds(
    RetryRules,
    max_attempts=st.integers(1, 10),
    max_rate_limited=st.integers(1, 30),
    repeat_unknown=st.integers(0, 1),
    max_wait_s=st.floats(0, 600),
)


def decide(
    error: ProviderError | TransportError,
    attempt: int = 1,
    *,
    unknown: int = 0,
    rules: RetryRules | None = None,
    jitter: float = 0.0,
    elsewhere: bool = False,
) -> NextStep:
    return after_failure(
        error,
        attempt=attempt,
        unknown_outcomes=unknown,
        rules=rules or RetryRules(),
        jitter=jitter,
        elsewhere=elsewhere,
    )


def rate_limited(asked_s: float | None) -> RateLimited:
    return RateLimited("busy", provider="acme", retry_after_s=asked_s)


@given(ASKED, ATTEMPTS, JITTER, RULES)
def test_a_retry_never_comes_back_sooner_than_the_provider_asked(
    asked_s: float | None, attempt: int, jitter: float, rules: RetryRules
) -> None:
    step = decide(rate_limited(asked_s), attempt, rules=rules, jitter=jitter)
    if isinstance(step, Retry):
        assert step.delay_s >= min(asked_s or 0.0, MAX_ASKED_WAIT_S)


@given(ASKED, ATTEMPTS, JITTER, RULES)
def test_no_wait_is_longer_than_a_quarter_of_an_hour_or_our_own_bound(
    asked_s: float | None, attempt: int, jitter: float, rules: RetryRules
) -> None:
    step = decide(rate_limited(asked_s), attempt, rules=rules, jitter=jitter)
    if isinstance(step, Retry):
        assert 0 <= step.delay_s <= max(rules.max_wait_s, min(asked_s or 0.0, MAX_ASKED_WAIT_S))


@given(
    st.sampled_from(
        [
            rate_limited(None),
            Overloaded("500", provider="acme"),
            UnusableReply("html", provider="acme"),
            CallTimeout("late", bytes_sent=True),
        ]
    ),
    RULES,
    JITTER,
    st.booleans(),
)
def test_every_request_that_reaches_its_provider_comes_to_an_end_there(
    error: ProviderError | TransportError, rules: RetryRules, jitter: float, elsewhere: bool
) -> None:
    unknown = 0
    for attempt in range(1, 40):
        unknown += isinstance(error, TransportError)
        step = decide(error, attempt, unknown=unknown, rules=rules, jitter=jitter, elsewhere=elsewhere)
        if not isinstance(step, Retry):
            assert elsewhere or isinstance(step, GiveUp)
            return
    pytest.fail("it would be asked for ever")


@given(st.integers(0, 5), RULES, JITTER)
def test_a_call_of_unknown_outcome_is_never_followed_by_more_calls_than_may_be_paid_twice(
    unknown: int, rules: RetryRules, jitter: float
) -> None:
    """Wherever the next call would go."""
    late = CallTimeout("late", bytes_sent=True)
    for attempt in range(1, 12):
        step = decide(late, attempt, unknown=unknown, rules=rules, jitter=jitter, elsewhere=True)
        assert isinstance(step, GiveUp) == (unknown > rules.repeat_unknown)
        assert isinstance(step, GiveUp) or step.excess


@pytest.mark.parametrize("kind", [QuotaExhausted, KeyRefused, ModelUnknown])
def test_what_this_provider_will_never_answer_goes_to_another_at_once(kind: type[ProviderError]) -> None:
    assert isinstance(decide(kind("no", provider="a"), elsewhere=True), HandOver)
    assert isinstance(decide(kind("no", provider="a")), GiveUp)


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("503", provider="a"),
        UnusableReply("html", provider="a"),
        CallTimeout("late", bytes_sent=True),
    ],
)
def test_the_last_attempt_is_followed_by_another_provider(error: ProviderError | TransportError) -> None:
    assert isinstance(decide(error, 2, unknown=1, elsewhere=True), Retry)
    step = decide(error, 3, unknown=1, elsewhere=True)
    assert isinstance(step, HandOver) and step.excess == isinstance(error, TransportError)


@pytest.mark.parametrize(
    "error",
    [
        RequestRefused("400", provider="a"),
        ContextTooLong("too long", provider="a"),
        ContentBlocked("filtered", provider="a"),
        Untranslatable("no n", provider="a", param="n"),
        InternalFault("bug", provider="a"),
        BodyTooLarge("1 GB", bytes_sent=True),
    ],
)
def test_what_is_no_failure_of_the_provider_goes_nowhere_else(error: ProviderError | TransportError) -> None:
    assert isinstance(decide(error, unknown=1, elsewhere=True), GiveUp)


def test_a_provider_that_nobody_reaches_is_asked_for_ever_and_less_and_less_often() -> None:
    unsent, rules = TransportError("refused", bytes_sent=False), RetryRules(max_attempts=1)
    steps = [decide(unsent, tries, rules=rules, elsewhere=True) for tries in (1, 2, 3, 1000)]
    assert steps == [Retry(0.5), Retry(1.0), Retry(2.0), Retry(32.0)]


def test_failures_are_counted_by_their_kind() -> None:
    late, refused = CallTimeout("late", bytes_sent=True), TransportError("refused", bytes_sent=False)
    assert [
        counted_as(error) for error in (late, refused, rate_limited(None), KeyRefused("", provider="a"))
    ] == [
        "attempt",
        "unreached",
        "refusals",
        "attempt",
    ]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (Retry(2.5, excess=True), Attempt(9.0, "a", "timeout", None, "retry", 2.5, excess=True)),
        (HandOver("why", excess=True), Attempt(9.0, "a", "timeout", None, "hand_over", excess=True)),
        (GiveUp("why"), Attempt(9.0, "a", "timeout", None, "give_up")),
    ],
)
def test_a_failed_try_is_kept_with_what_followed(step: NextStep, kept: Attempt) -> None:
    assert attempt_of(CallTimeout("late", bytes_sent=True), step, at=9.0, provider="a") == kept


def test_a_failed_try_is_kept_in_the_words_of_the_error_file() -> None:
    overloaded = Overloaded("503", provider="a", status=503)
    assert attempt_of(overloaded, Retry(1.0), at=1.0, provider="a") == Attempt(
        1.0, "a", "provider_unavailable", 503, "retry", 1.0
    )


@pytest.mark.parametrize("refused", [RequestRefused("400", provider="a"), KeyRefused("401", provider="a")])
def test_what_the_provider_refuses_is_not_asked_again(refused: ProviderError) -> None:
    assert isinstance(decide(refused), GiveUp)


def test_an_answered_failure_is_an_attempt_and_never_excess() -> None:
    assert decide(Overloaded("503", provider="a")) == Retry(0.5, excess=False)
    assert isinstance(decide(Overloaded("503", provider="a"), 3), GiveUp)
    assert isinstance(decide(rate_limited(None), 3), Retry), "a 429 says nothing against the request"


def test_a_call_of_unknown_outcome_is_repeated_once_and_counted() -> None:
    broken = TransportError("reset", bytes_sent=True)
    assert decide(broken, 1, unknown=1) == Retry(0.5, excess=True)
    assert isinstance(decide(broken, 2, unknown=2), GiveUp)
    assert isinstance(decide(broken, 1, unknown=1, rules=RetryRules(repeat_unknown=0)), GiveUp)


def test_a_call_that_was_never_sent_is_repeated_for_nothing() -> None:
    unsent = TransportError("refused", bytes_sent=False)
    assert decide(unsent, 1, rules=RetryRules(repeat_unknown=0)) == Retry(0.5, excess=False)


def test_an_answer_over_the_bound_is_not_asked_for_again() -> None:
    assert isinstance(decide(BodyTooLarge("1 GB", bytes_sent=True), unknown=1), GiveUp)


@given(JITTER)
def test_waits_double_and_chance_spreads_them(jitter: float) -> None:
    waits = []
    for attempt in range(1, 9):
        step = decide(rate_limited(None), attempt, jitter=jitter, rules=RetryRules(max_wait_s=1000))
        assert isinstance(step, Retry)
        waits.append(step.delay_s)
    expected = [2.0 ** min(n, 6) * (0.5 + jitter / 2) for n in range(8)]
    assert waits == pytest.approx(expected)


def test_an_attempt_below_one_is_our_bug() -> None:
    with pytest.raises(ValueError, match="counts from 1"):
        decide(rate_limited(None), 0)
