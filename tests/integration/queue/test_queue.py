"""Publishing against a real broker: what is sent arrives, also after the broker has lost all it knew.

One suite for both brokers. RabbitMQ takes seconds to start, so its half runs with the chaos suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import Celery

from tests.integration.queue.brokers import Broker, OnRabbit, OnRedis
from tests.support.apart import apart
from tests.support.eventually import eventually
from tests.support.rabbit import Rabbit, rabbit
from tests.support.servers import TestServers
from workers.celery_config import batch_queue, celery_settings
from workers.core.errors import StoreUnavailable
from workers.queue import Queue

pytestmark = pytest.mark.integration
__all__ = ["rabbit"]
PROVIDERS = ("acme", *(f"p{n}" for n in range(8)), "nobody")
NAMES = ("plan", "schedules", *map(batch_queue, PROVIDERS))
NOBODY_LISTENS = ("redis://127.0.0.1:1/0", "amqp://guest:secret@127.0.0.1:1//")


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=pytest.mark.chaos)])
def broker(request: pytest.FixtureRequest, servers: TestServers) -> Broker:
    made: Broker = OnRedis(apart(servers, "queue").redis_url)
    if request.param == "rabbitmq":
        made = OnRabbit(request.getfixturevalue("rabbit"), NAMES)
    made.clear()
    return made


@pytest.fixture
def queue(broker: Broker) -> Iterator[Queue]:
    made = Queue(broker.url)
    yield made
    made.close()


def test_a_plan_message_names_its_batch_and_nothing_else(broker: Broker, queue: Queue) -> None:
    queue.publish_plan("batch_1")
    ((headers, info, args, kwargs),) = broker.take("plan")
    assert (headers["task"], headers["lang"]) == ("plan.batch", "py")
    assert info == {"exchange": "", "routing_key": "plan"}
    assert (args, kwargs) == (["batch_1"], {})


def test_a_tick_is_asked_for_once_however_long_nobody_takes_it(broker: Broker, queue: Queue) -> None:
    for _ in range(3):
        queue.publish_tick()
    ((headers, info, args, kwargs),) = broker.take("schedules")
    assert (headers["task"], info["routing_key"], args, kwargs) == ("chore.tick", "schedules", ["tick"], {})
    queue.publish_tick()
    assert queue.depth("schedules") == 1
    broker.take("schedules")


def test_after_a_broker_has_forgotten_all_messages_still_arrive(broker: Broker, queue: Queue) -> None:
    queue.publish_plan("batch_1")
    broker.clear()
    queue.publish_plan("batch_2")
    queue.publish_shards("acme", ["s1", "s2"])
    assert (queue.depth("plan"), queue.depth(batch_queue("acme"))) == (1, 2)
    assert [args for _, _, args, _ in broker.take("plan")] == [["batch_2"]]
    broker.take(batch_queue("acme"))
    assert isinstance(broker, OnRabbit) or broker.is_untouched(), "nothing but the queues was written"


def test_a_thousand_shards_go_out_in_order_and_from_many_threads(broker: Broker, queue: Queue) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: queue.publish_shards(f"p{n}", [f"s{i}" for i in range(600)]), range(8)))
    assert [queue.depth(batch_queue(f"p{n}")) for n in range(8)] == [600] * 8
    assert [args for _, _, args, _ in broker.take(batch_queue("p3"))] == [[f"s{i}"] for i in range(600)]


def test_a_connection_that_broke_while_idle_does_no_harm(broker: Broker, queue: Queue) -> None:
    queue.publish_plan("batch_1")
    broker.break_connections()
    queue.publish_plan("batch_2")
    # A quorum queue that was stopped counts what it has once it has read its log again.
    eventually(lambda: queue.depth("plan") == 2, 5.0)


def test_a_queue_that_is_not_there_has_no_messages(broker: Broker, queue: Queue) -> None:
    assert [queue.depth(batch_queue("nobody")) for _ in range(3)] == [0] * 3
    queue.publish_shards("nobody", [])
    assert broker.is_untouched()


@pytest.mark.chaos
def test_a_queue_of_another_kind_is_said_so_and_not_taken_for_an_empty_one(rabbit: Rabbit) -> None:
    queue = Queue(rabbit.url)
    with rabbit.client() as connection:
        connection.default_channel.queue_delete("plan")
        connection.default_channel.queue_declare("plan", durable=True, auto_delete=False)
        with pytest.raises(StoreUnavailable, match="x-dead-letter-exchange"):
            queue.publish_plan("batch_1")
        connection.default_channel.queue_delete("plan")
        connection.default_channel.queue_declare("plan", exclusive=True)
        with pytest.raises(StoreUnavailable, match="RESOURCE_LOCKED"):
            queue.depth("plan")
        connection.default_channel.queue_delete("plan")
    queue.close()


@pytest.mark.parametrize("url", NOBODY_LISTENS)
def test_a_broker_that_is_away_is_said_so_without_its_password(url: str) -> None:
    away = Queue(url)
    for ask in (lambda: away.publish_plan("batch_1"), lambda: away.depth("plan")):
        with pytest.raises(StoreUnavailable, match="broker") as raised:
            ask()
        assert "secret" not in str(raised.value) + repr(away)


@pytest.mark.parametrize("url", ["memory://", "amqp://nobody"])
def test_every_declared_queue_hangs_on_the_default_exchange(url: str) -> None:
    """A named one forgets its bindings with Redis, and then drops every message in silence."""
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_settings(url, ["acme", "other"]))
    queues = app.amqp.queues
    assert sorted(queues) == ["batch.acme", "batch.other", "plan", "schedules"]
    assert {(queue.exchange.name, queue.routing_key) for queue in queues.values()} == {
        ("", name) for name in ("batch.acme", "batch.other", "plan", "schedules")
    }
