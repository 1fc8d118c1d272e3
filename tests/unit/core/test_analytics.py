"""Figures add up, whoever adds them and in which order, and are shown as they are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.analytics import (
    WINDOWS_S,
    Figures,
    Labels,
    Series,
    added,
    failed_share,
    grouped,
    grown,
    in_minute,
    latencies,
    of_metric,
    provider_row,
    recorded_row,
    request_row,
    summed,
    window_start_s,
)
from workers.core.histogram import Histogram
from workers.core.recorded import SUMS

pytestmark = pytest.mark.fast
LABELS = ("method", "endpoint", "status", "process")
LABEL_SETS: st.SearchStrategy[Labels] = st.tuples(st.sampled_from(["GET", "PUT"]), st.sampled_from("ab"))
SERIES: st.SearchStrategy[Series] = st.tuples(st.sampled_from(["requests", "calls"]), LABEL_SETS)


def timed(seconds: float) -> Histogram:
    out = Histogram()
    out.add(seconds)
    return out


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    counts = draw(st.dictionaries(SERIES, st.integers(1, 9).map(float), max_size=4))
    durations = st.floats(0.001, 100.0).map(timed)
    times = draw(st.dictionaries(SERIES.map(lambda series: ("took", series[1])), durations, max_size=3))
    return in_minute(draw(st.integers(0, 9)) * 60, counts, times)


@given(st.lists(figures(), max_size=8), st.integers(0, 8), st.randoms(use_true_random=False))
def test_parts_add_up_to_the_same_in_any_order(parts: list[Figures], cut: int, draw: random.Random) -> None:
    at_once = added(parts)
    mixed = list(parts)
    draw.shuffle(mixed)
    in_two = added([added(mixed[:cut]), added(mixed[cut:])])
    assert in_two.counts == at_once.counts
    assert in_two.seen == at_once.seen
    assert {series: each.buckets for series, each in in_two.times.items()} == {
        series: each.buckets for series, each in at_once.times.items()
    }


@given(figures())
def test_figures_survive_the_way_through_the_database(one: Figures) -> None:
    assert Figures.from_json(one.to_json()) == one
    calls = Figures.from_json(one.to_json(), only=("calls",))
    assert calls.counts == {series: count for series, count in one.counts.items() if series[0] == "calls"}
    assert not calls.times


def test_the_first_and_the_last_minute_of_a_count_are_kept() -> None:
    series = ("requests", ("GET", "a"))
    parts = [in_minute(at, {series: 1.0}, {}) for at in (120, 60, 240)]
    assert added(parts).seen == {series: (60, 240)}


def test_series_are_summed_by_some_of_their_labels() -> None:
    counts: dict[Series, float] = {
        ("requests", ("GET", "/a", "200")): 5.0,
        ("requests", ("GET", "/a", "503")): 1.0,
        ("requests", ("GET", "/b", "200")): 2.0,
        ("other", ("GET", "/b", "200")): 9.0,
    }
    requests = of_metric(counts, "requests")
    assert summed(requests, LABELS, ("endpoint",)) == {("/a",): 6.0, ("/b",): 2.0}
    assert grouped(requests, LABELS, ("status",))["200",] == [5.0, 2.0]
    times: dict[Labels, Histogram] = {("GET", "/a"): timed(1.0), ("PUT", "/a"): timed(3.0)}
    assert latencies(times, LABELS, ("endpoint",))["/a",].count == 2


def test_a_share_of_failures_counts_what_the_server_did_and_not_what_was_refused() -> None:
    assert failed_share({"200": 8, "404": 1, "500": 1}) == 0.1
    assert failed_share({}) is None
    row = request_row({"200": 8.0, "404": 1.0, "503": 1.0}, timed(0.2), 60.0)
    assert (row["requests"], row["refused"], row["errors"], row["error_rate"]) == (10, 1, 1, 0.1)
    assert row["status_codes"] == {"200": 8, "404": 1, "503": 1}
    assert row["latency"]["count"] == 1


@given(st.sampled_from(sorted(WINDOWS_S)), st.floats(1e9, 2e9))
def test_a_window_is_never_shorter_than_it_says_and_begins_where_figures_do(
    window: str, now_s: float
) -> None:
    start_s = window_start_s(window, now_s)
    step_s = 60 if window == "1h" else 3600
    assert start_s % step_s == 0
    assert WINDOWS_S[window] <= now_s - start_s < WINDOWS_S[window] + step_s + 1


def test_a_price_that_nobody_knows_makes_the_sum_unknown_and_what_has_grown_is_never_less_than_nothing() -> (
    None
):
    sums = dict.fromkeys(SUMS, 0) | {
        "items": 5,
        "failed": 2,
        "excess": 1,
        "possibly_repeated": 2,
        "cost_usd": 0.5,
    }
    row = recorded_row(sums)
    assert (row["completed"], row["failed"], row["excess_calls"], row["cost_usd"]) == (3, 2, 3, 0.5)
    assert recorded_row(sums | {"unpriced": 1})["cost_usd"] is None
    assert grown({"calls": 5, "cost_usd": 0.3}, {"calls": 2, "cost_usd": 0.30000000000000004}) == {
        "calls": 3,
        "cost_usd": 0,
    }


def test_a_provider_shows_its_outcomes_and_what_held_its_calls_up() -> None:
    row = provider_row("acme", {"ok": timed(1.0), "timeout": timed(9.0)}, {"limit": 2.0}, {"limit": 0.5})
    assert (row["calls"], row["outcomes"], row["latency"]["max_ms"]) == (2, {"ok": 1, "timeout": 1}, 9000.0)
    assert row["limiter_waits"] == {"limit": {"times": 2, "seconds": 0.5}}
