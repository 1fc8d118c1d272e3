"""When schedules are due: cron by time zones, every N seconds, and what follows from an outage."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.core.schedule import (
    LATE_S,
    MOST_AT_ONCE,
    BadRhythm,
    Cron,
    Every,
    Missed,
    Policy,
    Rhythm,
    Run,
    check_cron,
    next_due,
    steps,
    upcoming,
)

pytestmark = pytest.mark.fast
# Half an hour of summer time, a day that was left out, and both hemispheres.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Santiago",
)
CRONS = (
    *("* * * * *", "*/30 * * * *", "0 * * * *", "15 */2 * * *", "*/20 2,3 * * *"),
    *("30 2 * * *", "0 5 * * *", "0,30 1-3 * * *", "59 23 31 12 *", "0 0 L * *", "0 3 * * SUN"),
)
zones, crons = st.sampled_from(ZONES), st.sampled_from(CRONS)
moments = st.integers(1_200_000_000, 2_200_000_000)
# Around a change of clocks, where it matters.
TURNS = (1_774_746_000, 1_792_890_000, 1_772_953_200, 1_793_516_400, 1_325_239_200)
near_turns = st.builds(lambda turn, off: turn + off, st.sampled_from(TURNS), st.integers(-90_000, 90_000))
policies: st.SearchStrategy[Policy] = st.sampled_from(("once", "all", "skip"))
everies = st.builds(Every, st.integers(5, 100_000), moments)


def at(text: str, zone: str = "Europe/Berlin") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def local(moment: int, zone: str = "Europe/Berlin") -> str:
    return datetime.fromtimestamp(moment, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


@given(crons, zones, near_turns | moments)
@example("45 2 * * *", "Europe/Berlin", 1_792_890_600)  # in the second passing of a repeated hour
def test_due_times_rise_and_asking_for_each_alone_gives_the_same_ones(
    expression: str, zone: str, start: int
) -> None:
    cron = Cron(expression, zone)
    together = list(islice(cron.after(start), 8))
    assert all(a < b for a, b in zip([start, *together], together, strict=False))
    alone = []
    due = start
    for _ in together:
        due = next_due(cron, due)
        alone.append(due)
    assert alone == together


@given(crons, zones, near_turns | moments, st.integers(0, 200_000))
def test_whenever_somebody_looks_the_next_due_time_is_the_one_they_all_mean(
    expression: str, zone: str, start: int, ahead_s: int
) -> None:
    cron = Cron(expression, zone)
    first = next_due(cron, start)
    look = start + ahead_s % (first - start)
    assert next_due(cron, look) == first


@given(st.sampled_from(("* * * * *", "*/30 * * * *", "0 * * * *")), zones, near_turns)
def test_what_comes_every_hour_comes_in_each_hour_that_passes(expression: str, zone: str, start: int) -> None:
    times = list(islice(Cron(expression, zone).after(start), 40))
    gaps = {b - a for a, b in pairwise(times)}
    # Where clocks turn by half an hour, full hours lie so far apart once.
    allowed = {"* * * * *": {60}, "*/30 * * * *": {1800}, "0 * * * *": {3600, 1800, 5400}}[expression]
    assert gaps <= allowed


def test_a_time_within_the_gap_of_spring_comes_right_after_it_and_in_autumn_once() -> None:
    cron = check_cron("30 2 * * *", "Europe/Berlin")
    spring = upcoming(cron, next_due(cron, at("2026-03-28T12:00")), 2)
    assert [local(each) for each in spring] == ["2026-03-29 03:00", "2026-03-30 02:30"]
    autumn = upcoming(cron, next_due(cron, at("2026-10-24T12:00")), 2)
    assert [local(each) for each in autumn] == ["2026-10-25 02:30", "2026-10-26 02:30"]


def test_a_daily_schedule_keeps_its_hour_over_both_changes() -> None:
    days = islice(check_cron("0 5 * * *", "Europe/Berlin").after(at("2026-01-01T00:00")), 365)
    assert {local(each)[11:] for each in days} == {"05:00"}


@given(everies, st.lists(st.integers(0, 500_000), max_size=5))
def test_every_n_seconds_stays_on_its_anchor_however_late_it_is_looked_at(
    rhythm: Every, delays: list[int]
) -> None:
    now = rhythm.anchor
    for delay_s in delays:
        due = next_due(rhythm, now)
        assert 0 < due - now <= rhythm.every_s and (due - rhythm.anchor) % rhythm.every_s == 0
        now = due + delay_s


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 5 * * *", "'61' is no minute"),
        ("0 25 * * *", "'25' is no hour"),
        ("0 5 32 * *", "'32' is no day-of-month"),
        ("0 5 * 13 *", "'13' is no month"),
        ("0 5 * * FUNDAY", "'FUNDAY' is no day-of-week"),
        ("0 0 * * 1L/2", "'1L/2' is no day-of-week"),
        ("0 5 * *", "has 4 fields, and cron has five"),
        ("*/5 0 5 * * *", "has 6 fields"),
        ("", "has 0 fields"),
        ("0 0 30 2 *", "no day fits"),
        ("0 0 31 2,4 *", "no day fits"),
    ],
)
def test_a_wrong_expression_is_refused_by_the_field_that_is_wrong(expression: str, says: str) -> None:
    with pytest.raises(BadRhythm) as caught:
        check_cron(expression, "UTC")
    assert caught.value.field == "cron" and says in str(caught.value)


@given(
    st.text(max_size=40)
    | st.lists(st.text("0123456789*/,-LW#SUN", max_size=5), min_size=5, max_size=5).map(" ".join)
)
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with suppress(BadRhythm):
        assert next_due(check_cron(text, "Europe/Berlin"), 1_700_000_000) > 1_700_000_000


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc/passwd", "Europe", "", "a" * 300, "x\0y"])
def test_a_time_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(BadRhythm) as caught:
        check_cron("0 5 * * *", zone)
    assert caught.value.field == "timezone"


# --- what follows from the clock

rhythms = everies | st.builds(Cron, crons, zones)


@example(Every(5, 0), 0, 0, 5000, "all")  # more than are looked at together
@example(Every(5, 0), 0, 0, 5000, "once")
@given(rhythms, moments, st.integers(0, 40), st.integers(0, 86_400), policies)
def test_every_due_time_that_has_passed_runs_or_is_told_as_missed_and_never_both(
    rhythm: Rhythm, start: int, skipped: int, late_s: int, policy: Policy
) -> None:
    due = next(islice(rhythm.after(start), skipped, None))
    now, found, at_most = due + late_s, [], 30
    expected = [due, *_until(rhythm, due, now)]
    while taken := steps(rhythm, due, now, policy):
        found += taken
        due = taken[-1].then
        at_most -= 1
        assert at_most, "it never comes to an end"
    assert due > now and (due == next_due(rhythm, expected[-1]))
    covered: list[int] = []
    for step in found:
        if isinstance(step, Run):
            covered.append(step.due)
        else:
            stretch = [each for each in expected if step.first <= each <= step.last]
            assert len(stretch) == step.count
            covered += stretch
    assert covered == expected
    _holds_its_policy(policy, found, expected, now)


def _until(rhythm: Rhythm, due: int, now: int) -> list[int]:
    passed = []
    for each in rhythm.after(due):
        if each > now:
            break
        passed.append(each)
    return passed


def _holds_its_policy(policy: Policy, found: list[Run | Missed], expected: list[int], now: int) -> None:
    runs = [step.due for step in found if isinstance(step, Run)]
    on_time = [each for each in expected if each >= now - LATE_S]
    late = len(expected) - len(on_time)
    assert runs[len(runs) - len(on_time) :] == on_time
    caught_up = len(runs) - len(on_time)
    assert caught_up == {"skip": 0, "once": 0 if on_time else 1, "all": min(late, MOST_AT_ONCE)}[policy]


@given(rhythms, moments, policies)
def test_nothing_follows_before_it_is_due_and_one_run_when_it_is(
    rhythm: Rhythm, start: int, policy: Policy
) -> None:
    due = next_due(rhythm, start)
    assert steps(rhythm, due, due - 1, policy) == []
    assert steps(rhythm, due, due, policy) == [Run(due, next_due(rhythm, due))]


def test_a_night_without_workers_is_one_run_all_runs_or_none() -> None:
    hourly, night = Every(3600, 0), 8 * 3600 + 600
    assert steps(hourly, 3600, night, "once") == [
        Missed(3600, 7 * 3600, 7, 8 * 3600),
        Run(8 * 3600, 9 * 3600),
    ]
    assert len([step for step in steps(hourly, 3600, night, "all") if isinstance(step, Run)]) == 8
    assert steps(hourly, 3600, night, "skip") == [Missed(3600, 8 * 3600, 8, 9 * 3600)]


def test_a_year_of_minutes_is_told_in_pieces_that_take_no_time() -> None:
    minutely = check_cron("* * * * *", "Europe/Berlin")
    due = at("2025-01-01T00:00")
    now = int((datetime.fromtimestamp(due, UTC) + timedelta(days=365)).timestamp())
    (first,) = steps(minutely, due, now, "all")
    assert isinstance(first, Missed) and 0 < first.count <= 1_000
