"""The meters: GCRA, the headers' words, and that nobody who waits as told is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.limits import Limit, Meter, go_duration
from app.simulator.openai import OpenAI

pytestmark = pytest.mark.fast


@given(
    st.integers(1, 10_000),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=80),
)
def test_no_minute_grants_more_than_its_limit_and_one_burst(
    per_minute: int, burst_share: float, arrivals: list[tuple[float, int]]
) -> None:
    meter, now, granted = Meter(Limit("requests", per_minute, burst_share)), 1000.0, list[tuple[float, int]]()
    for gap, cost in arrivals:
        now += gap
        if meter.wait_s(cost, now) == 0:
            meter = meter.spent(cost, now)
            granted.append((now, cost))
    for start, _ in granted:
        within = sum(cost for at, cost in granted if start <= at < start + 60)
        assert within <= per_minute + meter.limit.capacity + 1e-6


@given(st.integers(1, 10**7), st.integers(1, 100), st.floats(0, 1e7))
def test_what_is_left_is_what_was_not_spent_however_long_the_clock_has_run(
    per_minute: int, cost: int, now: float
) -> None:
    limit = Limit("tokens", per_minute)
    assert Meter(limit).spent(cost, now).remaining(now) == max(0, limit.capacity - cost)


@given(st.integers(1, 1000), st.integers(1, 30), st.floats(0, 1e6))
def test_whoever_waits_as_told_is_admitted(per_minute: int, calls: int, start: float) -> None:
    meter, now = Meter(Limit("requests", per_minute)), start
    for _ in range(calls):
        now += math.ceil(meter.wait_s(1, now) * 1000) / 1000
        assert meter.wait_s(1, now) == 0
        meter = meter.spent(1, now)


def test_a_call_that_never_fits_waits_for_ever() -> None:
    assert Meter(Limit("tokens", 100)).wait_s(101, 0.0) == math.inf
    assert Meter(Limit("tokens", 100)).wait_s(100, 0.0) == 0


def test_the_headers_tell_the_state_after_the_call() -> None:
    meter = Meter(Limit("requests", 60)).spent(3, now=5.0)
    assert OpenAI().limit_headers([meter], 5.0, 0) == [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "57"),
        ("x-ratelimit-reset-requests", "3s"),
    ]
    assert meter.remaining(6.5) == 58
    assert meter.remaining(100.0) == 60


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3601.5, "1h0m1.5s"),
    ],
)
def test_durations_are_written_as_the_provider_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
