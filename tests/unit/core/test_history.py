"""What an item has been through, from lease to lease."""

from __future__ import annotations

from dataclasses import replace

import bson
from hypothesis import given
from hypothesis import strategies as st

from tests.support.results import ATTEMPTS, WAITS
from workers.core.history import NO_HISTORY, History, bounded
from workers.core.messages import Attempt, Usage

COUNTS = st.integers(0, 50)
HISTORIES = st.builds(
    History,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    spent_usd=st.none() | st.floats(0, 10),
    usage=st.builds(Usage, COUNTS, COUNTS),
    attempts=st.lists(ATTEMPTS, max_size=5).map(tuple),
    waited_s=WAITS,
    waiting=st.none() | st.tuples(st.sampled_from(["limit", "retry"]), st.floats(0, 2e9)),
)


def tries(count: int) -> list[Attempt]:
    return [Attempt(float(n), "a", "timeout", None, "retry") for n in range(count)]


@given(HISTORIES)
def test_a_history_comes_back_from_the_database_as_it_was(history: History) -> None:
    stored = bson.decode(bson.encode({"1": history.to_doc()}))
    assert History.from_doc(stored["1"]) == history
    assert bool(history.to_doc()) == bool(history) == (history != NO_HISTORY)


def test_the_lists_of_documents_in_the_database_are_still_read() -> None:
    assert History.from_doc([2, 1, 1, 4, 1, 0.25, 10, 5, 0, 0, 0]) == History(
        2, 1, unknown=1, calls=4, asks_again=1, spent_usd=0.25, usage=Usage(10, 5)
    )
    assert History.from_doc([2, 0, 1, 2]) == History(2, unknown=1, calls=2)
    assert History.from_doc(None) == History.from_doc([]) == NO_HISTORY


@given(st.integers(0, 60), st.integers(0, 60))
def test_of_very_many_tries_the_first_and_the_latest_are_kept_however_often_it_is_done(
    before: int, after: int
) -> None:
    made = tries(before + after)
    kept = bounded([*bounded(made[:before]), *made[before:]])
    assert kept == bounded(made)
    assert len(kept) <= 23 and kept[:3] == tuple(made[:3]) and kept[-20:] == tuple(made[-20:])


def test_a_rest_is_added_to_its_reason_once() -> None:
    rested = replace(NO_HISTORY, waiting=("limit", 100.0), waited_s={"limit": 1.0, "retry": 2.0})
    woken = rested.woken(103.5)
    assert (woken.waited_s, woken.waiting) == ({"limit": 4.5, "retry": 2.0}, None)
    assert woken.woken(999.0) == woken
    assert rested.woken(90.0).waited_s["limit"] == 1.0, "another machine's clock may be behind"


@given(HISTORIES)
def test_another_provider_has_failed_nothing_yet_but_nothing_paid_is_forgotten(history: History) -> None:
    there = history.elsewhere()
    assert (there.attempt, there.refusals, there.unreached) == (0, 0, 0)
    assert replace(
        there, attempt=history.attempt, refusals=history.refusals, unreached=history.unreached
    ) == (history)
