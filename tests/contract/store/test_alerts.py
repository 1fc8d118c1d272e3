"""The life of an alert in a real MongoDB: one document, one event of each kind, whoever evaluates and dies when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from config.alerts import AlertRule
from tests.support.batches import Stores
from workers.core.alert_rules import Action, Measured, decide
from workers.store.alerts import Alerts, shown
from workers.store.mongo import Doc
from workers.store.outbox import Outbox

pytestmark = pytest.mark.integration
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RULE = AlertRule(name="slow", measure="api_p95_s", threshold=5.0, for_s=60.0)
BAD: Measured = {"api_p95_s": {"acme": 6.0}}
GOOD: Measured = {"api_p95_s": {"acme": 1.0}}


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def decided(alerts: Alerts, measured: Measured, seconds: float, rule: AlertRule = RULE) -> list[Action]:
    return decide([rule], measured, alerts.standing(), at(seconds).timestamp())


def evaluate(alerts: Alerts, measured: Measured, seconds: float, rule: AlertRule = RULE) -> list[bool]:
    return [alerts.do(action, at(seconds)) for action in decided(alerts, measured, seconds, rule)]


def told(stores: Stores) -> list[Doc]:
    Outbox(stores.db).collect(100)
    return [
        row["event"] for row in stores.db["outbox"].find({"event.type": {"$regex": "^alert"}}).sort("_id", 1)
    ]


def test_an_alert_begins_fires_and_ends_and_its_tenant_is_told_twice(stores: Stores) -> None:
    alerts = Alerts(stores.db)
    evaluate(alerts, BAD, 0)
    assert (alerts.firing(), alerts.page("all", limit=9), told(stores)) == ({}, [], [])
    evaluate(alerts, BAD, 59)
    assert alerts.firing() == {}
    evaluate(alerts, BAD, 60)
    assert alerts.firing() == {"slow": 1}
    evaluate(alerts, GOOD, 75)
    evaluate(alerts, GOOD, 134)
    assert alerts.firing() == {"slow": 1}
    evaluate(alerts, GOOD, 135)
    (doc,) = alerts.page("resolved", limit=9)
    found = shown(doc)
    times = {name: found[name] - int(NOON.timestamp()) for name in ("since", "fired_at", "resolved_at")}
    assert times == {"since": 0, "fired_at": 60, "resolved_at": 135}
    assert (found["value"], found["subject"], alerts.firing(), alerts.standing()) == (1.0, "acme", {}, [])
    events = told(stores)
    assert [event["type"] for event in events] == ["alert.firing", "alert.resolved"]
    assert {event["data"]["id"] for event in events} == {doc["_id"]}
    assert stores.db["outbox"].distinct("tenant", {"event.data.id": doc["_id"]}) == ["default"]
    assert told(stores) == events


def test_two_who_evaluate_at_once_make_one_alert_and_one_event_of_each_kind(stores: Stores) -> None:
    alerts = Alerts(stores.db)
    for measured, seconds in ((BAD, 0), (BAD, 60), (GOOD, 61), (GOOD, 130)):
        one, other = (decided(alerts, measured, seconds + late) for late in (0.0, 0.2))
        for actions, late in ((one, 0.0), (other, 0.2)):
            for action in actions:
                alerts.do(action, at(seconds + late))
    assert len(alerts.page("all", limit=9)) == 1
    assert [event["type"] for event in told(stores)] == ["alert.firing", "alert.resolved"]


def test_who_decided_by_what_stands_no_more_changes_nothing(stores: Stores) -> None:
    alerts, at_once = Alerts(stores.db), replace(RULE, for_s=0.0)
    evaluate(alerts, BAD, 0, at_once)
    assert [event["type"] for event in told(stores)] == ["alert.firing"]
    # given: it is good for a while, and somebody decides that it ends
    evaluate(alerts, GOOD, 10)
    late = decided(alerts, GOOD, 80)
    # when: it is bad again in the eyes of another
    evaluate(alerts, BAD, 79)
    assert [alerts.do(action, at(80)) for action in late] == [False]
    assert alerts.firing() == {"slow": 1}


def test_a_pending_alert_that_is_good_again_leaves_nothing_behind(stores: Stores) -> None:
    alerts = Alerts(stores.db)
    evaluate(alerts, BAD, 0)
    evaluate(alerts, GOOD, 15)
    assert stores.db["alerts"].count_documents({}) == 0
    evaluate(alerts, BAD, 30)
    evaluate(alerts, BAD, 89)
    assert alerts.firing() == {}


def test_an_alert_is_kept_for_its_time_after_its_end_and_for_ever_before(stores: Stores) -> None:
    alerts, at_once = Alerts(stores.db, retention_hours=2.0), replace(RULE, for_s=0.0)
    evaluate(alerts, BAD, 0, at_once)
    (firing,) = alerts.page("firing", limit=9)
    assert "expire_at" not in firing
    evaluate(alerts, GOOD, 100, at_once)
    (resolved,) = alerts.page("all", limit=9)
    assert resolved["expire_at"] == at(100 + 7200)
    # and the next one is a document of its own
    evaluate(alerts, BAD, 200, at_once)
    assert [doc["phase"] for doc in alerts.page("all", limit=9)] == ["firing", "resolved"]
