"""Publishing against a real Redis: what is sent arrives, also after Redis has lost all it knew."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from celery import Celery

from tests.support.apart import apart
from tests.support.servers import TestServers
from workers.celery_config import batch_queue, celery_settings
from workers.core.errors import StoreUnavailable
from workers.queue import Queue

pytestmark = pytest.mark.integration
Broker = redis.Redis


@pytest.fixture
def broker_url(servers: TestServers) -> str:
    return apart(servers, "queue").redis_url


@pytest.fixture
def broker(broker_url: str) -> Iterator[Broker]:
    with redis.Redis.from_url(broker_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def queue(broker_url: str) -> Iterator[Queue]:
    made = Queue(broker_url)
    yield made
    made.close()


def test_a_plan_message_names_its_batch_and_nothing_else(broker: Broker, queue: Queue) -> None:
    queue.publish_plan("batch_1")
    raw: Any = broker.lpop("plan")
    message = json.loads(raw)
    assert (message["headers"]["task"], message["headers"]["lang"]) == ("plan.batch", "py")
    assert message["properties"]["delivery_info"] == {"exchange": "", "routing_key": "plan"}
    args, kwargs, _ = json.loads(b64decode(message["body"]))
    assert (args, kwargs) == (["batch_1"], {})


def test_after_a_flush_messages_still_arrive_and_nothing_else_is_written(
    broker: Broker, queue: Queue
) -> None:
    queue.publish_plan("batch_1")
    broker.flushdb()
    queue.publish_plan("batch_2")
    queue.publish_shards("acme", ["s1", "s2"])
    assert (queue.depth("plan"), queue.depth(batch_queue("acme"))) == (1, 2)
    keys: Any = broker.keys("*")
    assert sorted(keys) == [b"batch.acme", b"plan"]


def test_a_thousand_shards_go_out_in_order_and_from_many_threads(broker: Broker, queue: Queue) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: queue.publish_shards(f"p{n}", [f"s{i}" for i in range(600)]), range(8)))
    assert [queue.depth(batch_queue(f"p{n}")) for n in range(8)] == [600] * 8
    raw: Any = broker.lrange(batch_queue("p3"), 0, -1)
    bodies = [json.loads(b64decode(json.loads(each)["body"]))[0] for each in reversed(raw)]
    assert bodies == [[f"s{i}"] for i in range(600)]


def test_a_connection_that_broke_while_idle_does_no_harm(broker: Broker, queue: Queue) -> None:
    queue.publish_plan("batch_1")
    for client in broker.client_list():
        if (
            client["db"] == str(broker.connection_pool.connection_kwargs["db"])
            and client["cmd"] != "client|list"
        ):
            broker.client_kill(client["addr"])
    queue.publish_plan("batch_2")
    assert queue.depth("plan") == 2


def test_an_empty_queue_has_no_messages(broker: Broker, queue: Queue) -> None:
    assert queue.depth("batch.nobody") == 0
    queue.publish_shards("nobody", [])
    assert broker.dbsize() == 0


def test_a_broker_that_is_away_is_said_so() -> None:
    with pytest.raises(StoreUnavailable, match="broker"):
        Queue("redis://127.0.0.1:1/0").publish_plan("batch_1")


def test_every_declared_queue_hangs_on_the_default_exchange() -> None:
    """A named one forgets its bindings with Redis, and then drops every message in silence."""
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_settings("memory://", ["acme", "other"]))
    queues = app.amqp.queues
    assert sorted(queues) == ["batch.acme", "batch.other", "plan"]
    assert {(queue.exchange.name, queue.routing_key) for queue in queues.values()} == {
        ("", name) for name in ("batch.acme", "batch.other", "plan")
    }
