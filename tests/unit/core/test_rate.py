"""Estimates err on the side of what a request may cost; bursts are a tenth of the minute."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.rate import burst_of, estimate_tokens, must_park


@given(st.integers(0, 10**7), st.dictionaries(st.sampled_from(["max_tokens", "n", "input"]), st.integers()))
def test_an_estimate_is_at_least_the_input_and_one(size: int, body: dict[str, Any]) -> None:
    assert estimate_tokens(size, body) >= size // 4 + 1


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": []}, 101 + 256),
        ({"messages": [], "max_tokens": 50}, 101 + 50),
        ({"messages": [], "max_completion_tokens": 70, "max_tokens": 50}, 101 + 70),
        ({"messages": [], "max_tokens": 50, "n": 3}, 101 + 150),
        ({"messages": [], "max_tokens": "many", "n": "x"}, 101 + 256),
        ({"input": "text"}, 101),
    ],
)
def test_an_estimate_counts_input_output_and_choices(body: dict[str, Any], tokens: int) -> None:
    assert estimate_tokens(400, body) == tokens


def test_a_slot_is_held_for_two_seconds_and_no_longer() -> None:
    assert not must_park(2.0)
    assert must_park(2.01)


@given(st.integers(1, 10**9))
def test_a_burst_is_a_tenth_and_never_nothing(per_minute: int) -> None:
    assert burst_of(per_minute) == max(1, per_minute // 10)
