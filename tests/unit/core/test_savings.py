"""What was spent and saved stays the same sum, however its rows are put together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.results import RESULTS
from workers.core.savings import SHARE_SUMS, By, shares, shown, summed, totals
from workers.core.tally import Tally, total

pytestmark = pytest.mark.fast


def tally(**counts: Any) -> Tally:
    return Tally(**({"recorded": 1, "completed": 1, "calls": 1} | counts))


def row(day: str, provider: str, model: str, **sums: Any) -> dict[str, Any]:
    names = {"day": day, "provider": provider, "model": model, "batches": 1, "first": 1}
    return dict.fromkeys(SHARE_SUMS, 0) | names | sums


def test_a_batch_has_a_row_for_each_provider_and_model_and_none_for_refused_lines() -> None:
    counts = {
        ("s1", "small"): tally(cost_usd=1.0),
        ("s2", "small"): tally(cost_usd=2.0, cached=1, saved_usd=0.5),
        ("s2", "large"): tally(cost_usd=4.0),
        ("s3", "small"): tally(cost_usd=8.0),
        ("s0", ""): Tally(recorded=3, failed=3),
        ("s3", ""): Tally(recorded=2, never_ran=2),
    }
    found = shares(counts, {"s1": "acme", "s2": "acme", "s3": "other", "s0": ""})
    assert [(each["provider"], each["model"], each["cost_usd"], each["first"]) for each in found] == [
        ("acme", "large", 4.0, 1),
        ("acme", "small", 3.0, 0),
        ("other", "small", 8.0, 1),
    ]
    assert found[1]["saved_usd"] == 0.5 and found[1]["items"] == 2


@given(st.lists(st.tuples(st.sampled_from(["s1", "s2"]), st.sampled_from(["m", "n"]), RESULTS), max_size=12))
def test_rows_sum_to_what_the_results_of_the_batch_took(drawn: list[tuple[str, str, Any]]) -> None:
    counts: dict[tuple[str, str], Tally] = {}
    for shard, model, result in drawn:
        counts.setdefault((shard, model), Tally()).add(result, 10)
    whole, found = total(counts.values()), shares(counts, {"s1": "acme", "s2": "other"})
    assert sum(each["calls"] for each in found) == whole.calls
    assert sum(each["items"] for each in found) == whole.recorded - whole.never_ran
    assert [each["provider"] for each in found if each["first"]] == sorted({e["provider"] for e in found})


@given(
    st.lists(
        st.builds(
            row,
            st.sampled_from(["2026-11-01", "2026-11-02"]),
            st.sampled_from(["acme", "other"]),
            st.sampled_from(["small", "large", ""]),
            calls=st.integers(0, 9),
            cost_usd=st.integers(0, 9_000).map(lambda n: n / 1000),
        ),
        max_size=10,
    ),
    st.sampled_from(["day", "provider", "model"]),
)
def test_every_grouping_has_the_same_sum(rows: list[dict[str, Any]], by: By) -> None:
    found = summed(rows, by)
    assert sum(each["calls"] for each in found) == sum(each["calls"] for each in rows)
    assert sum(each["cost_usd"] for each in found) == pytest.approx(totals(rows)["cost_usd"])
    assert sum(each["batches"] for each in found) == len(rows)


def test_a_batch_with_two_models_of_a_provider_is_one_batch_of_it() -> None:
    rows = [row("2026-11-01", "acme", "small"), row("2026-11-01", "acme", "large", first=0)]
    assert [each["batches"] for each in summed(rows, "provider")] == [1]
    assert [(each["model"], each["batches"]) for each in summed(rows, "model")] == [
        ("large", 1),
        ("small", 1),
    ]


def test_an_unknown_price_makes_its_sum_unknown_and_no_other() -> None:
    known = shown(row("2026-11-01", "acme", "", cost_usd=1.0, unpriced=0, saved_usd=2.0, saved_unpriced=1))
    assert (known["cost_usd"], known["saved_usd"], known["model"]) == (1.0, None, None)
    assert shown(row("2026-11-01", "acme", "m", cost_usd=1.0, unpriced=1))["cost_usd"] is None
    assert not {"first", "unpriced", "saved_unpriced"} & known.keys()
