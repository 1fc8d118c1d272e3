"""`GET /metrics` of a running API, with beats written as worker processes write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from app.api.metrics import page
from tests.support.api import Api
from workers import metrics
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


def of(found: dict[Key, float], metric: metrics.Metric, **labels: str) -> float | None:
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
    assert of(found, metrics.MONGODB_UP) == 1


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


def test_every_metric_that_has_a_name_is_filled_in_and_no_other_label_is_used() -> None:
    text = page([Beat("worker-1", 1.0, vitals(10).to_doc())], disk_ratio=0.5)[0].decode()
    labels = {name: {label for label, _ in pairs} for name, pairs in samples(text)}
    assert labels == {each.name: set(each.labels) for each in metrics.ALL}


def test_without_mongodb_the_page_says_so_and_signs_nobody_understands_are_left_out() -> None:
    assert samples(page(None)[0].decode()) == {(metrics.MONGODB_UP.name, frozenset()): 0}
    odd = [Beat("worker-1", 1.0, {"from": "another version"}), Beat("worker-2", 1.0, None)]
    up = {key: value for key, value in samples(page(odd)[0].decode()).items() if key[1]}
    assert {(name, *dict(labels).values()): value for (name, labels), value in up.items()} == {
        (metrics.WORKER_UP.name, "worker-1"): 1,
        (metrics.WORKER_UP.name, "worker-2"): 1,
    }


def test_who_asks_for_openmetrics_gets_it() -> None:
    text, content_type = page(None, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")


def test_the_page_about_metrics_lists_all_of_them_as_they_are() -> None:
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `batchwright_")]
    assert rows == [
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels) or '-'} | {each.help} |"
        for each in metrics.ALL
    ]
