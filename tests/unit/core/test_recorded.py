"""What a batch leaves in the ledger for the sums over all of them is what its own counts say."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.recorded import SUMS, added, recorded_rows, row_of
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
