"""A sample is the same for the same content, and says what the whole costs, and how sure that is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.errors import CliError
from app.cli.sampling import (
    Draw,
    Sample,
    Speed,
    Spread,
    cost_of_all,
    drawn,
    left_usd,
    seconds_of_all,
    shown_and_wanted,
)
from app.client.models import batch_from


@given(total=st.integers(1, 500), number=st.integers(1, 600), seed=st.text(max_size=5))
def test_a_draw_takes_so_many_different_items_and_the_same_ones_again(
    total: int, number: int, seed: str
) -> None:
    found = drawn(total, number, seed)
    assert len(found) == min(total, number)
    assert found <= set(range(1, total + 1))
    assert found == drawn(total, number, seed)


def test_another_content_gives_another_draw() -> None:
    assert drawn(10_000, 10, "a") != drawn(10_000, 10, "b")


@given(costs=st.lists(st.floats(0, 100), min_size=2, max_size=30), more=st.integers(0, 10_000))
def test_the_spread_holds_the_guess_and_never_less_than_was_paid(costs: list[float], more: int) -> None:
    found = cost_of_all(costs, len(costs) + more)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.guess * (1 + 1e-9) + 1e-9
    assert found.high >= found.guess * (1 - 1e-9) - 1e-9
    assert found.low >= sum(costs) * (1 - 1e-9) - 1e-9


def test_a_sample_of_everything_leaves_no_doubt() -> None:
    found = cost_of_all([1.0, 2.0, 3.0], 3)
    assert found == Spread(6.0, 6.0, 6.0)


def test_two_standard_errors_lie_to_either_side() -> None:
    # Given 100 items that cost 1 or 3 in turn: mean 2, standard deviation 1.005, standard error 0.1005
    found = cost_of_all([1.0, 3.0] * 50, 1_000_000)
    assert found is not None
    assert found.guess == pytest.approx(2_000_000)
    assert found.high == pytest.approx(2_000_000 + 2 * 100_504, rel=1e-3)


def test_an_unknown_price_gives_no_guess_and_one_item_no_spread() -> None:
    assert cost_of_all([1.0, None], 10) is None
    assert cost_of_all([], 10) is None
    assert cost_of_all([0.5], 10) == Spread(5.0)


def test_time_lies_between_every_slot_in_use_and_the_pace_of_the_sample() -> None:
    latencies_s = [2.0] * 10
    assert seconds_of_all(latencies_s, 4.0, 1_000, Speed(slots=100)) == (20.0, 400.0)
    # A limit of 600 calls a minute makes the fastest way slower
    assert seconds_of_all(latencies_s, 4.0, 1_000, Speed(100, per_minute=600)) == (100.0, 400.0)
    assert seconds_of_all([], 1.0, 10, Speed(1)) == (0.0, 10.0)


def test_what_a_sample_has_cost_is_taken_off_the_ceiling() -> None:
    assert left_usd(None, 5.0) is None
    assert left_usd(1.0, 0.25) == 0.75
    with pytest.raises(CliError) as caught:
        left_usd(1.0, 1.0)
    assert caught.value.exit_code == 4


def test_a_sample_that_rests_at_its_ceiling_says_so_and_guesses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # given a sample of which nothing could be paid
    known: dict[str, Any] = {"id": "batch_1", "status": "in_progress", "endpoint": "/v1/embeddings"}
    known |= {"input_file_id": "file-1", "created_at": 1, "request_counts": {"total": 30}}
    paused = {"paused": True, "pause_reason": "budget", "max_cost_usd": 0.0001}
    draw = cast("Draw", SimpleNamespace(name="a.csv", total=6000))
    sample = Sample(draw, batch_from(known | {"batchwright": paused}), (), None, (0.0, 9.0))
    # when
    assert not shown_and_wanted([sample], as_json=False, yes=True)
    # then
    said = capsys.readouterr().out
    assert "the sample of a.csv rests at its ceiling of $0.0001" in said
    assert "of all" not in said
