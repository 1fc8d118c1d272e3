"""What alert rules go by is measured in a real MongoDB, and a rule that is broken becomes one event in the outbox."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import redis

from config.alerts import BUILT_IN, MEASURES
from config.settings import Provider, Settings
from config.watching import Monitoring
from tests.support.servers import TestServers
from tests.support.sweeping import Site
from workers import alerting, chores, metrics
from workers.alerting import do_without_beat, evaluate_alerts, measure
from workers.core.aimd import Throttle
from workers.core.alert_rules import Measured
from workers.core.analytics import Series, in_minute
from workers.core.breaker import Breaker
from workers.core.histogram import Histogram
from workers.core.recorded import SUMS
from workers.store import keys
from workers.store.minutes import Minutes, minute_of
from workers.store.mongo import Doc
from workers.store.stores import Stores

pytestmark = pytest.mark.integration
ACME = Provider(name="acme", kind="openai", base_url="http://127.0.0.1:1/v1")
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Clock(Minutes):
    """The store at a time that the test says."""

    at = NOON

    def now(self) -> datetime:
        return self.at


@dataclass
class Place:
    """A process of which alerts are evaluated."""

    settings: Settings
    stores: Stores
    clock: Clock

    def measured(self) -> Measured:
        return measure(self, self.clock.at)


@pytest.fixture
def place(site: Site, servers: TestServers) -> Place:
    clock = Clock(site.stores.db)
    clock.at = NOON
    found = Settings().servers
    named = replace(found, redis_url=servers.redis_url)
    return Place(replace(Settings(), servers=named), replace(site.nouns, minutes=clock), clock)


def seen(place: Place, counts: dict[Series, float], **times: int) -> None:
    """One process's present minute: counts, and calls of provider acme by outcome, a second each."""
    durations: dict[Series, Histogram] = {}
    for outcome, number in times.items():
        durations[metrics.LLM_SECONDS.name, ("acme", outcome)] = took(1.0, number)
    minute = minute_of(place.clock.at)
    place.stores.minutes.write("p", minute, in_minute(int(minute.timestamp()), counts, durations))


def took(seconds: float, times: int) -> Histogram:
    out = Histogram()
    out.add(seconds, times)
    return out


def answers(**by_status: float) -> dict[Series, float]:
    name = metrics.HTTP_REQUESTS.name
    return {(name, ("GET", "/x", status.removeprefix("s"))): count for status, count in by_status.items()}


def told(place: Place) -> list[tuple[str, str]]:
    place.stores.outbox.collect(100)
    rows = place.stores.outbox.untold(100)
    return [(row["event"]["type"], row["event"]["data"]["rule"]) for row in rows]


def test_every_measure_is_measured(place: Place) -> None:
    assert set(place.measured()) == set(MEASURES)


def test_shares_are_of_the_last_minutes_and_of_enough(place: Place) -> None:
    seen(place, answers(s200=15, s500=4), ok=10, rate_limited=5, timeout=4)
    found = place.measured()
    assert (found["api_error_rate"][""], found["call_error_rate"]["acme"]) == (None, None)
    seen(place, answers(s200=15, s500=5), ok=10, rate_limited=5, timeout=5)
    found = place.measured()
    assert (found["api_error_rate"][""], found["call_error_rate"]["acme"]) == (0.25, 0.25)
    place.clock.at = NOON + timedelta(minutes=6)
    assert place.measured()["api_error_rate"][""] is None


def test_streams_and_files_do_not_make_the_api_slow(place: Place) -> None:
    minute, name = minute_of(NOON), metrics.HTTP_SECONDS.name
    times: dict[Series, Histogram] = {
        (name, ("GET", "/v1/batches")): took(0.25, 30),
        (name, ("GET", "/v1/batches/{batch_id}/events")): took(900.0, 30),
        (name, ("GET", "/v1/files/{file_id}/content")): took(60.0, 30),
        (name, ("GET", "/v1/batches/{batch_id}/output")): took(60.0, 30),
        (name, ("POST", "/v1/files")): took(60.0, 30),
    }
    place.stores.minutes.write("p", minute, in_minute(int(minute.timestamp()), {}, times))
    assert place.measured()["api_p95_s"][""] == 0.25


def test_work_for_which_no_worker_lives_is_counted_by_provider(place: Place, site: Site) -> None:
    site.stores.queued(site.stores.batch(), 1, 1, provider="acme")
    found = place.measured()
    # The batch itself waits to be checked, as nobody has moved it on.
    assert found["work_without_worker"] == {"acme": 2.0, "": 1.0}
    assert found["oldest_due_s"]["acme"] is not None
    place.stores.processes.beat("worker-1@here:1", providers=["acme"], slots=1)
    assert place.measured()["work_without_worker"] == {}


def test_items_and_excess_calls_are_what_has_been_recorded_since(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums: Doc = dict.fromkeys(SUMS, 0)

    def read(_: object) -> dict[str, Any]:
        return {"acme": {"provider": "acme", **sums}}

    monkeypatch.setattr("workers.store.recorded_totals.RecordedTotals.read", read)
    place.measured()
    place.clock.at = NOON + timedelta(minutes=4)
    sums |= {"items": 40, "failed": 10, "excess": 3, "possibly_repeated": 4}
    found = place.measured()
    assert (found["item_error_rate"][""], found["excess_calls_1h"][""]) == (0.25, 7.0)
    place.clock.at = NOON + timedelta(minutes=30)
    found = place.measured()
    assert (found["item_error_rate"][""], found["excess_calls_1h"][""]) == (None, 7.0)


def test_deliveries_that_have_failed_often_and_are_not_given_up_are_counted(place: Place, site: Site) -> None:
    states = (("pending", 3), ("pending", 9), ("pending", 2), ("dead", 30), ("delivered", 4))
    rows = [{"_id": str(n), "state": state, "attempts": tried} for n, (state, tried) in enumerate(states)]
    site.stores.db["deliveries"].insert_many(rows)
    assert place.measured()["late_deliveries"] == {"": 2.0}


def test_a_profile_without_beat_does_not_miss_it(place: Place) -> None:
    place.stores.chores.hear_beat()
    assert place.measured()["beat_silent_s"][""] is not None
    place.settings = replace(place.settings, profile="small")
    assert place.measured()["beat_silent_s"] == {"": None}


def test_models_whose_breaker_is_not_closed_are_counted_by_provider(place: Place) -> None:
    place.settings = replace(place.settings, providers=(ACME,))
    with redis.Redis.from_url(str(place.settings.servers.redis_url)) as control:
        control.delete(keys.lanes("acme"))
        assert place.measured()["breaker_lanes"] == {"acme": 0.0}
        kept = {"throttle": asdict(Throttle()), "breaker": asdict(Breaker(open_till_ms=9e15))}
        control.hset(keys.lanes("acme"), "model", orjson.dumps(kept))
        assert place.measured()["breaker_lanes"] == {"acme": 1.0}
        control.delete(keys.lanes("acme"))


def test_what_cannot_be_asked_is_left_out_and_the_rest_is_measured(place: Place) -> None:
    nowhere = replace(place.settings.servers, redis_url="redis://127.0.0.1:1/0")
    place.settings = replace(place.settings, servers=nowhere, providers=(ACME,))
    assert set(place.measured()) == set(MEASURES) - {"breaker_lanes"}


def test_a_rule_that_is_broken_for_its_time_is_told_once_and_once_more_when_it_is_over(place: Place) -> None:
    slow = next(rule for rule in BUILT_IN if rule.name == "api_errors")
    place.settings = replace(place.settings, alerts=(slow,))
    for seconds in (0, 15, 45, 60, 75):
        place.clock.at = NOON + timedelta(seconds=seconds)
        seen(place, answers(s200=15, s500=15))
        evaluate_alerts(place)
    assert told(place) == [("alert.firing", "api_errors")]
    for minutes in (8, 9, 10):
        place.clock.at = NOON + timedelta(minutes=minutes)
        evaluate_alerts(place)
    assert told(place) == [("alert.firing", "api_errors"), ("alert.resolved", "api_errors")]


def test_without_monitoring_nothing_is_evaluated_and_nothing_written(place: Place, site: Site) -> None:
    place.settings = replace(place.settings, monitoring=Monitoring(enabled=False))
    evaluate_alerts(place)
    do_without_beat(place, "api@here:1")
    for name in ("alerts", "minutes", "totals", "chores"):
        assert site.stores.db[name].count_documents({}) == 0


def test_the_workers_chores_are_those_of_an_api_without_them() -> None:
    rows = {chore.name: (chore.every_s, chore.run) for chore in chores.CHORES}
    assert all(rows[name] == (every_s, chore) for name, every_s, chore in alerting.CHORES)


def test_an_api_does_the_chores_only_when_nobody_else_has(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    table = tuple(
        (name, every_s, lambda _, name=name: done.append(name)) for name, every_s, _ in alerting.CHORES
    )
    monkeypatch.setattr(alerting, "CHORES", table)
    do_without_beat(place, "api@here:1")
    do_without_beat(place, "api@there:2")
    assert done == ["alerts", "figures"]
