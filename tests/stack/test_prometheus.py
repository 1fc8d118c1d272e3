"""A real Prometheus over a running API and worker: every rule evaluates, and every process is seen."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.api import running_api
from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.workers import Site, started_worker

pytestmark = [pytest.mark.integration, pytest.mark.stack]
FILES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
PROMETHEUS = shutil.which("prometheus")
ITEMS = 40


@pytest.fixture(scope="module")
def prometheus(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Our own files, with the API's address and a second instead of a quarter of a minute."""
    if PROMETHEUS is None:
        pytest.skip("no Prometheus on this machine (Debian's package is `prometheus`)")
    directory = tmp_path_factory.mktemp("prometheus")
    with (
        running_api(site.servers, directory) as api,
        started_worker(site, "worker-1", BATCHWRIGHT_WORKER_HTTP_PORT="0"),
    ):
        config = yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        here = api.url.removeprefix("http://")
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [here]
        found = {"url": f"{api.url}/metrics/targets", "refresh_interval": "1s"}
        config["scrape_configs"].append({"job_name": "workers", "http_sd_configs": [found]})
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(FILES / "alerts.yml", directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [PROMETHEUS, f"--web.listen-address={address}", "--config.file=prometheus.yml"]
        with (directory / "prometheus.log").open("wb") as log:
            process = subprocess.Popen([*command, "--storage.tsdb.path=data"], cwd=directory, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{address}/api/v1") as client:
                eventually(lambda: _ready(client), 10)
                yield client
        finally:
            process.kill()
            process.wait()


def test_prometheus_finds_every_process_and_no_rule_fails(site: Site, prometheus: httpx.Client) -> None:
    batch_id = site.submit([chat_line(f"c{n}", f"scraped {n}") for n in range(ITEMS)])
    site.ended(batch_id)
    # Items come from what is recorded, over all batches there were
    recorded = site.stores.db["batch_results"].count_documents({})

    def all_seen() -> bool:
        return _value(prometheus, "sum(batchwright_items_total)") == recorded

    eventually(all_seen, 15, what=lambda: _ask(prometheus, "batchwright_items_total"))
    # Prometheus takes up targets that it was told of within five seconds.
    eventually(lambda: _value(prometheus, 'count(up{job="workers"})'), 15)
    assert _value(prometheus, 'count(up{job="workers"})') == 1
    assert _value(prometheus, 'min(up{job=~"batchwright|workers"})') == 1
    assert _value(prometheus, "sum(max without (instance, job) (batchwright_worker_up))") == 1

    def all_evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in _rules(prometheus))

    eventually(all_evaluated, 10, what=lambda: _rules(prometheus))
    firing = [rule["name"] for rule in _rules(prometheus) if rule.get("state") == "firing"]
    assert firing == []


def _rules(client: httpx.Client) -> list[dict[str, Any]]:
    groups = client.get("/rules").raise_for_status().json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _ask(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        client.get("/query", params={"query": query}).raise_for_status().json()["data"]["result"]
    )
    return found


def _value(client: httpx.Client, query: str) -> float | None:
    found = _ask(client, query)
    return float(found[0]["value"][1]) if found else None


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/status/buildinfo").status_code == 200
    except httpx.TransportError:
        return False
