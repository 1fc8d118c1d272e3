"""When a sweeper must leave leases alone, told by clock values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.silence import Clocks, overslept, silent_until

LEASE_S = 60.0
START = Clocks(wall=1_700_000_000.0, monotonic=5_000.0)


def later(*, wall_s: float, monotonic_s: float) -> Clocks:
    return Clocks(START.wall + wall_s, START.monotonic + monotonic_s)


@pytest.mark.parametrize(
    ("what", "wall_s", "monotonic_s", "gap"),
    [
        ("a sleep as it was asked for", 5.0, 5.0, False),
        ("a busy machine", 12.0, 12.0, False),
        ("a laptop that was closed for an hour", 3600.0, 5.0, True),
        ("a process that was stopped for two leases", 125.0, 125.0, True),
        ("a clock set back by an hour", -3595.0, 5.0, False),
        ("a clock set back while the process was stopped", -3475.0, 125.0, True),
    ],
)
def test_a_gap_is_time_that_passed_without_us(
    what: str, wall_s: float, monotonic_s: float, gap: bool
) -> None:
    now = later(wall_s=wall_s, monotonic_s=monotonic_s)
    assert overslept(5.0, START, now, LEASE_S) is gap, what


@given(lease_s=st.floats(1, 600), asked_s=st.floats(0, 60), gap_s=st.floats(0, 5000), suspended=st.booleans())
def test_no_gap_that_could_end_a_lease_renewed_in_time_goes_unnoticed(
    lease_s: float, asked_s: float, gap_s: float, suspended: bool
) -> None:
    """A holder renews every third of its lease: two thirds are left at worst when everything stops."""
    now = later(wall_s=asked_s + gap_s, monotonic_s=asked_s + (0.0 if suspended else gap_s))
    if gap_s > lease_s * 2 / 3:
        assert overslept(asked_s, START, now, lease_s)
    if gap_s < lease_s * 0.49:
        assert not overslept(asked_s, START, now, lease_s)


@given(before_s=st.floats(0, 1e6), monotonic=st.floats(0, 1e6), lease_s=st.floats(1, 600))
def test_silence_lasts_a_lease_and_is_never_shortened(
    before_s: float, monotonic: float, lease_s: float
) -> None:
    until = silent_until(before_s, Clocks(0.0, monotonic), lease_s)
    assert until >= before_s and until >= monotonic + lease_s
    assert until in (before_s, monotonic + lease_s)
