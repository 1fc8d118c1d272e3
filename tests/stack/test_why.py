"""`/why` and `/v1/top` of a worker, an API and a simulator as they are: each reason where it really comes about."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Api, running_api
from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.workers import Site, WorkerProcess, started_worker
from workers.core.budget import new_budget

pytestmark = [pytest.mark.integration, pytest.mark.stack]
PROVIDER = '[providers.{name}]\nkind = "openai"\nbase_url = "{url}"\nmodels = ["{name}-*", "sim-small"]\n'
LIMITS = "[providers.limited.limits]\nrequests_per_minute = 20\n"
PRICES = '[prices."dear/*"]\ninput_usd = 0\noutput_usd = 1_000_000\n'
LEASE_S = "4"


@pytest.fixture(scope="module")
def api(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(site.servers, tmp_path_factory.mktemp("why"), BATCHWRIGHT_LEASE_S=LEASE_S) as running:
        yield running


@pytest.fixture(scope="module")
def early(site: Site, api: Api) -> tuple[str, dict[str, Any]]:
    """A batch of before there was a worker, and what `/why` said of it then."""
    batch_id = site.submit([chat_line("c1", "early", model="sim/sim-small")])
    return batch_id, api.call("GET", f"/v1/batches/{batch_id}/why").json()


@pytest.fixture(scope="module")
def worker(site: Site, early: object) -> Iterator[WorkerProcess]:
    del early
    config = site.directory / "batchwright.toml"
    names = ("limited", "broken", "dear", "rests")
    tables = [PROVIDER.format(name=name, url=site.simulator.base_url) for name in names]
    config.write_text("\n".join([*tables, LIMITS, PRICES]))
    settings = {
        "BATCHWRIGHT_CONFIG": str(config),
        "BATCHWRIGHT_WORKER_PROCESSES": "1",
        "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "16",
        "BATCHWRIGHT_SHARD_MAX_ITEMS": "20",
        "BATCHWRIGHT_BREAKER_FAILURES": "3",
        "BATCHWRIGHT_BREAKER_OPEN_S": "30",
        "BATCHWRIGHT_LEASE_S": LEASE_S,
    }
    with started_worker(site, "w1", **settings) as started:
        yield started


def lines(model: str, count: int, fault: str = "") -> list[bytes]:
    return [chat_line(f"c{n}", f"{fault} {model} {n}", model=f"{model}/sim-small") for n in range(count)]


def reason(api: Api, batch_id: str, kind: str, within_s: float = 10.0) -> dict[str, Any]:
    """This reason, once `/why` names it."""
    seen: list[Any] = []

    def look() -> dict[str, Any] | None:
        reply = api.call("GET", f"/v1/batches/{batch_id}/why").json()
        seen[:] = [reply]
        return next((each for each in reply["waiting_for"] if each["kind"] == kind), None)

    found = eventually(look, within_s, what=lambda: seen)
    assert found is not None
    return found


def test_without_a_worker_the_command_starts_one(early: tuple[str, dict[str, Any]]) -> None:
    (found,) = early[1]["waiting_for"]
    assert (found["kind"], found["command"]) == ("no_worker", "batchwright up")


@pytest.mark.usefixtures("worker")
def test_a_provider_limit_says_since_and_until(site: Site, api: Api) -> None:
    batch_id = site.submit(lines("limited", 60))
    found = reason(api, batch_id, "limit")
    assert found["provider"] == "limited" and 0 < found["requests"] <= 60
    assert found["since"] <= time.time() + 1 and found["until"] > time.time() - 1
    assert found["command"] is None and "providers.limited.limits" in found["helps"]


@pytest.mark.usefixtures("worker")
def test_an_open_breaker_names_the_doctor_and_its_next_try(site: Site, api: Api) -> None:
    batch_id = site.submit(lines("broken", 40, "[[sim:status=503]]"))
    found = reason(api, batch_id, "breaker")
    assert found["command"] == "batchwright doctor" and found["until"] > time.time()

    def open_breaker() -> bool:
        rows = {row["name"]: row for row in api.call("GET", "/v1/top").json()["providers"]}
        return bool(rows["broken"]["breaker"] == "open" and rows["broken"]["breaker_opens_in_s"] > 0)

    eventually(open_breaker, 5.0)


@pytest.mark.usefixtures("worker")
def test_a_ceiling_that_is_reached_names_the_way_past_it(site: Site, api: Api) -> None:
    batch_id = site.submit(lines("dear", 40), budget=new_budget(0.000001))
    found = reason(api, batch_id, "budget")
    assert found["command"] == f"batchwright resume {batch_id} --max-cost-usd N"
    assert found["since"] is not None


@pytest.mark.usefixtures("worker")
def test_pauses_of_a_provider_a_batch_and_a_tenant_each_name_their_resume(site: Site, api: Api) -> None:
    slow = "[[sim:latency-ms=2000]]"
    api.call("POST", "/v1/providers/rests/pause")
    batch_id = site.submit(lines("rests", 40, slow))
    found = reason(api, batch_id, "provider_held")
    assert (found["requests"], found["command"]) == (40, "batchwright resume --provider rests")
    api.call("POST", "/v1/providers/rests/resume")
    eventually(lambda: api.call("GET", f"/v1/batches/{batch_id}/why").json()["running"], 10.0)
    api.call("POST", f"/v1/batches/{batch_id}/pause")
    found = reason(api, batch_id, "paused")
    assert found["command"] == f"batchwright resume {batch_id}" and found["since"] is not None
    api.call("POST", f"/v1/batches/{batch_id}/resume")
    api.call("POST", "/v1/tenants/default/pause")
    found = reason(api, batch_id, "tenant_held")
    assert found["command"] == "batchwright resume --tenant default" and found["since"] is not None
    api.call("POST", "/v1/tenants/default/resume")


def test_what_a_killed_worker_held_waits_for_the_end_of_its_lease(
    site: Site, api: Api, worker: WorkerProcess
) -> None:
    batch_id = site.submit(
        [chat_line(f"c{n}", f"[[sim:latency-ms=9000]] held {n}", model="sim/sim-small") for n in range(8)]
    )
    path = f"/v1/batches/{batch_id}/why"
    eventually(lambda: sum(each["calls"] for each in api.call("GET", path).json()["running"]) == 8, 15.0)
    whole = api.call("GET", path).json()
    (runs,) = whole["running"]
    assert (runs["worker"], runs["provider"], runs["requests"]) == ("worker-1", "sim", 8)
    assert whole["text"].startswith("Nothing waits: ") and "8 calls under way" in whole["text"]
    worker.kill()
    found = reason(api, batch_id, "lost_worker")
    assert (found["requests"], found["command"]) == (8, None)
    assert found["since"] <= time.time() and found["until"] - found["since"] == int(LEASE_S)


def test_a_batch_that_has_ended_says_so(api: Api, early: tuple[str, dict[str, Any]], worker: object) -> None:
    del worker
    whole = api.call("GET", f"/v1/batches/{early[0]}/why").json()
    assert whole["status"] == "completed" and whole["command"] == f"batchwright download {early[0]}"
