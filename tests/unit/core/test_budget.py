"""What a shard may hold under a ceiling, and what it does when it may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.budget import (
    TOLERANCE_USD,
    Money,
    Room,
    after_refusal,
    carried_usd,
    ended,
    fits,
    goes_on,
    money_of,
    month_of,
    new_budget,
    room_in,
)

AMOUNTS = st.floats(0.0, 100.0)


def hold(
    settled_usd: float, in_flight_usd: float = 0.0, *, fence: int = 1, lost_usd: float = 0.0
) -> dict[str, float]:
    parts = {"settled_usd": settled_usd, "in_flight_usd": in_flight_usd, "lost_usd": lost_usd}
    return {"fence": fence, "usd": sum(parts.values()), **parts}


@given(st.lists(AMOUNTS, max_size=20), AMOUNTS)
def test_what_fits_is_the_longest_beginning_that_the_money_pays(costs: list[float], free_usd: float) -> None:
    number = fits(costs, free_usd)
    assert sum(costs[:number]) <= free_usd + 1e-6
    assert number == len(costs) or sum(costs[: number + 1]) > free_usd


def test_a_ceiling_is_not_missed_by_the_last_digit_of_a_sum() -> None:
    assert fits([0.1, 0.1, 0.1], 0.3) == 3


@pytest.mark.parametrize("limit_usd", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ceiling_is_a_sum_above_nothing(limit_usd: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        new_budget(limit_usd)


def test_a_new_budget_is_all_free() -> None:
    assert money_of(new_budget(5)) == Money(limit_usd=5.0, spent_usd=0.0, in_flight_usd=0.0, lost_usd=0.0)


def test_money_is_spent_in_flight_lost_or_free() -> None:
    holds = {"s1": hold(2.0, 1.0), "s2": hold(1.0, 0.5, lost_usd=1.0)}
    money = money_of({"limit_usd": 10.0, "spent_usd": 1.0, "lost_usd": 0.25, "holds": holds})
    assert money == Money(limit_usd=10.0, spent_usd=4.0, in_flight_usd=1.5, lost_usd=1.25)


def test_in_the_end_nothing_is_held_and_what_brought_no_result_is_lost() -> None:
    left = new_budget(100) | {"spent_usd": 3.0, "holds": {"s1": hold(6.0, 4.0), "s2": hold(0.0, 8.0)}}
    # Of the twelve dollars in flight, five were recorded after the last word.
    money = money_of(closed := ended(left, 14.0))
    assert closed["holds"] == {} and closed["limit_usd"] == 100.0
    assert (money.spent_usd, money.lost_usd, money.in_flight_usd) == (14.0, 7.0, 0.0)


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_ending_a_budget_forgets_no_money_and_may_be_repeated(
    settled_usd: float, in_flight_usd: float, cost_usd: float
) -> None:
    once = ended(new_budget(100) | {"holds": {"s1": hold(settled_usd, in_flight_usd)}}, cost_usd)
    assert once["spent_usd"] == cost_usd
    # To a billionth of a dollar, below which nothing is told apart.
    whole_usd = max(cost_usd, settled_usd + in_flight_usd)
    assert once["spent_usd"] + once["lost_usd"] == pytest.approx(whole_usd, abs=2 * TOLERANCE_USD)
    assert ended(once, cost_usd)["lost_usd"] == pytest.approx(once["lost_usd"], abs=2 * TOLERANCE_USD)


def test_room_is_the_ceiling_less_what_others_hold_and_this_shard_has_spent() -> None:
    holds = {"s1": hold(2.0, 1.0), "s2": hold(1.5, 0.5)}
    budget = {"limit_usd": 10.0, "spent_usd": 1.0, "lost_usd": 0.5, "holds": holds}
    room = room_in(budget, "s1", 1, settled_usd=2.25)
    assert room == Room(granted=False, free_usd=4.25, others_in_flight_usd=0.5, limit_usd=10.0)


@pytest.mark.parametrize(
    ("fence", "settled_usd", "lost_usd"),
    [
        (1, 2.0, 0.25),  # the same lease goes on
        (1, 1.0, 0.25),
        (2, 2.0, 1.25),  # what was in flight
        (2, 1.5, 1.75),  # and an answer that was paid and not recorded
        (2, 3.0, 1.25),
    ],
)
def test_what_an_earlier_lease_may_have_spent_is_not_free(
    fence: int, settled_usd: float, lost_usd: float
) -> None:
    earlier = hold(2.0, 1.0, fence=1, lost_usd=0.25)
    assert carried_usd(earlier, fence, settled_usd) == pytest.approx(lost_usd)
    budget = {"limit_usd": 10.0, "spent_usd": 0.0, "lost_usd": 0.0, "holds": {"s1": earlier}}
    assert room_in(budget, "s1", fence, settled_usd).free_usd == pytest.approx(10.0 - lost_usd - settled_usd)


def test_the_last_digits_of_a_sum_are_no_loss() -> None:
    assert carried_usd(hold(0.1 + 0.2), 2, 0.3) == 0.0


def test_an_earlier_lease_learns_that_it_is_superseded_and_decides_nothing() -> None:
    budget = {"limit_usd": 1.0, "spent_usd": 1.0, "lost_usd": 0.0, "holds": {"s1": hold(0.0, fence=3)}}
    room = room_in(budget, "s1", 2, settled_usd=0.0)
    assert room.superseded
    assert after_refusal(room, 0.0) == "wait"


@pytest.mark.parametrize(
    ("own", "others", "step"), [(0.0, 0.0, "pause"), (0.1, 0.0, "wait"), (0.0, 0.1, "wait")]
)
def test_a_shard_waits_while_money_may_come_free_and_else_pauses_its_batch(
    own: float, others: float, step: str
) -> None:
    assert after_refusal(Room(False, 0.0, others, 1.0), own) == step


def test_a_month_counts_what_a_shard_has_cost_since_it_came_to_it() -> None:
    came = {"s1": hold(5.0, 1.0) | {"base_usd": 3.0, "usd": 3.0}}
    account = {"limit_usd": 10.0, "spent_usd": 1.0, "lost_usd": 0.0, "holds": came}
    assert money_of(account) == Money(limit_usd=10.0, spent_usd=3.0, in_flight_usd=1.0, lost_usd=0.0)
    assert room_in(account, "s1", 1, settled_usd=5.5, from_now=True).free_usd == 6.5
    assert room_in(account, "new", 1, settled_usd=100.0, from_now=True).free_usd == 6.0
    assert room_in(account, "new", 1, settled_usd=2.0).free_usd == 4.0, "a batch counts all of it"


@pytest.mark.parametrize(
    ("now_s", "month"), [(0.0, "1970-01"), (1_796_083_199.0, "2026-11"), (1_796_083_200.0, "2026-12")]
)
def test_a_month_is_a_calendar_month_in_utc(now_s: float, month: str) -> None:
    assert month_of(now_s) == month


@pytest.mark.parametrize(
    ("account", "cap_usd", "goes"),
    [
        ("t:2026-11", 5.0, False),
        ("t:2026-11", 4.0, False),
        ("t:2026-11", 5.5, True),
        ("t:2026-11", None, True),
        ("t:2026-12", 5.0, True),
    ],
)
def test_a_batch_leaves_its_tenants_ceiling_when_there_may_be_room(
    account: str, cap_usd: float | None, goes: bool
) -> None:
    assert goes_on({"account": "t:2026-11", "limit_usd": 5.0}, account, cap_usd) is goes
