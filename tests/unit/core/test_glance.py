"""What a live view is made of: rates of this moment, latencies of the last minute, what holds a provider back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.glance import Hands, Latencies, Paces, ProviderLook, batch_row, provider_row, savings_of
from workers.core.histogram import Histogram
from workers.core.lanes import LaneState, LimitState, Rates
from workers.core.tally import Tally

pytestmark = pytest.mark.fast
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def test_a_rate_takes_two_looks_and_is_of_the_last_seconds() -> None:
    paces = Paces()
    paces.look(0.0, {"a": 100})
    assert paces.per_second("a") is None and paces.per_second("never seen") is None
    paces.look(2.0, {"a": 120, "b": 5})
    assert (paces.per_second("a"), paces.per_second("b")) == (10.0, None)
    assert paces.sum_per_second(["a", "b"]) == 10.0 and paces.sum_per_second(["b"]) is None


def test_looks_that_are_long_ago_say_nothing_of_now() -> None:
    paces = Paces()
    paces.look(0.0, {"a": 0})
    paces.look(1.0, {"a": 50})
    paces.look(3600.0, {"a": 60})
    assert paces.per_second("a") is None
    paces.look(3601.0, {"a": 61})
    assert paces.per_second("a") == 1.0


def test_what_is_not_named_any_more_is_forgotten() -> None:
    paces = Paces()
    paces.look(0.0, {"a": 1})
    paces.look(1.0, {})
    paces.look(2.0, {"a": 1})
    assert paces.per_second("a") is None


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30))
def test_no_rate_is_negative(numbers: list[int]) -> None:
    paces = Paces()
    for second, number in enumerate(numbers):
        paces.look(float(second), {"a": number})
    rate = paces.per_second("a")
    assert rate is not None and rate >= 0


def times(*seconds: float) -> Histogram:
    found = Histogram()
    for each in seconds:
        found.add(each)
    return found


def test_latencies_are_of_the_last_minute_and_at_first_of_all() -> None:
    latencies = Latencies()
    first = latencies.look(0.0, {("w", "acme"): times(9.0)})
    assert first["acme"].count == 1
    second = latencies.look(10.0, {("w", "acme"): times(9.0, 0.1), ("new", "acme"): times(0.2)})
    assert second["acme"].count == 2 and (second["acme"].percentile_s(0.95) or 9) < 9
    quiet = latencies.look(20.0, {("w", "acme"): times(9.0, 0.1)})
    assert quiet["acme"].count == 1
    later = latencies.look(200.0, {("w", "acme"): times(9.0, 0.1, 0.3)})
    assert later["acme"].count == 3, "a look from long ago is no beginning of this minute"


def row(**changed: Any) -> dict[str, Any]:
    there = {"status": "queued", "shards": 2, "requests": 20, "next_at": NOW - timedelta(seconds=7)}
    return there | changed


def lane(**changed: Any) -> LaneState:
    there: dict[str, Any] = {"model": "m", "in_flight": 0, "concurrency": None, "breaker": "closed"}
    return LaneState(**there | changed)


def test_a_provider_tells_its_queue_its_oldest_due_part_and_what_is_under_way() -> None:
    rows = [
        row(),
        row(status="leased", shards=3, requests=30),
        row(next_at=NOW + timedelta(seconds=60), shards=1),
    ]
    rows.append(row(next_at=datetime(1970, 1, 1, tzinfo=UTC)))
    limits = LimitState("acme", 0.0, 1.5, 0.2)
    look = ProviderLook(
        "acme", rows, Hands(12, 64), Rates(600), limits, calls_per_second=5.0, tokens_per_second=2.0
    )
    found = provider_row(look, NOW)
    assert (found["shards_waiting"], found["shards_running"], found["requests_left"]) == (5, 3, 90)
    assert (found["oldest_due_s"], found["in_flight"], found["slots"]) == (7.0, 12, 64)
    assert (found["tokens_per_minute"], found["limits"]["wait_s"]) == (120, 1.5)
    assert (found["p50_s"], found["breaker"]) == (None, "closed")


def test_the_worst_lane_of_a_provider_is_its_state_and_without_redis_nobody_knows() -> None:
    lanes = (lane(), lane(breaker="open", opens_in_s=12.0), lane(breaker="half-open", rests_s=3.0))
    found = provider_row(ProviderLook("acme", limits=LimitState("acme", 1.0, 0, 0, lanes)), NOW)
    assert (found["breaker"], found["breaker_opens_in_s"], found["rests_s"]) == ("open", 12.0, 3.0)
    away = provider_row(ProviderLook("acme"), NOW)
    assert (away["breaker"], away["rests_s"], away["limits"]["wait_s"]) == (None, None, None)


def batch(status: str = "in_progress", **changed: Any) -> dict[str, Any]:
    return {"_id": "batch_1", "tenant": "t", "status": status, "total": 100, "created_at": 5.5, **changed}


@pytest.mark.parametrize(
    ("doc", "rate", "eta_s"),
    [
        (batch(), 2.0, 30),
        (batch(), None, None),
        (batch(), 0.0, None),
        (batch(paused_at=1.0), 2.0, None),
        (batch("validating"), 2.0, None),
    ],
)
def test_the_time_left_is_told_only_of_what_moves(
    doc: dict[str, Any], rate: float | None, eta_s: int | None
) -> None:
    found = batch_row(doc, "x.jsonl", Tally(recorded=40, cost_usd=1.0, unpriced=1), rate, [])
    assert (found["eta_s"], found["done"], found["cost_usd"]) == (eta_s, 40, None)
    assert found["paused"] == ("paused_at" in doc)


def test_todays_savings_add_what_runs_and_an_unknown_price_makes_the_sum_unknown() -> None:
    names = (
        "recorded",
        "never_ran",
        "failed",
        "cached",
        "coalesced",
        "calls",
        "excess",
        "unpriced",
        "saved_unpriced",
    )
    earlier = dict.fromkeys(names, 0) | {
        "recorded": 100,
        "failed": 20,
        "cached": 30,
        "cost_usd": 1.0,
        "saved_usd": 0.5,
    }
    found = savings_of(earlier, [Tally(recorded=20, coalesced=10, excess=1, cost_usd=0.25)])
    assert found["hit_rate"] == 0.4 and (found["requests"], found["excess_calls"]) == (120, 1)
    assert (found["cost_usd"], found["saved_usd"]) == (1.25, 0.5)
    assert savings_of(earlier, [Tally(unpriced=1)])["cost_usd"] is None
    assert savings_of(dict.fromkeys(earlier, 0), [])["hit_rate"] is None
