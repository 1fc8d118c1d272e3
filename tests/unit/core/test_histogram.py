"""Durations in buckets: nothing is lost, parts add up, percentiles are as near as a bucket is wide."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.histogram import BOUNDS_S, PROMETHEUS_BOUNDS_S, Histogram, as_dict, merged

pytestmark = pytest.mark.fast
DURATIONS = st.lists(st.floats(0.0, 2000.0), max_size=60)


def of(durations: list[float]) -> Histogram:
    out = Histogram()
    for each in durations:
        out.add(each)
    return out


def test_the_bounds_rise_and_prometheus_gets_a_few_of_them() -> None:
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))
    assert set(PROMETHEUS_BOUNDS_S) <= set(BOUNDS_S)
    assert PROMETHEUS_BOUNDS_S[:4] == (0.001, 0.0025, 0.005, 0.01)
    assert PROMETHEUS_BOUNDS_S[-1] == 1000.0


@given(DURATIONS, DURATIONS)
def test_two_histograms_merged_are_one_of_all_durations(one: list[float], other: list[float]) -> None:
    together = merged([of(one), of(other)])
    assert (together.buckets, together.count) == (of(one + other).buckets, len(one + other))
    assert math.isclose(together.sum_s, sum(one + other), abs_tol=1e-6)


@given(DURATIONS, DURATIONS)
def test_what_came_after_a_copy_is_what_was_added(before: list[float], after: list[float]) -> None:
    histogram = of(before)
    copy = histogram.copy()
    for each in after:
        histogram.add(each)
    added = histogram.since(copy)
    assert added.buckets == of(after).buckets
    # The extremes hold all that was added, and lie in its outer buckets.
    if after:
        assert added.min_s <= min(after) and max(after) <= added.max_s
        assert of([added.max_s]).buckets.keys() == {max(added.buckets)}
        assert added.min_s >= (BOUNDS_S[min(added.buckets) - 1] if min(added.buckets) else 0.0)


@given(st.lists(st.floats(0.001, 1000.0), min_size=1, max_size=80), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_within_a_bucket_of_the_true_one(durations: list[float], share: float) -> None:
    true = sorted(durations)[math.ceil(share * len(durations)) - 1]
    found = of(durations).percentile_s(share)
    assert found is not None
    assert true / 1.27 <= found <= true * 1.27


@given(DURATIONS)
def test_prometheus_counts_what_is_not_over_a_bound(durations: list[float]) -> None:
    for bound, count in of(durations).below():
        assert count == sum(each <= bound for each in durations)


@given(DURATIONS)
def test_the_stored_form_reads_back(durations: list[float]) -> None:
    assert Histogram.from_doc(of(durations).to_doc()) == of(durations)


def test_nothing_measured_is_null_and_not_zero() -> None:
    assert as_dict(Histogram()) == {"count": 0} | dict.fromkeys(
        ["min_ms", "avg_ms", "max_ms", "p50_ms", "p95_ms", "p99_ms"]
    )
