"""What the laps of a bench come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench import placement
from app.bench.contest import Course
from app.bench.figures import Lap, Ratio, Row, Target, in_turn, lap_items, ratios
from app.bench.placement import Cores
from app.bench.run import NAMES, Options, growth_sizes
from workers.core.errors import UserError

pytestmark = pytest.mark.fast


def row(name: str, *rates: float) -> Row:
    return Row(name, tuple(Lap(100, 100 / rate, cpu_s=0.2) for rate in rates))


def test_a_row_shows_the_median_of_its_rounds_not_the_best() -> None:
    measured = row("arq", 100.0, 400.0, 900.0)
    assert measured.items_per_s == pytest.approx(400.0)
    assert measured.cpu_ms == pytest.approx(2.0)


def test_a_row_without_a_round_has_no_figures_and_says_why() -> None:
    skipped = Row("arq").without("not installed")
    assert (skipped.items_per_s, skipped.cpu_ms, skipped.skipped) == (None, None, "not installed")


def test_the_raw_loop_of_our_own_transport_is_our_measure_and_not_the_other_one() -> None:
    rows = {"batchwright": row("batchwright", 700), "raw_httpx": row("", 900), "raw_pyreqwest": row("", 1000)}
    (ratio,) = ratios({"misses": rows, "hits": {}}, "pyreqwest")
    assert (ratio.target.other, ratio.met) == ("raw_pyreqwest", True)
    assert ratio.reached == pytest.approx(0.7)


def test_a_target_whose_other_side_was_skipped_is_neither_met_nor_missed() -> None:
    rows = {"batchwright": row("batchwright", 700), "arq": Row("arq").without("not installed")}
    assert not ratios({"misses": rows, "hits": {}}, "httpx")


def test_a_ratio_just_below_its_target_is_a_miss() -> None:
    assert not Ratio(Target("hits", "insert_many", 0.8), 0.7999).met


@given(st.integers(1, 9), st.integers(0, 30))
def test_every_engine_has_one_turn_in_each_round_and_begins_one_in_as_many_rounds(
    size: int, start: int
) -> None:
    names = [str(number) for number in range(size)]
    rounds = [in_turn(names, number) for number in range(start, start + size)]
    assert all(sorted(each) == sorted(names) for each in rounds)
    assert sorted(each[0] for each in rounds) == sorted(names)


@given(st.floats(0.1, 1e6), st.floats(0.1, 10), st.integers(1, 5000))
def test_a_lap_is_never_smaller_or_larger_than_its_bounds(rate: float, seconds: float, least: int) -> None:
    assert least <= lap_items(rate, seconds=seconds, least=least, most=40_000) <= 40_000


def test_a_lap_lasts_about_as_long_as_it_should() -> None:
    assert lap_items(1234.5, seconds=2.0, least=100, most=40_000) == 2400


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(0, []), (500, [500]), (1000, [1000]), (100_000, [1000, 10_000, 100_000]), (2500, [1000, 2500])],
)
def test_growth_goes_in_powers_of_ten_up_to_the_largest(largest: int, sizes: list[int]) -> None:
    assert growth_sizes(largest) == sizes


def test_a_name_that_is_no_engine_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match="'celeri'"):
        Options(only=("celeri",))


def test_without_names_every_engine_takes_part() -> None:
    assert all(Course(3, 1.0, 100, frozenset()).wants(name) for name in NAMES)
    assert not Course(3, 1.0, 100, frozenset({"arq"})).wants("openai")


@pytest.mark.parametrize(
    ("usable", "placed"),
    [([0, 1], Cores(1, (0,))), ([2, 4, 6], Cores(6, (2, 4))), ([0], Cores()), ([], Cores())],
)
def test_the_engine_has_the_last_core_to_itself_where_there_are_two(usable: list[int], placed: Cores) -> None:
    assert placement.choose(usable) == placed
