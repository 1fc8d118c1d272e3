"""Walks through long rows: everything gets its turn, whatever stands in front of it."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect, OperationFailure

from workers.walk import Walk

ROWS = st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=30).map(sorted)
LONG_S = 60.0


def row_of(ids: list[str]) -> Callable[[str, int], list[str]]:
    """What a store's look by index does."""

    def look(after: str, limit: int) -> list[str]:
        start = bisect_right(ids, after)
        return ids[start : start + limit]

    return look


@given(ids=ROWS, page=st.integers(1, 7))
def test_a_walk_with_time_meets_each_id_once_and_begins_anew(ids: list[str], page: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("workers.walk.PAGE", page)
        walk, met = Walk("test"), list[str]()
        for _ in range(2):
            assert walk.each(row_of(ids), met.append, time.monotonic() + LONG_S)
    assert met == ids * 2


@given(ids=ROWS, page=st.integers(1, 7))
def test_pages_of_a_walk_cover_the_row_once_a_pass(ids: list[str], page: int) -> None:
    walk, met = Walk("test"), list[str]()
    for _ in range(len(ids) // page + 1):
        met += walk.page(row_of(ids), page)
    assert met == ids and walk.after == ""


def test_one_that_takes_all_the_time_is_behind_the_others_in_the_next_round() -> None:
    ids, met, walk = ["a", "b", "c"], list[str](), Walk("test")

    def takes_all(one: str) -> None:
        met.append(one)
        while time.monotonic() <= until:
            pass

    for _ in range(3):
        until = time.monotonic() + 0.002
        walk.each(row_of(ids), takes_all, until)
    assert met == ids


@pytest.mark.parametrize("wrong", [KeyError("provider"), OperationFailure("not a number", 14)])
def test_what_is_wrong_with_one_stops_no_other(wrong: Exception, caplog: pytest.LogCaptureFixture) -> None:
    met: list[str] = []

    def act(one: str) -> None:
        if one == "a":
            raise wrong
        met.append(one)

    assert Walk("test").each(row_of(["a", "b"]), act, time.monotonic() + LONG_S)
    assert met == ["b"] and "a is left as it is" in caplog.text


@pytest.mark.parametrize("trouble", [AutoReconnect("away"), OperationFailure("disk full", 14031)])
def test_a_database_in_trouble_stops_the_walk_and_is_heard_of(trouble: Exception) -> None:
    def act(_: str) -> None:
        raise trouble

    with pytest.raises(type(trouble)):
        Walk("test").each(row_of(["a", "b"]), act, time.monotonic() + LONG_S)
