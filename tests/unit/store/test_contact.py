"""A server that one can do without is left alone after a failure, the longer the dearer that was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.store.contact import LONGEST_S, SHORTEST_S, Contact


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(took_s=st.floats(0, 100))
def test_at_most_a_fifth_of_the_time_is_spent_on_a_server_that_is_away(took_s: float) -> None:
    clock = Clock()
    contact = Contact("it", "nothing", clock=clock)
    asked_at = contact.now()
    clock.now += took_s
    contact.lost(TimeoutError(), asked_at)
    assert contact.away
    clock.now += min(LONGEST_S, max(SHORTEST_S, 4 * took_s)) + 0.001
    assert not contact.away


def test_one_that_answers_is_asked_at_once() -> None:
    clock = Clock()
    contact = Contact("it", "nothing", clock=clock)
    contact.lost(TimeoutError(), contact.now())
    contact.found()
    assert not contact.away
