"""`GET /v1/top` on real servers: what runs over all tenants, for the operator alone, one look for many viewers."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.services import open_services
from app.api.top import TopLook
from config.settings import load_settings
from tests.support.api import Api, answered, refused
from tests.support.batches import open_stores
from tests.support.servers import TestServers
from workers import metrics
from workers.core.histogram import Histogram
from workers.observed import Readings
from workers.store.glance import Glance
from workers.store.worker_processes import WorkerProcesses
from workers.transport.port import ClientStats
from workers.vitals import ProviderVitals, Vitals

pytestmark = pytest.mark.integration
SEAT = "worker-81@here:1"


def vitals() -> Vitals:
    times = Histogram()
    times.add(0.25, 100)
    client = ClientStats(client="httpx", connections=1, connections_opened=1, in_flight=4, requests=100)
    observed = Readings({}, {(metrics.LLM_SECONDS.name, ("sim", "ok")): times})
    return Vitals(
        transport="httpx",
        started_at=1.0,
        providers={"sim": ProviderVitals(client=client, slots_in_use=4, slots=256)},
        resident_bytes=9,
        version="0.1.0",
        observed=observed,
    )


def named(rows: list[dict[str, Any]], name: str, by: str = "name") -> dict[str, Any]:
    (found,) = [row for row in rows if row[by] == name]
    return found


async def test_one_look_tells_batches_providers_workers_and_savings_and_serves_who_asks_meanwhile(
    api: Api,
) -> None:
    batch_id = api.batch(input_file_id=api.input_file(4))
    api.work.start(batch_id, 4)
    workers = WorkerProcesses(api.work.db)
    workers.beat(SEAT, providers=["sim"], slots=4, stats=vitals().to_doc())
    services = open_services(load_settings(api.environ))
    look = TopLook(services)
    try:
        first = await look.now()
        api.work.record(batch_id, [answered(1), refused(2)])
        assert await look.now() is first, "a second viewer within the second costs nothing"
        look._good_until = 0.0
        found = await look.now()
    finally:
        workers.leave(SEAT)
        await services.close(0.5)
    one = named(found["batches"], batch_id, "id")
    assert (one["name"], one["tenant"], one["total"], one["done"], one["failed"]) == (
        "in.jsonl",
        "default",
        4,
        2,
        1,
    )
    assert named(first["batches"], batch_id, "id")["per_second"] is None and one["per_second"] > 0
    sim = named(found["providers"], "sim")
    assert sim["in_flight"] >= 4 and sim["slots"] >= 256 and sim["breaker"] == "closed"
    assert sim["p50_s"] == 0.25 and sim["shards_running"] >= 1
    worker = named(found["workers"], "worker-81")
    assert (worker["alive"], worker["version"], worker["calls"]) == (True, "0.1.0", 4)
    assert found["savings"]["requests"] >= 2 and found["away"] == []


def test_it_is_for_the_operator_alone_and_holds_to_its_document(api: Api) -> None:
    assert api.call("GET", "/v1/top").json()["object"] == "top"
    refusal = api.call("GET", "/v1/top", headers={"authorization": f"Bearer {api.other_key}"})
    assert refusal.status_code == 403


async def test_without_redis_it_says_so_and_tells_the_rest(api: Api) -> None:
    environ = {**api.environ, "BATCHWRIGHT_REDIS_URL": "redis://127.0.0.1:1/0"}
    services = open_services(load_settings(environ))
    try:
        found = await TopLook(services).now()
    finally:
        await services.close(0.5)
    assert found["away"] == ["control redis", "broker"]
    assert all(each["breaker"] is None for each in found["providers"])


def test_of_many_batches_the_newest_that_run_are_shown_and_all_are_counted(api: Api) -> None:
    names = ("REDIS_URL", "CACHE_REDIS_URL", "MONGODB_URL", "MONGODB_DATABASE")
    stores = open_stores(TestServers(*(api.environ[f"BATCHWRIGHT_{name}"] for name in names)), safe=False)
    glance, before = Glance(stores.db), Glance(stores.db).running(0)[1]
    running = [stores.batch(_id=f"batch_fffffffffff{number}", total=1) for number in range(3)]
    stores.start(running[0])
    docs, count = glance.running(2)
    assert count == before + 3
    assert docs[0]["_id"] == running[0], "what runs comes before what waits to be checked"
    stores.db["batch_jobs"].delete_many({"_id": {"$in": running}})
