"""Estimates err on the side of what a request may cost; bursts are a tenth of the minute."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.rate import burst_of, estimate_tokens, must_park

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["messages", "input", "prompt", "tools", "max_tokens", "n", "file_url", "text"])


@given(st.integers(0, 10**7), st.dictionaries(FIELDS, JSON))
def test_any_request_has_an_estimate_of_at_least_one(size: int, body: dict[str, Any]) -> None:
    assert estimate_tokens(size, body) >= 1


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": []}, 3 + 256),
        ({"messages": [], "max_tokens": 50}, 3 + 50),
        ({"messages": [], "max_completion_tokens": 70, "max_tokens": 50}, 3 + 70),
        ({"messages": [], "max_tokens": 50, "n": 3}, 3 + 150),
        ({"messages": [], "max_tokens": "many", "n": "x"}, 3 + 256),
        ({"input": "text"}, 1),
        ({}, 100 + 256),  # of unknown shape: four bytes a token
    ],
)
def test_an_estimate_counts_input_output_and_choices(body: dict[str, Any], tokens: int) -> None:
    assert estimate_tokens(400, body) == tokens


def test_whatever_cap_a_line_names_a_shard_s_estimate_fits_a_database() -> None:
    body = {"messages": [], "max_tokens": 2**63, "n": 128}
    assert 500 * estimate_tokens(400, body) < 2**63


def test_the_endpoint_says_whether_an_input_has_an_answer() -> None:
    body = {"input": "text"}
    assert estimate_tokens(400, body, "/v1/embeddings") == 1
    assert estimate_tokens(400, body, "/v1/responses") == 1 + 256


def test_a_picture_is_not_counted_by_its_bytes() -> None:
    url = "data:image/png;base64," + "A" * 400_000
    body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    assert estimate_tokens(400_200, body) < 2_000


def test_a_slot_is_held_for_two_seconds_and_no_longer() -> None:
    assert not must_park(2.0)
    assert must_park(2.01)


@given(st.integers(1, 10**9))
def test_a_burst_is_a_tenth_and_never_nothing(per_minute: int) -> None:
    assert burst_of(per_minute) == max(1, per_minute // 10)
