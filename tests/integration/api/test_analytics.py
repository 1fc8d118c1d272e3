"""/analytics over the API: figures of all processes, errors, alerts, the cache and health, for the operator alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from app.api.analytics import known
from app.api.services import open_services
from app.doctor.upkeep_check import check_upkeep
from config.alerts import BUILT_IN
from config.settings import load_settings
from tests.support.api import Api, answered, refused
from workers import metrics
from workers.core.alert_rules import Begin, Resolve, decide
from workers.core.analytics import Series, in_minute
from workers.core.histogram import Histogram
from workers.store.alerts import Alerts
from workers.store.minutes import Minutes, minute_of
from workers.store.worker_processes import WorkerProcesses

pytestmark = pytest.mark.integration
PATHS = ("stats", "errors", "alerts", "cache", "health")
RULE = BUILT_IN[0]


def get(api: Api, path: str, **params: str) -> Any:
    reply = api.call("GET", f"/analytics/{path}", params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


def took(*seconds: float) -> Histogram:
    out = Histogram()
    for each in seconds:
        out.add(each)
    return out


def written(
    api: Api,
    process: str,
    counts: Mapping[Series, float],
    times: Mapping[Series, Histogram],
    *,
    ago_s: int = 0,
) -> int:
    """One process's minute; gives its Unix seconds."""
    minutes = Minutes(api.work.db)
    at = minute_of(minutes.now() - timedelta(seconds=ago_s))
    minutes.write(process, at, in_minute(int(at.timestamp()), counts, times))
    return int(at.timestamp())


def requests(endpoint: str, **by_status: float) -> dict[Series, float]:
    name = metrics.HTTP_REQUESTS.name
    return {(name, ("GET", endpoint, status.removeprefix("s"))): count for status, count in by_status.items()}


def test_the_figures_of_two_processes_add_up_by_endpoint(api: Api) -> None:
    series = (metrics.HTTP_SECONDS.name, ("GET", "/two"))
    written(api, "a1", requests("/two", s200=8, s404=1), {series: took(*[0.1] * 9)})
    written(api, "a2", requests("/two", s503=1), {series: took(2.0)})
    said = get(api, "stats")
    row = next(each for each in said["endpoints"] if each["endpoint"] == "/two")
    assert (row["requests"], row["refused"], row["errors"], row["error_rate"]) == (10, 1, 1, 0.1)
    assert row["status_codes"] == {"200": 8, "404": 1, "503": 1}
    assert (row["latency"]["min_ms"], row["latency"]["max_ms"], row["latency"]["count"]) == (
        100.0,
        2000.0,
        10,
    )
    assert row["latency"]["p50_ms"] <= 100.0 < row["latency"]["p99_ms"]
    assert (said["window"], said["enabled"]) == ("1h", True)
    assert said["requests"]["requests"] >= 10


def test_a_window_leaves_out_what_is_older(api: Api) -> None:
    written(api, "w1", requests("/old", s200=5), {}, ago_s=2 * 3600)
    for window, there in (("1h", False), ("24h", True), ("7d", True)):
        rows = get(api, "stats", window=window)["endpoints"]
        assert any(each["endpoint"] == "/old" for each in rows) == there


def test_calls_and_waits_are_told_by_provider(api: Api) -> None:
    calls, waits, waited = (
        each.name for each in (metrics.LLM_SECONDS, metrics.LIMITER_WAITS, metrics.LIMITER_WAIT_SECONDS)
    )
    times: dict[Series, Histogram] = {
        (calls, ("acme", "ok")): took(0.5, 0.7),
        (calls, ("acme", "timeout")): took(30.0),
    }
    at = written(api, "p1", {(waits, ("acme", "limit")): 3.0, (waited, ("acme", "limit")): 4.5}, times)
    row = next(each for each in get(api, "stats")["providers"] if each["provider"] == "acme")
    assert (row["calls"], row["outcomes"]) == (3, {"ok": 2, "timeout": 1})
    assert row["limiter_waits"] == {"limit": {"times": 3, "seconds": 4.5}}
    found = [each for each in get(api, "errors", limit="500")["data"] if each["provider"] == "acme"]
    assert [(each["kind"], each["code"], each["count"]) for each in found] == [("call", "timeout", 1)]
    assert (found[0]["first_seen"], found[0]["last_seen"]) == (at, at)


def test_what_batches_did_is_what_the_batch_object_says(api: Api) -> None:
    before = get(api, "stats")["batches"]["total"]
    batch_id = api.batch(input_file_id=api.input_file(3))
    api.work.start(batch_id, 3)
    api.work.record(batch_id, [answered(1), answered(2), refused(3)])
    ours = api.call("GET", f"/v1/batches/{batch_id}").json()
    batches = get(api, "stats")["batches"]
    new = {
        name: batches["total"][name] - before[name]
        for name in ("completed", "failed", "calls", "input_tokens")
    }
    assert new == {
        "completed": ours["request_counts"]["completed"],
        "failed": ours["request_counts"]["failed"],
        "calls": ours["batchwright"]["calls"],
        "input_tokens": ours["batchwright"]["input_tokens"],
    }
    found = [each for each in get(api, "errors", limit="500")["data"] if each["kind"] == "item"]
    assert next(each["count"] for each in found if each["code"] == "http_400") >= 1
    api.sdk.batches.cancel(batch_id)


def test_errors_say_what_failed_where_and_when_and_no_word_of_a_request(api: Api) -> None:
    first = written(api, "e1", requests("/broken", s500=2), {}, ago_s=600)
    last = written(api, "e1", requests("/broken", s500=5, s200=9), {})
    found = [each for each in get(api, "errors", limit="500")["data"] if each["endpoint"] == "/broken"]
    assert found == [
        {
            "kind": "request",
            "code": "500",
            "method": "GET",
            "endpoint": "/broken",
            "provider": None,
            "count": 7,
            "first_seen": first,
            "last_seen": last,
        }
    ]
    page = get(api, "errors", limit="1")
    assert (len(page["data"]), page["has_more"]) == (1, True)


async def test_alerts_are_told_with_what_to_do_and_kept_when_they_are_over(api: Api) -> None:
    alerts, now = Alerts(api.work.db), Minutes(api.work.db).now()
    assert alerts.do(Begin(RULE, "here", 0.5, fires=True), now)
    (firing,) = get(api, "alerts", state="firing")["data"]
    assert (firing["rule"], firing["value"], firing["state"]) == (RULE.name, 0.5, "firing")
    assert firing["runbook"] == f"docs/runbook.md#{RULE.name}"
    health = get(api, "health")
    assert health["alerts_firing"] == {RULE.name: 1}
    assert f"alert {RULE.name} fires" in health["reasons"]
    told = [said_by_doctor(api, evaluates=evaluates) for evaluates in (True, False)]
    assert [any(RULE.name in text for text in texts) for texts in told] == [True, False]
    assert get(api, "health")["alerts_firing"] and not await firing_where_nobody_evaluates(api)
    (standing,) = alerts.standing()
    assert alerts.do(Resolve(standing, 0.0), now + timedelta(seconds=90))
    assert get(api, "alerts", state="firing")["data"] == []
    (over,) = get(api, "alerts", state="resolved")["data"]
    assert over["resolved_at"] == over["fired_at"] + 90
    said = get(api, "alerts")
    assert [each["rule"] for each in said["rules"]] == [rule.name for rule in BUILT_IN]
    assert decide([RULE], {}, alerts.standing(), 0.0) == []


def said_by_doctor(api: Api, *, evaluates: bool) -> list[str]:
    servers = load_settings(dict(api.environ)).servers
    assert servers.mongodb_url is not None
    found = check_upkeep(servers.mongodb_url, servers.mongodb_database, has_beat=False, evaluates=evaluates)
    return [each.text for each in found]


async def firing_where_nobody_evaluates(api: Api) -> Mapping[str, int]:
    """What an API with monitoring off tells of alerts, of which nobody could ever say that they are over."""
    services = open_services(load_settings({**api.environ, "BATCHWRIGHT_MONITORING_ENABLED": "false"}))
    try:
        firing: Mapping[str, int] = await services.run(lambda: known(services)["alerts_firing"])
        return firing
    finally:
        await services.close(0.1)


def test_the_cache_is_the_same_as_under_v1(api: Api) -> None:
    assert get(api, "cache").keys() == api.call("GET", "/v1/cache").json().keys()
    assert api.call("DELETE", "/analytics/cache", params={"prefix": "ai"}).json()["object"] == "cache.cleared"
    assert api.call("DELETE", "/analytics/cache", params={"prefix": "limit"}).status_code == 400


def test_health_names_every_server_and_that_no_worker_lives(api: Api) -> None:
    found = get(api, "health")
    assert {name: each["state"] for name, each in found["dependencies"].items()} == dict.fromkeys(
        ("mongodb", "broker", "control_redis", "cache_redis"), "up"
    )
    assert found["workers"]["alive"] == 0 and found["status"] == "unhealthy"
    assert "no worker lives" in found["reasons"]
    owner = "worker-91@here:1"
    processes = WorkerProcesses(api.work.db)
    processes.beat(owner, providers=[], slots=1)
    try:
        assert get(api, "health")["status"] in ("healthy", "degraded")
    finally:
        processes.leave(owner)


def test_other_keys_and_other_words_are_refused(api: Api) -> None:
    other = {"authorization": f"Bearer {api.other_key}"}
    for path in PATHS:
        assert api.call("GET", f"/analytics/{path}", headers=other).status_code == 403
    assert api.call("DELETE", "/analytics/cache", headers=other).status_code == 403
    assert api.call("GET", "/analytics/stats", params={"window": "2h"}).status_code == 400
    assert api.call("GET", "/analytics/errors", params={"limit": "0"}).status_code == 400
    assert api.call("GET", "/analytics/alerts", params={"state": "pending"}).status_code == 400
