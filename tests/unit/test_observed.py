"""What a process counts and times: differences, the stored form, and a bound on the number of series."""

from __future__ import annotations

import pytest

from workers.metric import Metric
from workers.observed import MOST_SERIES, OTHER, Observed, Readings

pytestmark = pytest.mark.fast
SEEN = Metric("batchwright_seen_total", "counter", "For this test.", ("what",))
TOOK = Metric("batchwright_took_seconds", "histogram", "For this test.", ("what",))


def test_what_was_seen_between_two_readings_is_their_difference() -> None:
    observed = Observed()
    observed.count(SEEN, "tea", by=2)
    observed.time(TOOK, "tea", seconds=0.5)
    before = observed.read()
    observed.count(SEEN, "tea")
    observed.count(SEEN, "milk")
    observed.time(TOOK, "tea", seconds=3.0, times=2)
    more = observed.read().since(before)
    assert more.counts == {(SEEN.name, ("tea",)): 1.0, (SEEN.name, ("milk",)): 1.0}
    assert more.times[TOOK.name, ("tea",)].count == 2
    assert not before.since(before).counts


def test_readings_survive_the_way_through_the_database() -> None:
    observed = Observed()
    observed.count(SEEN, "tea")
    observed.time(TOOK, "tea", seconds=0.5)
    assert Readings.from_doc(observed.read().to_doc()) == observed.read()


def test_labels_that_never_end_share_one_series() -> None:
    observed = Observed()
    for number in range(MOST_SERIES + 50):
        observed.count(SEEN, str(number))
        observed.time(TOOK, str(number), seconds=1.0)
    counts, times = observed.read().counts, observed.read().times
    assert counts[SEEN.name, (OTHER,)] == 50
    assert times[TOOK.name, (OTHER,)].count == 50
    assert len(counts) == len(times) == MOST_SERIES + 1
