"""Schedules over HTTP: what may be said, what is shown, and a run beside the clock. The clock itself: sweeper tests."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration
SCHEDULES = "/v1/schedules"
HOUR_S = 3600


def form(api: Api, **said: Any) -> dict[str, Any]:
    batch = {
        "input_file_id": api.input_file(),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    return {"batch": batch} | said


def made(api: Api, **said: Any) -> dict[str, Any]:
    reply = api.call("POST", SCHEDULES, json=form(api, **said))
    assert reply.status_code == 200, reply.text
    schedule: dict[str, Any] = reply.json()
    return schedule


def refused(api: Api, method: str, path: str, **options: Any) -> tuple[int, str | None, str]:
    reply = api.call(method, path, **options)
    error = reply.json()["error"]
    return reply.status_code, error["param"], error["message"]


def test_a_schedule_says_when_it_is_due_and_that_beat_was_never_heard_of(api: Api) -> None:
    schedule = made(api, cron="0 5 * * *", timezone="Europe/Berlin", name="nightly")
    first, second, third = schedule["next_due_times"]
    assert schedule["next_due"] == first > time.time()
    assert {second - first, third - second} <= {23 * HOUR_S, 24 * HOUR_S, 25 * HOUR_S}
    assert api.call("GET", f"{SCHEDULES}/{schedule['id']}").json() == schedule
    assert (schedule["kind"], schedule["missed"], schedule["beat_silent_s"]) == ("batch", None, None)


def test_every_n_seconds_counts_from_its_making(api: Api) -> None:
    schedule = made(api, every_s=1800)
    times = schedule["next_due_times"]
    assert times == [times[0], times[0] + 1800, times[0] + 3600]
    assert 0 <= times[0] - 1800 - schedule["created_at"] <= 1


@pytest.mark.parametrize(
    ("said", "param", "words"),
    [
        ({"cron": "0 25 * * *"}, "cron", "'25' is no hour"),
        ({"cron": "0 5 * *"}, "cron", "has 4 fields"),
        ({"cron": "0 5 * * *", "timezone": "Mars/Base"}, "timezone", "no time zone"),
        ({"cron": "0 5 * * *", "every_s": 60}, "every_s", "either"),
        ({}, "cron", "Missing"),
        ({"every_s": 1}, "every_s", ">= 5"),
        ({"every_s": 60, "missed": "never"}, "missed", "Supported"),
        ({"every_s": 60, "kind": "cold"}, "kind", "Supported"),
        ({"every_s": 60, "crom": "x"}, "crom", "Unknown"),
    ],
)
def test_what_is_wrong_is_named(api: Api, said: dict[str, Any], param: str, words: str) -> None:
    status, named, text = refused(api, "POST", SCHEDULES, json=form(api, **said))
    assert (status, named) == (400, param) and words in text


def test_its_batch_is_held_to_the_rules_of_a_create(api: Api) -> None:
    body = form(api, every_s=60)
    for changed, param in (
        ({"input_file_id": "file-none"}, "batch.input_file_id"),
        ({"completion_window": "9d"}, "batch.completion_window"),
        ({"batchwright": {"webhook": {"url": "ftp://x"}}}, "batch.batchwright.webhook.url"),
        ({"batchwright": {"casche": "off"}}, "batch.batchwright.casche"),
    ):
        status, named, _ = refused(api, "POST", SCHEDULES, json=body | {"batch": body["batch"] | changed})
        assert (status, named) == (400, param)


def test_a_change_of_rhythm_is_due_by_the_new_one_and_who_is_off_is_never_due(api: Api) -> None:
    schedule = made(api, every_s=60)
    path = f"{SCHEDULES}/{schedule['id']}"
    hourly = api.call("PATCH", path, json={"cron": "0 * * * *"}).json()
    assert (hourly["every_s"], hourly["cron"], hourly["next_due"] % HOUR_S) == (None, "0 * * * *", 0)
    berlin = api.call("PATCH", path, json={"timezone": "Asia/Kolkata"}).json()
    assert (berlin["cron"], berlin["next_due"] % HOUR_S) == ("0 * * * *", HOUR_S // 2)
    off = api.call("PATCH", path, json={"enabled": False, "missed": "skip"}).json()
    assert (off["enabled"], off["next_due"], off["next_due_times"], off["missed"]) == (
        False,
        None,
        [],
        "skip",
    )
    assert api.call("PATCH", path, json={"enabled": True}).json()["next_due"] == berlin["next_due"]
    assert refused(api, "PATCH", path, json={"cron": "x * * * *"})[:2] == (400, "cron")


def test_a_run_beside_the_clock_makes_a_batch_once_under_its_key(api: Api) -> None:
    schedule = made(api, cron="0 5 1 1 *", enabled=False)
    path, key = f"{SCHEDULES}/{schedule['id']}", {"idempotency-key": "now"}
    first, again = (api.call("POST", f"{path}/run", headers=key).json() for _ in range(2))
    assert (first["state"], first["by"], first["error"]) == ("started", "request", None)
    assert again["batch_id"] == first["batch_id"]
    batch = api.call("GET", f"/v1/batches/{first['batch_id']}").json()
    assert (batch["status"], batch["batchwright"]["schedule_id"]) == (first["batch_status"], schedule["id"])
    (listed,) = api.call("GET", f"{path}/runs").json()["data"]
    assert listed["id"] == first["id"]
    last = api.call("GET", path).json()["last_run"]
    assert last == {"due": first["due"], "state": "started", "batch_id": first["batch_id"]}


def test_a_run_beside_the_clock_stands_for_no_due_time_and_for_no_other_run(api: Api) -> None:
    path = f"{SCHEDULES}/{made(api, every_s=5)['id']}"
    runs = [api.call("POST", f"{path}/run").json() for _ in range(2)]
    assert len({run["batch_id"] for run in runs}) == 2
    assert not any(run["id"].endswith(f":{run['due']}") for run in runs)


def test_runs_come_in_pages_the_latest_first(api: Api) -> None:
    schedule = made(api, cron="0 5 1 1 *")
    path = f"{SCHEDULES}/{schedule['id']}"
    for number in range(3):
        api.call("POST", f"{path}/run", headers={"idempotency-key": f"run {number}"})
    page = api.call("GET", f"{path}/runs", params={"limit": 2}).json()
    rest = api.call("GET", f"{path}/runs", params={"after": page["last_id"]}).json()
    ids = [run["id"] for run in page["data"] + rest["data"]]
    assert page["has_more"] and not rest["has_more"] and len(set(ids)) == 3
    assert refused(api, "GET", f"{path}/runs", params={"after": "sched_x:1"})[:2] == (400, "after")


def test_schedules_come_in_pages_and_by_kind_and_go_without_their_batches(api: Api) -> None:
    first, second = made(api, every_s=60), made(api, every_s=60, kind="warm")
    page = api.call("GET", SCHEDULES, params={"limit": 1}).json()
    assert [each["id"] for each in page["data"]] == [second["id"]] and page["has_more"]
    after = api.call("GET", SCHEDULES, params={"after": second["id"], "limit": 1}).json()
    assert [each["id"] for each in after["data"]] == [first["id"]]
    warm = api.call("GET", SCHEDULES, params={"kind": "warm", "limit": 100}).json()["data"]
    assert second["id"] in [each["id"] for each in warm] and {each["kind"] for each in warm} == {"warm"}
    batch_id = api.call("POST", f"{SCHEDULES}/{first['id']}/run").json()["batch_id"]
    gone = api.call("DELETE", f"{SCHEDULES}/{first['id']}").json()
    assert gone == {"id": first["id"], "object": "schedule", "deleted": True}
    assert refused(api, "GET", f"{SCHEDULES}/{first['id']}")[0] == 404
    assert api.call("GET", f"/v1/batches/{batch_id}").status_code == 200


def test_the_secret_of_its_batches_webhook_is_one_and_shown_to_its_maker_alone(api: Api) -> None:
    body = form(api, every_s=60)
    body["batch"]["batchwright"] = {"webhook": {"url": "http://127.0.0.1:1025/"}}
    schedule = api.call("POST", SCHEDULES, json=body).json()
    secret = schedule["batch"]["batchwright"]["webhook"]["secret"]
    assert secret.startswith("whsec_")
    path = f"{SCHEDULES}/{schedule['id']}"
    assert secret not in api.call("GET", path).text + api.call("POST", f"{path}/run").text
    stored = eventually(lambda: list(api.work.db["batch_jobs"].find({"schedule.id": schedule["id"]})), 5)
    assert [each["webhook"]["secret"] for each in stored] == [secret]
