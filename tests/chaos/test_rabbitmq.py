"""The core faults with RabbitMQ as the broker: one URL is changed, and the promises are the same.

One node, one simulator and two workers serve the whole module; a test that kills a worker hires another. The prompts of
a test are its own, so what the simulator saw of them tells whether a call was made too often.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from celery import Celery
from kombu import Producer

from app.doctor.broker_check import check_broker
from tests.load.crew import show
from tests.support.apart import apart
from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.rabbit import Rabbit, rabbit
from tests.support.servers import TestServers
from tests.support.workers import Site, WorkerProcess, open_site, started_worker
from workers.celery_config import DEAD, DELIVERY_LIMIT, batch_queue, celery_settings, rabbitmq_queue
from workers.core.errors import StoreUnavailable
from workers.core.identity import new_batch_id
from workers.queue import Queue
from workers.rabbitmq import RabbitPublisher
from workers.store.mongo import Doc

pytestmark = pytest.mark.chaos
__all__ = ["rabbit"]
WORKERS = 2
CALL_SLOTS = 32
ITEMS = 400
PICKLED = b"\x80\x04."
SETTINGS = {
    "BATCHWRIGHT_LEASE_S": "2",
    "BATCHWRIGHT_SHARD_MAX_ITEMS": "20",
    "BATCHWRIGHT_WORKER_PROCESSES": str(WORKERS),
    "BATCHWRIGHT_WORKER_THREADS": "2",
    "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": str(CALL_SLOTS),
}
SIM = batch_queue("sim")
# What I7 of the fault list allows: a lease, a sweep, ten seconds.
RECOVERY_S = 2.0 + 0.2 + 10.0


@dataclass
class Crew:
    """The workers of this module."""

    site: Site
    rabbit: Rabbit
    stack: ExitStack
    hired: list[WorkerProcess] = field(default_factory=list)

    def fill(self) -> list[WorkerProcess]:
        """Those that live, made up to two; both consume."""
        alive = [worker for worker in self.hired if worker.alive]
        while len(alive) < WORKERS:
            name = f"w{len(self.hired) + 1}"
            told = {**SETTINGS, "BATCHWRIGHT_BROKER_URL": self.rabbit.url}
            worker = self.stack.enter_context(started_worker(self.site, name, **told))
            self.hired.append(worker)
            alive.append(worker)
        self.until_consuming(10.0)
        return alive

    def until_consuming(self, within_s: float) -> float:
        """Wait until all that live consume shards; gives the seconds it took."""
        began = time.monotonic()
        alive = sum(worker.alive for worker in self.hired)
        logs = (worker.log_path for worker in self.hired)
        eventually(
            lambda: self.rabbit.consumers(SIM) == alive,
            within_s,
            what=lambda: "".join(log.read_text()[-2000:] for log in logs),
        )
        return time.monotonic() - began


@pytest.fixture(scope="module")
def site(servers: TestServers, rabbit: Rabbit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Databases of its own, a simulator, and a queue that publishes to the node."""
    directory = tmp_path_factory.mktemp("rabbitmq")
    with open_site(apart(servers, "rabbitmq"), directory) as opened:
        queue = Queue(rabbit.url)
        yield replace(opened, queue=queue)
        queue.close()


@pytest.fixture(scope="module")
def hired(site: Site, rabbit: Rabbit) -> Iterator[Crew]:
    with ExitStack() as stack:
        yield Crew(site, rabbit, stack)


@pytest.fixture
def crew(hired: Crew) -> Crew:
    """Two workers that consume."""
    hired.fill()
    return hired


def prompts(name: str, count: int = ITEMS) -> list[bytes]:
    """Distinct questions that take long enough for calls to be under way at any moment."""
    return [chat_line(f"c{n}", f"{name} {n} [[sim:latency-ms=300]]") for n in range(count)]


def assert_whole(site: Site, batch: Doc) -> None:
    """Every item has its own answer, recorded once."""
    results = site.results(batch["_id"])
    assert [doc["custom_id"] for doc in results] == [f"c{n}" for n in range(ITEMS)]
    assert all(doc["ok"] for doc in results)
    assert batch["status"] == "completed" and batch["counts"]["completed"] == ITEMS
    assert {shard["status"] for shard in site.shards(batch["_id"])} == {"done"}


def assert_no_excess(site: Site, batch: Doc, called_before: int) -> None:
    """Nothing was asked twice, and nobody says that it may have been."""
    assert site.called() - called_before == ITEMS
    assert batch["counts"]["excess"] == batch["counts"]["possibly_repeated"] == 0


@pytest.mark.usefixtures("crew")
def test_messages_delivered_five_times_in_any_order_are_worth_as_much_as_one(site: Site) -> None:
    before = site.called()
    batch_id = site.submit(prompts("five times"))
    dealt, order = 0, random.Random(7)
    while site.recorded(batch_id) < ITEMS:
        ids = [shard["_id"] for shard in site.shards(batch_id)] * 5
        order.shuffle(ids)
        site.queue.publish_shards("sim", ids)
        site.queue.publish_plan(batch_id)
        dealt += len(ids)
        enough = min(site.recorded(batch_id) + 40, ITEMS)
        eventually(lambda enough=enough: site.recorded(batch_id) >= enough, 10.0)  # type: ignore[misc]
    batch = site.ended(batch_id)
    assert dealt >= 5 * len(site.shards(batch_id))
    assert_whole(site, batch)
    assert_no_excess(site, batch, before)


def test_a_broker_that_is_killed_in_mid_run_costs_no_item_and_no_call(
    site: Site, crew: Crew, rabbit: Rabbit
) -> None:
    # given workers in the middle of a batch
    workers, before = crew.fill(), site.called()
    batch_id = site.submit(prompts("broker killed"))
    eventually(lambda: site.recorded(batch_id) >= 60, 20.0)
    # when the broker dies, they finish what they hold, and nobody can tell them more
    rabbit.kill()
    eventually(lambda: not [doc for doc in site.shards(batch_id) if doc["status"] == "leased"], 10.0)
    assert site.recorded(batch_id) < ITEMS, "the batch was too short for this test"
    with pytest.raises(StoreUnavailable):
        site.queue.publish_plan(batch_id)
    # then they come back by themselves as soon as it is back
    rabbit.start()
    took_s = crew.until_consuming(RECOVERY_S)
    show("RabbitMQ killed", seconds_until_consuming_again=took_s)
    batch = site.ended(batch_id)
    assert_whole(site, batch)
    assert_no_excess(site, batch, before)
    assert all(worker.alive for worker in workers)


def test_queues_that_lose_their_messages_or_are_deleted_are_filled_again(
    site: Site, crew: Crew, rabbit: Rabbit
) -> None:
    before = site.called()
    batch_id = site.submit(prompts("queues gone"))
    # given messages that somebody else has taken for good
    with rabbit.client() as connection:
        stolen: list[Any] = []
        channel: Any = connection.default_channel
        channel.basic_consume(SIM, no_ack=True, callback=stolen.append)
        while len(stolen) < 3:
            connection.drain_events(timeout=10.0)
    # and then no queue at all
    with rabbit.client() as connection:
        for name in ("plan", SIM):
            connection.default_channel.queue_delete(name)
    took_s = crew.until_consuming(RECOVERY_S)
    show("queues of RabbitMQ deleted", seconds_until_consuming_again=took_s)
    batch = site.ended(batch_id)
    assert_whole(site, batch)
    assert_no_excess(site, batch, before)


@pytest.mark.usefixtures("crew")
def test_a_broker_that_answers_nobody_is_given_up_in_seconds(site: Site, rabbit: Rabbit) -> None:
    nobodys = new_batch_id(1)
    site.queue.publish_plan(nobodys)
    rabbit.pause()
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            site.queue.publish_plan(nobodys)
        took_s = time.monotonic() - began
    finally:
        rabbit.resume()
    show("RabbitMQ silent", seconds_until_given_up=took_s)
    assert took_s < 10.0
    site.queue.publish_plan(nobodys)


def test_forged_and_poisoned_messages_end_among_the_dead_letters_and_the_workers_live(
    site: Site, crew: Crew, rabbit: Rabbit
) -> None:
    before, dead = site.called(), rabbit.depth(DEAD)
    task = {"lang": "py", "id": "forged", "task": "os.system", "argsrepr": "()", "kwargsrepr": "{}"}
    with rabbit.client() as connection:
        producer: Any = Producer(connection.default_channel, auto_declare=False)
        for name in ("plan", SIM):
            producer.publish([["true"], {}, {}], routing_key=name, serializer="json", headers=task)
            producer.publish({"no": "task"}, routing_key=name, serializer="json")
            producer.publish(
                PICKLED, name, content_type="application/x-python-serialize", content_encoding="binary"
            )
            producer.publish(b"{", name, content_type="application/json", content_encoding="utf-8")
    eventually(lambda: rabbit.depth(DEAD) - dead == 8, 10.0, what=lambda: rabbit.depth(DEAD) - dead)
    batch = site.ended(site.submit(prompts("after the forged ones")))
    assert_whole(site, batch)
    assert_no_excess(site, batch, before)
    assert all(worker.alive for worker in crew.hired)


@pytest.mark.usefixtures("crew")
def test_a_message_that_comes_back_too_often_ends_among_the_dead_letters(rabbit: Rabbit) -> None:
    with rabbit.client() as connection:
        channel: Any = connection.default_channel
        channel.queue_purge(DEAD)
        rabbitmq_queue("batch.probe").bind(channel).declare()
        Producer(channel, auto_declare=False).publish({}, routing_key="batch.probe", serializer="json")
        for _ in range(DELIVERY_LIMIT + 1):
            message = eventually(lambda: channel.basic_get("batch.probe"), 5.0)
            channel.basic_reject(message.delivery_tag, requeue=True)
        assert not channel.basic_get("batch.probe")
    eventually(lambda: rabbit.depth(DEAD) == 1, 5.0)


@pytest.mark.usefixtures("crew")
def test_doctor_tells_a_broker_that_is_well_from_one_with_a_queue_of_another_kind(rabbit: Rabbit) -> None:
    well = check_broker(rabbit.url, ["sim", "nobody"])
    assert [(each.name, each.state) for each in well] == [("broker", "ok"), ("broker queues", "ok")]
    assert well[0].text.startswith("RabbitMQ 3") and set(well[1].data["depths"]) == {"plan", SIM}
    with rabbit.client() as connection:
        connection.default_channel.queue_declare("batch.classic", durable=True, auto_delete=False)
    (_, wrong) = check_broker(rabbit.url, ["classic"])
    assert wrong.state == "problem" and "delete_queue batch.classic" in wrong.fix
    (refused,) = check_broker(rabbit.url.replace(":guest@", ":wrong@"), ["sim"])
    assert "refuses" in refused.text and "wrong" not in str(refused)


def test_a_killed_workers_shard_is_taken_over(site: Site, crew: Crew) -> None:
    first, before = crew.fill()[0], site.called()
    batch_id = site.submit(prompts("worker killed"))
    eventually(lambda: site.recorded(batch_id) >= 60, 20.0)
    first.kill()
    recorded, answered = site.recorded(batch_id), site.called() - before
    batch = site.ended(batch_id)
    assert_whole(site, batch)
    excess = site.called() - before - ITEMS
    # What it had under way, and what had been answered but not recorded, of both workers at most.
    assert 0 <= excess <= batch["counts"]["possibly_repeated"]
    assert excess <= CALL_SLOTS + max(0, answered - recorded)


def test_a_queue_that_a_killed_node_left_without_a_leader_is_made_anew(rabbit: Rabbit) -> None:
    """A queue that is new when its node is killed may come back deaf; a publisher heals it."""
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_settings(rabbit.url, ()))
    publisher = RabbitPublisher(app, silent_queue_s=0.0)
    message = app.amqp.as_task_v2("1", "shard.young", args=("s1",), ignore_result=True)
    publisher.send("batch.young", [message])
    rabbit.kill()
    rabbit.start()

    def sent() -> bool:
        try:
            publisher.send("batch.young", [message])
        except TimeoutError:
            return False
        return True

    eventually(sent, 30.0)
    app.close()
