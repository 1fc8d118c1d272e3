"""What a batch leaves in the ledger for the sums over all of them is what its own counts say."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.recorded import SUMS, added, lost_calls, recorded_rows, row_of
from workers.core.tally import Tally, total

pytestmark = pytest.mark.fast
_COUNT = st.integers(0, 50)
_TALLIES = st.builds(Tally, **{each.name: _COUNT for each in fields(Tally)})
_SHARDS = {"s1": "openai", "s2": "openai", "s3": "ollama"}
_COUNTS = st.dictionaries(
    st.tuples(st.sampled_from([*_SHARDS, "gone"]), st.sampled_from(["m", "n"])), _TALLIES
)
_REPEATED = st.dictionaries(st.sampled_from(["openai", "ollama", ""]), _COUNT)


@settings(max_examples=30)
@given(_COUNTS, _REPEATED)
def test_the_rows_of_a_batch_sum_to_its_counts_whoever_answered(
    counts: dict[tuple[str, str], Tally], repeated: dict[str, int]
) -> None:
    rows = recorded_rows(counts, _SHARDS, repeated)
    whole, sums = total(counts.values()), added(rows)
    wanted = row_of(whole, sum(repeated.values()))
    assert {name: sum(row[name] for row in sums.values()) for name in SUMS} == wanted
    assert wanted["items"] - wanted["failed"] == whole.recorded - whole.never_ran - whole.failed
    assert len({row["provider"] for row in rows}) == len(rows)
    assert all(value for row in rows for name, value in row.items() if name != "provider"), (
        "no zero is stored"
    )


def test_lines_nobody_was_asked_for_are_no_providers() -> None:
    rows = recorded_rows({("refused", ""): Tally(recorded=2, failed=2)}, {}, {})
    assert rows == [{"provider": "", "items": 2, "failed": 2}]


def row(fence: int, source: str, *, calls: int = 1, excess: int = 0) -> dict[str, object]:
    return {"fence": fence, "source": source, "calls": calls, "excess": excess}


@pytest.mark.parametrize(
    ("rows", "lost"),
    [
        pytest.param([], 5, id="nothing was recorded"),
        pytest.param(
            [row(1, "call"), row(1, "call", calls=3)], 3, id="refused attempts are no calls under way"
        ),
        pytest.param([row(1, "cache", calls=0), row(1, "coalesced", calls=0)], 5, id="no call of their own"),
        pytest.param([row(1, "call", calls=2, excess=1)], 3, id="a repeat is two"),
        pytest.param([row(3, "call"), row(3, "call")], 5, id="of a later lease"),
        pytest.param([row(1, "call")] * 3 + [row(2, "call")] * 9, 0, id="never less than none"),
    ],
)
def test_lost_are_the_calls_that_a_lease_had_started_and_that_brought_no_result(
    rows: list[dict[str, object]], lost: int
) -> None:
    assert lost_calls([{"fence": 1, "started": 3}, {"fence": 2, "started": 2}], rows) == lost
