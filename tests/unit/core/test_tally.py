"""Counts add up, in whatever order and by whatever shards the results come."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.results import RESULTS
from workers.core.messages import Result
from workers.core.tally import FIELD_NAMES, Tally, tally_from, total

MEASURED = st.lists(st.tuples(RESULTS, st.integers(0, 10_000)), max_size=8)


def tally(measured: Sequence[tuple[Result, int]]) -> Tally:
    out = Tally()
    for result, line_bytes in measured:
        out.add(result, line_bytes)
    return out


@given(MEASURED)
def test_every_result_is_completed_failed_or_never_ran(measured: list[tuple[Result, int]]) -> None:
    counts = tally(measured)
    assert counts.recorded == len(measured)
    assert counts.completed + counts.failed + counts.never_ran == counts.recorded
    assert counts.output_bytes + counts.error_bytes == sum(size for _, size in measured)


@given(MEASURED, MEASURED)
def test_the_sum_of_two_shards_is_the_tally_of_all_their_results(
    one: list[tuple[Result, int]], other: list[tuple[Result, int]]
) -> None:
    added = total([tally(one), tally(other)]).as_dict()
    assert added == pytest.approx(tally([*one, *other]).as_dict())


@given(MEASURED)
def test_a_stored_tally_reads_back_as_it_was(measured: list[tuple[Result, int]]) -> None:
    counts = tally(measured)
    assert tally_from(counts.as_dict()) == counts
    assert set(counts.as_dict()) == set(FIELD_NAMES)


def test_what_is_missing_in_a_stored_tally_is_nothing() -> None:
    assert tally_from(None) == tally_from({}) == Tally()


@given(MEASURED)
def test_a_cost_with_an_unknown_part_is_unknown(measured: list[tuple[Result, int]]) -> None:
    counts = tally(measured)
    unknown = any(result.cost_usd is None for result, _ in measured)
    assert (counts.known_cost_usd is None) == unknown
