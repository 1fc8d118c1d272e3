"""XFetch: nearer to the end, slower to get, or a larger beta - each makes an early renewal more likely, never less."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from workers.core.xfetch import is_due

DRAWS = st.floats(0.0, 1.0, exclude_max=True)
TIMES_S = st.floats(0.0, 10_000.0)
TOOK_MS = st.floats(0.0, 600_000.0)
END_S = 10_000.0


def due(now_s: float, took_ms: float, draw: float, beta: float = 1.0) -> bool:
    return is_due(now_s, expires_s=END_S, took_ms=took_ms, beta=beta, draw=draw)


def test_the_probability_is_the_papers() -> None:
    """P(now - delta * ln(u) >= expiry) = exp(-(expiry - now) / delta)."""
    draws = [n / 10_000 for n in range(10_000)]
    share = sum(due(END_S - 2.0, 1_000.0, draw) for draw in draws) / len(draws)
    assert math.isclose(share, math.exp(-2.0), abs_tol=0.001)


@given(TIMES_S, TIMES_S, TOOK_MS, TOOK_MS, DRAWS)
def test_later_and_slower_is_never_less_likely(
    one_s: float, other_s: float, one_ms: float, other_ms: float, draw: float
) -> None:
    near, far = max(one_s, other_s), min(one_s, other_s)
    slow, fast = max(one_ms, other_ms), min(one_ms, other_ms)
    if near < END_S and due(far, fast, draw):
        assert due(near, slow, draw)
        assert due(near, slow, draw, beta=2.0)


@given(TIMES_S, TOOK_MS, DRAWS)
def test_with_beta_nought_nothing_is_renewed_before_its_end(
    now_s: float, took_ms: float, draw: float
) -> None:
    assert not due(now_s, took_ms, draw, beta=0.0)


@given(st.floats(0.0, 1e9), TOOK_MS, DRAWS)
def test_an_answer_that_outlived_its_end_was_given_a_longer_life(
    late_s: float, took_ms: float, draw: float
) -> None:
    assert not due(END_S + late_s, took_ms, draw)
