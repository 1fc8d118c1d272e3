"""Figures by the minute in a real MongoDB: processes add up, and gathering changes no sum, however it breaks off."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.batches import Stores
from workers.analytics import MinuteWriter
from workers.core.analytics import HOUR_S, WINDOWS_S, Figures, in_minute, window_start_s
from workers.core.histogram import Histogram
from workers.metric import counter, times
from workers.observed import Observed
from workers.store.minutes import Minutes
from workers.store.mongo import unacknowledged_by_majority

pytestmark = pytest.mark.integration
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SEEN = counter("batchwright_seen_total", "For this test.", "what")
TOOK = times("batchwright_took_seconds", "For this test.", "what")
SERIES = (SEEN.name, ("tea",))


class Clock(Minutes):
    """The store at a time that the test says."""

    at = NOON

    def now(self) -> datetime:
        return self.at


def clock_on(stores: Stores) -> Clock:
    """No server is killed here, so no write needs to wait for a journal."""
    return Clock(stores.db.with_options(write_concern=unacknowledged_by_majority()))


class Broken(Exception):
    """The process is killed here."""


class Mortal:
    """A collection whose writer dies before its n-th write."""

    def __init__(self, docs: Any, writes: int) -> None:
        self._docs, self._left = docs, writes

    def __getattr__(self, name: str) -> Any:
        if name in ("insert_one", "update_one", "delete_many"):
            if self._left == 0:
                raise Broken
            self._left -= 1
        return getattr(self._docs, name)


def figures(minute: datetime, count: float) -> Figures:
    took = Histogram()
    took.add(count)
    return in_minute(int(minute.timestamp()), {SERIES: count}, {(TOOK.name, ("tea",)): took})


def filled(minutes: Minutes, processes: int = 3) -> float:
    """Two minutes of this hour and two of an earlier one, by several processes; gives the sum."""
    total = 0.0
    for ago_min in (10, 12, 250, 251):
        at = NOON - timedelta(minutes=ago_min)
        for number in range(processes):
            minutes.write(f"p{number}", at, figures(at, float(ago_min + number)))
            total += ago_min + number
    return total


def sum_of(minutes: Minutes) -> float:
    return minutes.since(NOON - timedelta(days=7)).counts.get(SERIES, 0.0)


def test_processes_add_up_and_a_write_that_is_repeated_counts_once(stores: Stores) -> None:
    minutes = clock_on(stores)
    for _ in range(2):
        total = filled(minutes)
    assert sum_of(minutes) == total
    assert minutes.since(NOON - timedelta(hours=1)).counts[SERIES] == 10 + 11 + 12 + 12 + 13 + 14


def test_gathered_figures_are_the_same_in_fewer_documents_and_keep_their_minutes(stores: Stores) -> None:
    minutes = clock_on(stores)
    total = filled(minutes)
    for late_s in (0, 90, 180):
        minutes.gather(NOON + timedelta(seconds=late_s))
    whole = minutes.since(NOON - timedelta(days=7))
    assert minutes.count(NOON - timedelta(days=7)) == 3
    assert whole.counts == {SERIES: total}
    assert whole.times[TOOK.name, ("tea",)].count == 12
    first, last = whole.seen[SERIES]
    assert (first, last) == tuple(int((NOON - timedelta(minutes=ago)).timestamp()) for ago in (251, 10))


@pytest.mark.parametrize("writes", range(14))
def test_gathering_that_is_broken_off_anywhere_and_done_again_changes_no_sum(
    stores: Stores, writes: int
) -> None:
    minutes, dying = clock_on(stores), clock_on(stores)
    total = filled(minutes, processes=2)
    dying._docs = Mortal(minutes._docs, writes)  # type: ignore[assignment]
    for late_s in (0, 90, 180):
        try:
            dying.gather(NOON + timedelta(seconds=late_s))
        except Broken:
            break
        assert sum_of(minutes) == total
    assert sum_of(minutes) == total
    for late_s in (190, 300, 400):
        minutes.gather(NOON + timedelta(seconds=late_s))
        minutes.gather(NOON + timedelta(seconds=late_s))
        assert sum_of(minutes) == total
    assert minutes.count(NOON - timedelta(days=7)) == 3


def test_who_gathers_at_the_same_time_has_nothing_to_add(stores: Stores) -> None:
    minutes = clock_on(stores)
    total = filled(minutes)
    other = clock_on(stores)
    held = stores.db["minutes"].find_one({"_id": "none"})
    at = NOON - timedelta(minutes=10)
    parts = list(stores.db["minutes"].find({"at": at}))
    assert minutes._write_sum("minute", at, held, parts, NOON)
    assert not other._write_sum("minute", at, held, parts, NOON)
    assert sum_of(minutes) == total


def test_a_process_writes_its_minute_again_with_all_of_it_and_nothing_while_it_is_idle(
    stores: Stores,
) -> None:
    minutes, observed = clock_on(stores), Observed()
    writer = MinuteWriter(minutes, enabled=True, observed=observed)
    writer.flush()
    assert minutes.count(NOON - timedelta(days=1)) == 0
    observed.count(SEEN, "tea", by=2)
    writer.flush()
    observed.count(SEEN, "tea")
    writer.flush()
    minutes.at = NOON + timedelta(minutes=1)
    writer.flush()
    assert minutes.count(NOON - timedelta(days=1)) == 1
    observed.count(SEEN, "tea")
    writer.flush()
    assert minutes.count(NOON - timedelta(days=1)) == 2
    assert minutes.since(NOON + timedelta(minutes=1)).counts == {SERIES: 1.0}
    assert sum_of(minutes) == 4


@pytest.mark.parametrize("steps_s", [(0, 60, 0, 60), (0, -60, 0), (0, 60, -3600, 60, 120)])
def test_a_new_primary_whose_clock_is_behind_takes_no_figure_away(
    stores: Stores, steps_s: tuple[int, ...]
) -> None:
    minutes, observed = clock_on(stores), Observed()
    writer = MinuteWriter(minutes, enabled=True, observed=observed)
    for seen, step_s in enumerate(steps_s, start=1):
        minutes.at = NOON + timedelta(seconds=step_s)
        observed.count(SEEN, "tea")
        writer.flush()
        assert sum_of(minutes) == seen


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("later_s", [5, 90])
def test_figures_of_a_write_that_may_have_happened_count_once(
    stores: Stores, arrives: bool, later_s: int
) -> None:
    minutes, observed = clock_on(stores), Observed()
    writer = MinuteWriter(minutes, enabled=True, observed=observed)
    observed.count(SEEN, "tea", by=3)
    write, minutes.write = minutes.write, cut_off(minutes, arrives)  # type: ignore[method-assign]
    with pytest.raises(Broken):
        writer.flush()
    minutes.write = write  # type: ignore[method-assign]
    observed.count(SEEN, "tea", by=4)
    minutes.at = NOON + timedelta(seconds=later_s)
    writer.flush()
    assert sum_of(minutes) == 7


def cut_off(minutes: Minutes, arrives: bool) -> Any:
    write = minutes.write

    def cut(*args: Any) -> None:
        if arrives:
            write(*args)
        raise Broken

    return cut


@pytest.mark.parametrize("window", ["24h", "7d"])
@given(now_s=st.integers(1_795_000_000, 1_795_000_000 + 90_000))
def test_nothing_of_the_longest_window_is_let_go_while_somebody_may_ask_for_it(
    window: str, now_s: int
) -> None:
    docs = Written()
    minutes = Minutes(defaultdict(lambda: docs), retention_hours=WINDOWS_S[window] / HOUR_S)  # type: ignore[arg-type]
    minutes.write("one", datetime.fromtimestamp(window_start_s(window, now_s), UTC), Figures())
    assert docs.new["expire_at"].timestamp() > now_s


class Written:
    """A collection that keeps the last write."""

    def update_one(self, _: Any, update: Any, **__: Any) -> None:
        self.new = update["$set"]


def test_nothing_is_written_where_monitoring_is_off(stores: Stores) -> None:
    minutes, observed = clock_on(stores), Observed()
    observed.count(SEEN, "tea")
    MinuteWriter(minutes, enabled=False, observed=observed).flush()
    assert minutes.count(NOON - timedelta(days=1)) == 0


def test_totals_of_a_moment_are_the_first_that_were_noted_from_then_on(stores: Stores) -> None:
    minutes = clock_on(stores)
    for ago_min, calls in ((60, 1), (30, 5), (0, 9)):
        minutes.note_totals(NOON - timedelta(minutes=ago_min), {"calls": calls})
    minutes.note_totals(NOON, {"calls": 10})
    assert minutes.totals_at(NOON - timedelta(minutes=45)) == {"calls": 5}
    assert minutes.first_noted(NOON - timedelta(minutes=45)) == (NOON - timedelta(minutes=30), {"calls": 5})
    assert minutes.totals_at(NOON) == {"calls": 10}
    assert minutes.totals_at(NOON + timedelta(minutes=1)) is None
