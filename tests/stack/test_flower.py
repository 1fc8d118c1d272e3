"""Flower over real workers: every shard from received to succeeded, and nothing for who has no password."""

from __future__ import annotations

import signal
import socket
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.flower import AUTH, Flower, running_flower
from tests.support.workers import Site, started_worker

pytestmark = [pytest.mark.integration, pytest.mark.stack]
ITEMS, SHARD_ITEMS, LATENCY_MS = 200, 10, 150
OPEN_TO_THE_MACHINE = ("/metrics", "/healthcheck")
ASKS_WHO_COMES = ("/", "/tasks", "/broker", "/api/tasks", "/api/workers", "/api/queues/length")


@pytest.fixture(scope="module")
def flower(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    """On every address, so that what it tells to whom can be seen."""
    with running_flower(site.servers, tmp_path_factory.mktemp("flower"), host="0.0.0.0") as running:
        yield running


def test_flower_shows_every_shard_from_received_to_succeeded_and_counts_as_the_batch_does(
    site: Site, flower: Flower
) -> None:
    # Given a worker whose calls take a while, so that states between can be seen
    calls = {"BATCHWRIGHT_SHARD_MAX_ITEMS": str(SHARD_ITEMS), "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "16"}
    prompt = f"answer [[sim:latency-ms={LATENCY_MS}]]"
    seen: Counter[str] = Counter()
    with started_worker(site, "worker-1", **calls):
        # When a batch runs and somebody watches by Flower's API
        batch_id = site.submit([chat_line(f"c{n}", f"{prompt} {n}") for n in range(ITEMS)])

        def ended() -> bool:
            seen.update(task["state"] for task in flower.tasks().values() if task["name"] == "shard.sim")
            return bool(site.stores.state(batch_id)["status"] == "completed")

        eventually(ended, 30)
        shards = {doc["_id"] for doc in site.shards(batch_id)}
        assert len(shards) == ITEMS // SHARD_ITEMS

        def all_told() -> bool:
            return Counter(task["state"] for task in flower.tasks().values()) == {"SUCCESS": len(shards) + 1}

        eventually(all_told, 10, what=flower.tasks)
    # Then it has seen them on their way, each under a name and an id that a person can read
    assert seen["STARTED"] > 0
    tasks = [task for task in flower.tasks().values() if task["name"] == "shard.sim"]
    done = [task for task in tasks if task["result"] == "'done'"]
    assert {task["args"] for task in done} == {f"('{shard}',)" for shard in shards}
    assert len(done) == len(shards)
    for task in tasks:
        assert task["received"] <= task["started"] <= task["succeeded"]
        assert task["worker"].startswith("worker-1@")
    (plan,) = [task for task in flower.tasks().values() if task["name"] == "plan.batch"]
    assert plan["args"] == f"('{batch_id}',)"
    # and the queues by the names that the documentation uses
    queues = flower.client.get("/api/queues/length").raise_for_status().json()["active_queues"]
    assert {"batch.sim", "plan", "schedules"} <= {queue["name"] for queue in queues}


def test_without_the_password_flower_shows_nothing_and_its_figures_to_this_machine_alone(
    flower: Flower,
) -> None:
    here = str(flower.client.base_url)
    for path in ASKS_WHO_COMES:
        assert httpx.get(f"{here}{path}").status_code == 401, path
    for path in OPEN_TO_THE_MACHINE:
        assert httpx.get(f"{here}{path}").status_code == 200, path

    address = _address_on_a_network()
    if address is None:
        pytest.skip("this machine is on no network, so nobody else can come")
    there = here.replace("127.0.0.1", address)
    for path in (*OPEN_TO_THE_MACHINE, *ASKS_WHO_COMES):
        assert httpx.get(f"{there}{path}").status_code == 401, path
        assert httpx.get(f"{there}{path}", auth=flower.client.auth).status_code == 200, path


def test_a_proxy_on_this_machine_opens_nothing_to_the_world_behind_it(flower: Flower) -> None:
    for path in OPEN_TO_THE_MACHINE:
        asked = httpx.get(f"{flower.client.base_url}{path}", headers={"x-forwarded-for": "203.0.113.9"})
        assert asked.status_code == 401, path


def test_credentials_that_are_no_ascii_or_no_utf_8_are_refused_like_any_other(flower: Flower) -> None:
    for said in ("operator:lètmein".encode(), b"operator:\xff\xfe", b"operator"):
        sent = f"Basic {b64encode(said).decode()}"
        asked = httpx.get(f"{flower.client.base_url}/api/tasks", headers={"authorization": sent})
        assert asked.status_code == 401, said


def test_a_password_may_hold_anything_and_flowers_own_variables_open_nothing(
    site: Site, tmp_path: Path
) -> None:
    # Given what Flower by itself would make two passwords of, and refuse with a 500, and variables that undo ours
    own = {
        "BATCHWRIGHT_FLOWER_PASSWORD": 'kom,ma:and"more"',
        "FLOWER_BASIC_AUTH": "a:b",
        "FLOWER_AUTH": ".*",
        "FLOWER_UNAUTHENTICATED_API": "true",
        "FLOWER_XHEADERS": "true",
        "FLOWER_PORT": "tcp://10.0.0.1:5555",
        "FLOWER_CONF": str(tmp_path / "flowerconfig.py"),
        "FLOWER_URL_PREFIX": "behind",
    }
    (tmp_path / "flowerconfig.py").write_text("basic_auth = ['a:b']\n")
    with running_flower(site.servers, tmp_path, prefix="/behind", **own) as running:
        api = f"{running.client.base_url}api/tasks"
        assert httpx.get(api, auth=(AUTH[0], own["BATCHWRIGHT_FLOWER_PASSWORD"])).status_code == 200
        for who in (("a", "b"), ("", 'ma:and"more"'), (AUTH[0], "kom")):
            assert httpx.get(api, auth=who).status_code == 401, who
        alone = b64encode(b'ma:and"more"').decode()
        assert httpx.get(api, headers={"authorization": f"Basic {alone}"}).status_code == 401
        assert httpx.get(api).status_code == 401
    assert "kom,ma" not in (tmp_path / "flower.log").read_text()


def test_flower_goes_on_when_all_processes_are_told_to_read_their_settings(flower: Flower) -> None:
    flower.process.send_signal(signal.SIGHUP)
    # By the time this is answered it has heard the signal.
    assert flower.client.get("/healthcheck").status_code == 200
    assert flower.process.poll() is None


def test_a_stacks_flower_listens_on_loopback_alone(site: Site, tmp_path: Path) -> None:
    address = _address_on_a_network()
    if address is None:
        pytest.skip("this machine is on no network, so nobody else can come")
    with running_flower(site.servers, tmp_path) as running, pytest.raises(httpx.ConnectError):
        httpx.get(str(running.client.base_url).replace("127.0.0.1", address))


def _address_on_a_network() -> str | None:
    """One of this machine's own addresses that is not loopback."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET and not each.address.startswith("127."):
                return each.address
    return None
