"""A lane that only fails is left alone, tried by one call, and left alone for longer if that fails, too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.core.breaker import Breaker
from workers.core.lanes import BreakerRules, NotNow

RULES = BreakerRules(failures=3, open_s=5.0, max_open_s=12.0)


def fail(breaker: Breaker, at_ms: float, count: int = 1) -> None:
    breaker.heard(at_ms, alive=0, failed=count, rules=RULES)


def test_failures_in_a_row_open_it_and_an_answer_between_starts_the_row_anew() -> None:
    breaker = Breaker()
    fail(breaker, 0, 2)
    breaker.heard(0, alive=1, failed=9, rules=RULES)
    fail(breaker, 0, 2)
    assert breaker.state(0) == "closed" and breaker.not_now(0, probing=False) is None
    fail(breaker, 0)
    assert breaker.state(0) == "open" and breaker.not_now(1_000, probing=False) == NotNow(
        "breaker", 4.0, lane=True
    )


def test_one_call_tries_and_each_failure_of_it_doubles_the_rest() -> None:
    breaker, at_ms = Breaker(), 0.0
    fail(breaker, at_ms, 3)
    for rest_s in (5.0, 10.0, 12.0, 12.0):
        assert breaker.not_now(at_ms, probing=False) == NotNow("breaker", rest_s, lane=True)
        at_ms += rest_s * 1000
        assert breaker.state(at_ms) == "half-open" and breaker.not_now(at_ms, probing=False) is None
        breaker.start("a")
        assert breaker.not_now(at_ms, probing=True) == NotNow("breaker", 1.0, lane=True), "the others wait"
        fail(breaker, at_ms)
    breaker.heard(at_ms, alive=1, failed=0, rules=RULES)
    assert breaker == Breaker()


@given(st.lists(st.integers(1, 50), max_size=20))
def test_late_failures_of_earlier_calls_do_not_make_the_rest_longer(late: list[int]) -> None:
    breaker = Breaker()
    fail(breaker, 0, 3)
    for count in late:
        fail(breaker, 4_000, count)
        fail(breaker, 6_000, count)
    assert breaker.open_till_ms == 5_000
