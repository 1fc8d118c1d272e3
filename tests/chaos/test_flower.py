"""An operator's Terminate and Revoke in Flower do what they say, and no item is lost by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.flower import Flower, running_flower
from tests.support.servers import TestServers
from tests.support.simulator import running_simulator
from tests.support.workers import Site, open_site, started_worker
from workers.celery_config import PLAN_QUEUE, batch_queue, celery_settings
from workers.engine.errand import REVOKED_REST_S
from workers.store.mongo import Doc

pytestmark = pytest.mark.chaos
_ITEMS = 20
# Every call takes far longer than the test: only a cut ends it.
_SLOW = ("--latency-ms", "60000")


@pytest.fixture
def site(servers: TestServers, tmp_path: Path) -> Iterator[Site]:
    with open_site(servers, tmp_path, *_SLOW) as opened:
        yield opened


@pytest.fixture
def flower(site: Site) -> Iterator[Flower]:
    with running_flower(site.servers, site.directory) as running:
        yield running


def test_terminate_cuts_the_shard_and_revoke_takes_its_message_back(site: Site, flower: Flower) -> None:
    with started_worker(site, "w1") as worker, redis.Redis.from_url(site.servers.redis_url) as broker:
        # Given a shard whose calls hang
        batch_id = site.submit([chat_line(f"c{n}", f"terminated {n}") for n in range(_ITEMS)])
        eventually(lambda: _started(site, batch_id), 20)
        task_id = eventually(lambda: _task(flower, "shard.sim", "STARTED"), 10, what=flower.tasks)
        # When an operator terminates it
        assert task_id is not None
        flower.revoke(task_id, terminate=True)
        # Then it is back in the queue within the second, rests a little, and Flower shows what was done
        shard = _queued(site, batch_id, within_s=5)
        assert (shard["reason"], shard["possibly_repeated"]) == ("revoked", _ITEMS)
        assert shard["next_at"] - shard["parked_at"] == timedelta(seconds=REVOKED_REST_S)
        eventually(lambda: _task(flower, "shard.sim", "REVOKED"), 10, what=flower.tasks)
        assert worker.alive

        # Given a message whose id was revoked before it came: the next one for the same shard
        revoked = _message(site, broker, shard["_id"])
        flower.revoke(revoked["headers"]["id"], terminate=False)
        told = f"flagged as revoked: {revoked['headers']['id']}"
        eventually(lambda: told in worker.log_path.read_text(), 10)
        dispatched = {"status": "dispatched", "reason": None}
        site.stores.db["batch_shards"].update_one({"_id": shard["_id"]}, {"$set": dispatched})
        # When Celery drops it on receipt
        broker.lpush(batch_queue("sim"), json.dumps(revoked))
        # Then its shard is not left waiting for its recall
        again = _queued(site, batch_id, within_s=3)
        assert again["reason"] == "revoked" and again["fence"] == shard["fence"]

        assert site.stores.state(batch_id)["status"] == "in_progress"
        assert "Traceback" not in worker.log_path.read_text()
        worker.kill()
    # And the batch is done by whoever comes next, once calls are answered
    _let_it_run(site, batch_id)


def test_whatever_else_flower_can_tell_a_worker_leaves_it_working(site: Site, tmp_path: Path) -> None:
    """By Celery's remote control, which is what Flower's buttons use."""
    quick = tmp_path / "quick"
    quick.mkdir()
    told = {"BATCHWRIGHT_WORKER_WATCHDOG_S": "1", "BATCHWRIGHT_SHARD_MAX_ITEMS": "2"}
    with (
        running_simulator(quick) as sim,
        started_worker(site, "w1", BATCHWRIGHT_SIMULATOR_URL=sim.url, **told) as worker,
        Celery("operator", set_as_current=False) as operator,
    ):
        operator.conf.update(celery_settings(site.servers.redis_url, ["sim"]))
        (name,) = operator.control.inspect(timeout=5).ping() or {}

        def tell(command: str, **words: Any) -> Any:
            answers: Any = operator.control.broadcast(
                command, arguments=words, destination=[name], reply=True, timeout=5
            )
            return answers[0][name]

        # Given a process whose threads cannot be grown, shrunk or timed
        for command, words in {
            "pool_grow": {"n": 2},
            "pool_shrink": {"n": 2},
            "autoscale": {"max": 9, "min": 2},
            "pool_restart": {},
        }.items():
            assert "error" in tell(command, **words)
        tell("time_limit", task_name="shard.sim", hard=0.001, soft=0.001)
        # and a limit that would keep messages in its memory
        tell("rate_limit", task_name="shard.sim", rate_limit="1/h")
        tell("disable_events")
        tell("enable_events")
        tell("cancel_consumer", queue=batch_queue("sim"))
        waiting = site.submit([chat_line(f"c{n}", f"told {n}") for n in range(_ITEMS)])
        eventually(lambda: site.queue.depth(batch_queue("sim")) > 0, 10)
        queues = tell("active_queues")
        assert [queue["name"] for queue in queues] == [PLAN_QUEUE]
        # When it may take messages again, then it takes them all
        tell("add_consumer", queue=batch_queue("sim"))
        assert site.ended(waiting)["counts"]["completed"] == _ITEMS
        assert tell("reserved") == [] and worker.alive
        # and the last that it can be told is to go.
        operator.control.shutdown(destination=[name])
        assert worker.process.wait(timeout=20) == 0


def _let_it_run(site: Site, batch_id: str) -> None:
    quick = site.directory / "quick"
    quick.mkdir()
    site.stores.db["batch_shards"].update_many({"batch_id": batch_id}, [{"$set": {"next_at": "$$NOW"}}])
    with running_simulator(quick) as sim, started_worker(site, "w2", BATCHWRIGHT_SIMULATOR_URL=sim.url):
        counts = site.ended(batch_id)["counts"]
    assert (counts["completed"], counts["failed"]) == (_ITEMS, 0)
    assert counts["excess"] + counts["possibly_repeated"] == _ITEMS


def _started(site: Site, batch_id: str) -> bool:
    shards = site.shards(batch_id)
    return bool(shards) and all(doc["started"] == _ITEMS for doc in shards)


def _queued(site: Site, batch_id: str, *, within_s: float) -> Doc:
    eventually(lambda: site.shards(batch_id)[0]["status"] == "queued", within_s)
    (shard,) = site.shards(batch_id)
    return shard


def _task(flower: Flower, name: str, state: str) -> str | None:
    found = [key for key, task in flower.tasks().items() if (task["name"], task["state"]) == (name, state)]
    return found[0] if found else None


def _message(site: Site, broker: redis.Redis, shard_id: str) -> Doc:
    """A message for a shard that nobody gets to see yet."""
    site.queue.publish_shards("nobody", [shard_id])
    raw: Any = broker.lpop(batch_queue("nobody"))
    message: Doc = json.loads(raw)
    message["headers"]["task"] = "shard.sim"
    message["properties"]["delivery_info"]["routing_key"] = batch_queue("sim")
    return message
