"""`GET /metrics` of a running API, with beats written as worker processes write them."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.application import create_app
from app.api.metrics import of_processes
from app.api.own_signs import OwnSigns
from app.api.services import open_services
from app.api.standing import FRESH_S, Beats, Part, WhatStands
from config.settings import load_settings
from tests.support.api import Api
from workers import metrics
from workers import metrics_kept as kept
from workers.core.errors import StoreUnavailable
from workers.exposition import page_of
from workers.metric import Metric
from workers.observed import Observed
from workers.store.ledger import Ledger
from workers.store.mongo import EPOCH
from workers.store.worker_processes import Beat, WorkerProcesses
from workers.transport.port import ClientStats
from workers.vitals import ProviderVitals, Vitals

Key = tuple[str, frozenset[tuple[str, str]]]
# Seats that no other test of this process sits on.
ONE, OTHER = "worker-71@here:1", "worker-72@there:2"


def vitals(requests: int) -> Vitals:
    """Signs in which every metric has a value."""
    client = ClientStats(
        client="httpx",
        connections=2,
        connections_opened=3,
        in_flight=4,
        requests=requests,
        protocols={"HTTP/2": requests - 1},
        bytes_sent=1_000,
        bytes_received=2_000,
        retired=1,
        failures={"CallTimeout": 1},
    )
    providers = {"openai": ProviderVitals(client=client, slots_in_use=4, slots=256)}
    return Vitals(
        transport="httpx",
        started_at=1.0,
        providers=providers,
        cache={"hits": 5},
        resident_bytes=9,
        refused={"malformed": 2},
    )


def samples(text: str) -> dict[Key, float]:
    """Every value on a page, by name and labels."""
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def of(found: dict[Key, float], metric: Metric, **labels: str) -> float | None:
    """One value."""
    return found.get((metric.name, frozenset(labels.items())))


@contextmanager
def beating(api: Api, **requests: int) -> Iterator[WorkerProcesses]:
    """Worker processes that have just told their signs."""
    processes = WorkerProcesses(api.work.db)
    owners = {"one": ONE, "other": OTHER}
    try:
        for name, number in requests.items():
            processes.beat(owners[name], providers=[], slots=0, stats=vitals(number).to_doc())
        yield processes
    finally:
        for owner in owners.values():
            processes.leave(owner)


def test_the_page_shows_each_process_and_wants_no_key(api: Api) -> None:
    with beating(api, one=10, other=20):
        answer = api.connection.get(f"{api.url}/metrics")
    found = samples(answer.text)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    for process, requests in (("worker-71", 10), ("worker-72", 20)):
        at = {"process": process, "provider": "openai"}
        assert of(found, metrics.CLIENT_REQUESTS, **at) == requests
        assert of(found, metrics.CLIENT_ANSWERS, **at, protocol="HTTP/2") == requests - 1
        assert of(found, metrics.CLIENT_BYTES, **at, direction="received") == 2_000
        assert of(found, metrics.CACHE_HITS, process=process) == 5
        assert of(found, metrics.WORKER_UP, process=process) == 1
    assert of(found, kept.MONGODB_UP) == 1


def test_a_process_that_dies_changes_no_other_series_and_its_successor_starts_anew_under_the_same_label(
    api: Api,
) -> None:
    one = {"process": "worker-71", "provider": "openai"}
    other = {"process": "worker-72", "provider": "openai"}
    with beating(api, one=10, other=20) as processes:
        # when one is silent
        api.work.db["worker_processes"].update_one({"owner": ONE}, {"$set": {"seen_at": EPOCH}})
        found = samples(api.connection.get(f"{api.url}/metrics").text)
        assert of(found, metrics.WORKER_UP, process="worker-71") == 0
        assert of(found, metrics.CLIENT_REQUESTS, **one) is None
        assert of(found, metrics.CLIENT_REQUESTS, **other) == 20
        # and when it is started again, with a new process id
        processes.beat("worker-71@here:3", providers=[], slots=0, stats=vitals(3).to_doc())
        found = samples(api.connection.get(f"{api.url}/metrics").text)
        processes.leave("worker-71@here:3")
    assert of(found, metrics.CLIENT_REQUESTS, **one) == 3
    assert of(found, metrics.CLIENT_REQUESTS, **other) == 20


async def standing(api: Api, **more: str) -> dict[Key, float]:
    """What stands, as an API process of these settings shows it at its first look."""
    services = open_services(
        load_settings({**api.environ, "BATCHWRIGHT_SIMULATOR_URL": "http://127.0.0.1:9", **more})
    )
    try:
        return samples(page_of(await WhatStands(services).samples())[0].decode())
    finally:
        await services.close(0.1)


async def test_the_page_shows_what_is_recorded_as_batches_show_it_and_what_stands(api: Api) -> None:
    rows = api.work.db["usage"]
    row = {"provider": "of-metrics", "items": 5, "failed": 1, "calls": 6, "excess": 1, "possibly_repeated": 2}
    try:
        Ledger(api.work.db).book({"_id": "batch_of_metrics", "tenant": "them", "created_at": 0.0}, [], [row])
        found, off = await standing(api), await standing(api, BATCHWRIGHT_MONITORING_ENABLED="false")
    finally:
        rows.delete_one({"_id": "batch_of_metrics"})
    at = {"provider": "of-metrics"}
    assert of(found, kept.ITEMS, **at, outcome="completed") == 4 and of(found, kept.LLM_REQUESTS, **at) == 6
    assert of(found, kept.LLM_EXCESS, **at) == 3
    assert of(found, kept.SHARDS, provider="sim", status="queued") is not None
    assert of(found, kept.OLDEST_DUE, provider="sim") is not None
    assert of(found, kept.QUEUE_MESSAGES, queue="plan") is not None
    assert of(found, kept.CALLS_IN_FLIGHT, provider="sim") == 0 and of(found, kept.CONTROL_REDIS_UP) == 1
    assert of(found, kept.KEYS_TODAY) is not None and of(found, kept.BATCHES, status="completed") is not None
    assert of(off, kept.LLM_REQUESTS, **at) == 6 and of(off, kept.KEYS_TODAY) is None


async def test_what_does_not_answer_is_left_out_and_the_rest_is_shown(api: Api) -> None:
    found = await standing(api, BATCHWRIGHT_REDIS_URL="redis://127.0.0.1:1/0")
    assert of(found, kept.CONTROL_REDIS_UP) == 0 and of(found, kept.QUEUE_MESSAGES, queue="plan") is None
    assert of(found, kept.BATCHES, status="completed") is not None


async def test_what_hangs_is_left_out_in_time_and_asked_once_however_many_wait() -> None:
    asked, ends = list[str](), asyncio.Event()

    async def look() -> str | None:
        asked.append("once")
        await ends.wait()
        return "found"

    part = Part[str | None]("a server", look, None, within_s=0.001)
    assert not any(await asyncio.gather(*(part.now() for _ in range(3))))
    assert asked == ["once"]
    ends.set()
    assert await eventually_found(part) == "found" and asked == ["once"]


async def eventually_found(part: Part[str | None]) -> str | None:
    """What a part finds once its look, which nothing holds up any more, has ended."""
    for _ in range(1_000):
        if (found := await part.now()) is not None:
            return found
    return None


async def test_what_lasts_is_shown_while_a_look_takes_long() -> None:
    now, ends, found = [0.0], asyncio.Event(), iter(["first", "second"])
    ends.set()

    async def look() -> str | None:
        await ends.wait()
        return next(found)

    part = Part[str | None]("sums", look, None, lasts=True, within_s=0.001, clock=lambda: now[0])
    assert await part.now() == "first"
    now[0] += FRESH_S
    ends.clear()
    assert await part.now() == "first"
    ends.set()
    assert await part.now() == "second"


@pytest.mark.parametrize(("fails", "asked_again_s"), [(True, FRESH_S), (False, 1_200.0)])
async def test_a_look_that_failed_late_is_made_again_soon_and_one_that_only_took_long_is_not(
    fails: bool, asked_again_s: float
) -> None:
    now, asked_at = [100.0], list[float]()

    async def look() -> str | None:
        asked_at.append(now[0])
        now[0] += 60.0
        if fails:
            raise StoreUnavailable("away")
        return "found"

    part = Part[str | None]("a server", look, None, clock=lambda: now[0])
    assert await part.now() == (None if fails else "found")
    now[0] = 160.0 + asked_again_s - 0.1
    await part.now()
    assert asked_at == [100.0]
    now[0] = 160.0 + asked_again_s
    await part.now()
    assert asked_at == [100.0, 160.0 + asked_again_s]


async def test_a_mongodb_that_hangs_does_not_hold_up_the_page(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = threading.Event()

    def hang(_: WorkerProcesses) -> list[Beat]:
        ends.wait(30)
        return []

    monkeypatch.setattr(WorkerProcesses, "beats", hang)
    services = open_services(load_settings(dict(api.environ)))
    try:
        stands = WhatStands(services, within_s=0.01)
        assert not any(await asyncio.gather(stands.beats(), stands.beats()))
        assert not ends.is_set()
    finally:
        ends.set()
        await services.close(0.1)


async def test_a_redis_that_hangs_is_told_as_down_and_not_left_out(api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        services = open_services(load_settings({**api.environ, "BATCHWRIGHT_REDIS_URL": url}))
        try:
            found = await WhatStands(services, within_s=1.0).samples()
        finally:
            await services.close(0.1)
    assert (kept.CONTROL_REDIS_UP, (), 0) in found


async def test_with_a_token_of_its_own_the_page_is_shown_to_nobody_else(api: Api) -> None:
    services = open_services(
        load_settings({**api.environ, "BATCHWRIGHT_MONITORING_METRICS_TOKEN": "a-token"})
    )
    transport = httpx.ASGITransport(app=cast(Any, create_app(services)))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            sent: tuple[dict[str, str], ...] = (
                {},
                {"authorization": f"Bearer {api.key}"},
                {"authorization": "Bearer a-token"},
            )
            for path in ("/metrics", "/metrics/targets"):
                statuses = [(await client.get(path, headers=headers)).status_code for headers in sent]
                assert statuses == [401, 401, 200], path
    finally:
        await services.close(0.1)


def test_the_process_that_is_asked_shows_itself_as_it_is_now(api: Api) -> None:
    api.connection.get(f"{api.url}/metrics")
    found = samples(api.connection.get(f"{api.url}/metrics").text)
    (name,) = {dict(labels)["process"] for name, labels in found if name == metrics.API_UP.name}
    at = {"method": "GET", "endpoint": "/metrics", "process": name}
    counted = {key: value for key, value in found.items() if key[0] == f"{metrics.HTTP_SECONDS.name}_count"}
    assert counted[f"{metrics.HTTP_SECONDS.name}_count", frozenset(at.items())] >= 1
    assert of(found, metrics.HTTP_IN_PROGRESS, process=name) == 1 and of(found, metrics.UPTIME, process=name)


def test_prometheus_is_told_where_workers_serve_pages_of_their_own(api: Api) -> None:
    processes = WorkerProcesses(api.work.db)
    signs = replace(vitals(1), http_address="10.0.0.7:9000")
    try:
        processes.beat(ONE, providers=[], slots=0, stats=signs.to_doc())
        processes.beat(OTHER, providers=[], slots=0, stats=vitals(1).to_doc())
        found = api.connection.get(f"{api.url}/metrics/targets").json()
    finally:
        processes.leave(ONE)
        processes.leave(OTHER)
    assert found == [{"targets": ["10.0.0.7:9000"], "labels": {"process": "worker-71"}}]


def test_another_api_process_stands_on_the_same_page_under_its_own_name(api: Api) -> None:
    others = WorkerProcesses(api.work.db, "api")
    seen = Observed()
    seen.count(metrics.KEY_USES, "accepted", by=7)
    signs = Vitals(transport="", started_at=1.0, requests=3, observed=seen.read())
    try:
        others.beat("api@elsewhere:1", providers=[], slots=0, stats=signs.to_doc())
        found = samples(api.connection.get(f"{api.url}/metrics").text)
        seat = others.seat("api@elsewhere:1")
    finally:
        others.leave("api@elsewhere:1")
    assert seat.startswith("api-") and of(found, metrics.API_UP, process=seat) == 1
    assert of(found, metrics.KEY_USES, outcome="accepted", process=seat) == 7
    assert of(found, metrics.HTTP_IN_PROGRESS, process=seat) == 3


def asked() -> Vitals:
    """The signs of the process that shows the page, before its first beat."""
    nothing: Any = defaultdict(lambda: None)
    return OwnSigns(nothing, nothing).vitals()


def test_without_mongodb_the_page_shows_the_process_that_was_asked() -> None:
    found = samples(page_of(of_processes(None, asked()))[0].decode())
    assert of(found, kept.MONGODB_UP) == 0 and of(found, metrics.API_UP, process="api") == 1
    assert {dict(labels).get("process", "api") for _, labels in found} == {"api"}


def test_signs_nobody_understands_are_left_out() -> None:
    odd = [Beat("worker-1", 1.0, {"from": "another version"}), Beat("worker-2", 1.0, None)]
    found = samples(page_of(of_processes(Beats(odd, []), asked()))[0].decode())
    of_workers = {(name, dict(labels)["process"]): value for (name, labels), value in found.items() if labels}
    assert {key: value for key, value in of_workers.items() if key[1] != "api"} == {
        (metrics.WORKER_UP.name, "worker-1"): 1,
        (metrics.WORKER_UP.name, "worker-2"): 1,
    }


def test_the_page_about_metrics_lists_all_of_them_as_they_are() -> None:
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `batchwright_")]
    assert rows == [
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels) or '-'} | {each.help} |"
        for each in metrics.ALL
    ]
    queries = [line for line in text.splitlines() if line.startswith("    ")]
    named = {name for line in queries for name in re.findall(r"batchwright_[a-z_]+", line)}
    known = {each.name for each in metrics.ALL} | {
        f"{each.name}{end}"
        for each in metrics.ALL
        if each.kind == "histogram"
        for end in ("_bucket", "_sum", "_count")
    }
    assert named and named <= known
