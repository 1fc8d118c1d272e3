"""What warming pays for: what would be cold before its next time, and what is asked most within a budget."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.watching import Warming
from workers.core.budget import new_budget
from workers.core.lines import check_line
from workers.core.messages import InputLine
from workers.core.warming import (
    DAY_S,
    HOUR_S,
    Allowance,
    Asked,
    Place,
    allowance,
    expiring,
    is_near_its_end,
    lines_of,
    lives_until_s,
    made_to_warm,
    place_from,
)

NOW_S = 1_800_000_000.0
PLACE = Place("batch_1", 3, 40, 20)
RULES = Warming(
    refresh=True, top=10, min_hits=24, horizon_s=600.0, max_calls_per_hour=10, max_usd_per_day=1.0
)


def fired(at_s: float, next_s: float) -> dict[str, Any]:
    return made_to_warm({"created_at": at_s, "options": {"cache": False}}, next_s)


# ---------------------------------------------------------------- which answers are warm enough

times = st.floats(0, 60 * DAY_S)
lives = st.integers(1, 30 * 86_400)


@given(period_s=st.floats(60, 30 * DAY_S), ttl_s=lives, took_s=st.floats(0, 3_600))
def test_what_one_batch_has_bought_no_other_of_the_same_time_buys_again(
    period_s: float, ttl_s: int, took_s: float
) -> None:
    batch = fired(NOW_S, NOW_S + period_s)
    bought_until_s = NOW_S + took_s + ttl_s
    assert bought_until_s >= lives_until_s(batch, ttl_s)


@given(period_s=st.floats(60, 30 * DAY_S), ttl_s=lives, left_s=times)
def test_what_is_not_bought_again_lasts_until_the_next_time_or_is_as_good_as_new(
    period_s: float, ttl_s: int, left_s: float
) -> None:
    batch = fired(NOW_S, NOW_S + period_s)
    if NOW_S + left_s >= lives_until_s(batch, ttl_s):
        assert left_s >= period_s or left_s >= 0.949 * ttl_s


def test_a_batch_that_does_not_warm_or_warms_once_takes_whatever_is_known() -> None:
    assert lives_until_s({"created_at": NOW_S}, 60) == 0.0
    assert lives_until_s({"created_at": NOW_S, "warm": True}, 60) == 0.0
    assert lives_until_s({"created_at": NOW_S, "warm_until": NOW_S + 9}, 60) == 0.0


def test_a_batch_that_warms_uses_the_cache_whatever_else_it_says() -> None:
    assert fired(NOW_S, NOW_S + 60)["options"] == {"cache": True}


# ---------------------------------------------------------------- what is asked again


def asked(key: str, hits: float, left_s: float | None) -> Asked:
    return Asked(key, hits, PLACE, left_s)


def test_only_what_is_there_and_expires_soon_is_asked_again_the_most_asked_first() -> None:
    found = expiring(
        [
            asked("seldom", 23.9, 60.0),
            asked("gone", 900.0, None),
            asked("young", 800.0, 601.0),
            asked("b", 30.0, 600.0),
            asked("a", 70.0, 0.0),
        ],
        RULES,
    )
    assert [one.key for one in found] == ["a", "b"]


@given(st.lists(st.builds(asked, st.text(max_size=3), st.floats(0, 1e6), st.none() | times), max_size=40))
def test_never_more_than_the_top_is_asked_again(rows: list[Asked]) -> None:
    found = expiring(rows, RULES)
    assert len(found) <= RULES.top and [one.hits for one in found] == sorted(
        (one.hits for one in found), reverse=True
    )


def test_an_answer_with_a_short_life_is_not_asked_again_all_the_time() -> None:
    assert not is_near_its_end(300.0, ttl_s=600) and is_near_its_end(150.0, ttl_s=600)
    assert is_near_its_end(600.0, ttl_s=86_400)


def earlier(
    ago_s: float, *, status: str = "completed", total: int = 1, spent_usd: float = 0.0
) -> dict[str, Any]:
    budget = new_budget(1.0) | {"spent_usd": spent_usd}
    return {"created_at": NOW_S - ago_s, "status": status, "total": total, "budget": budget}


@pytest.mark.parametrize(
    ("batches", "may"),
    [
        ([], Allowance(10, 1.0)),
        (
            [earlier(900.0, total=4, spent_usd=0.25), earlier(5_000.0, total=9, spent_usd=0.5)],
            Allowance(6, 0.25),
        ),
        ([earlier(900.0, status="in_progress")], Allowance(wait="under_way")),
        ([earlier(900.0, status="failed", total=0)], Allowance(wait="failed")),
        ([earlier(HOUR_S + 1, status="failed", total=0)], Allowance(10, 1.0)),
        ([earlier(100.0)], Allowance(wait="just_done")),
        ([earlier(900.0, total=10)], Allowance(wait="over_budget")),
        ([earlier(5_000.0, spent_usd=1.0)], Allowance(wait="over_budget")),
        ([earlier(DAY_S + 1, spent_usd=1.0, status="in_progress")], Allowance(10, 1.0)),
    ],
)
def test_a_refresh_has_what_the_day_and_the_hour_leave(batches: list[dict[str, Any]], may: Allowance) -> None:
    assert allowance(batches, RULES, NOW_S) == may


def test_where_batches_are_kept_for_hours_these_have_their_part_of_the_days_money() -> None:
    assert allowance([], RULES, NOW_S, kept_s=DAY_S / 4) == Allowance(10, 0.25)
    assert allowance([earlier(5_000.0, spent_usd=0.25)], RULES, NOW_S, kept_s=DAY_S / 4).wait == "over_budget"
    assert allowance([], RULES, NOW_S, kept_s=30 * DAY_S) == Allowance(10, 1.0)


def test_nothing_is_asked_again_unless_somebody_turns_it_on() -> None:
    assert not Warming().refresh


# ---------------------------------------------------------------- where a request stands


@given(st.builds(Place, st.from_regex(r"batch_[0-9a-f]{4}", fullmatch=True), *[st.integers(0, 2**40)] * 3))
def test_a_place_is_read_as_it_was_written(place: Place) -> None:
    assert place_from(str(place)) == place


@given(st.text(max_size=20))
def test_anything_else_is_no_place(text: str) -> None:
    found = place_from(text)
    assert found is None or place_from(str(found)) == found


def test_the_lines_of_a_refresh_are_lines_of_a_batch_with_the_model_that_was_asked() -> None:
    url, body = "/v1/chat/completions", {"model": "old", "messages": [], "seed": 1}
    (line,) = lines_of([(url, "new", body)]).splitlines()
    assert check_line(line, 1, url) == InputLine(
        "most-asked-1", url, "new", {"model": "new", "messages": [], "seed": 1}
    )
    assert orjson.loads(line)["method"] == "POST" and body["model"] == "old"
