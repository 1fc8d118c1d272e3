"""What reaches Celery from a real Redis: kombu's connection does not fall over what is no message."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from kombu import Connection
from kombu import Consumer as KombuConsumer
from kombu import Queue as KombuQueue

from tests.support.apart import apart
from tests.support.forged import forgeries
from tests.support.servers import TestServers
from workers.celery_config import PLAN_QUEUE
from workers.core.identity import new_batch_id
from workers.core.inbound import Refusal, of_envelope
from workers.inbound import Consumer, Transport
from workers.queue import Queue
from workers.vitals import INTAKE

pytestmark = pytest.mark.integration


@pytest.fixture
def broker_url(servers: TestServers) -> str:
    return apart(servers, "inbound").redis_url


@pytest.fixture
def broker(broker_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(broker_url) as client:
        client.flushdb()
        yield client


@pytest.fixture(autouse=True)
def intake() -> Iterator[None]:
    """The counts of this process, as they were."""
    before = Counter(INTAKE.refused)
    INTAKE.refused.clear()
    yield
    INTAKE.refused.clear()
    INTAKE.refused.update(before)
    INTAKE.cancelled.clear()


def test_bytes_that_are_no_message_are_passed_over_and_the_next_message_arrives(
    broker: redis.Redis, broker_url: str
) -> None:
    queue = Queue(broker_url)
    queue.publish_plan(new_batch_id(0))
    sound: Any = broker.lpop(PLAN_QUEUE)
    no_messages = [raw for _, _, raw in forgeries(sound) if of_envelope(raw)]
    broker.lpush(PLAN_QUEUE, *no_messages)
    queue.publish_plan(new_batch_id(1))
    queue.close()
    seen_before = INTAKE.seen
    heard: list[Any] = []
    with (
        Connection(broker_url, transport=Transport) as connection,
        KombuConsumer(
            connection, [KombuQueue(PLAN_QUEUE)], on_message=heard.append, accept=["json"], no_ack=True
        ),
    ):
        until = time.monotonic() + 10
        while not heard and time.monotonic() < until:
            connection.drain_events(timeout=5)
    assert [message.headers["task"] for message in heard] == ["plan.batch"]
    assert Counter(INTAKE.refused) == Counter(str(of_envelope(raw)) for raw in no_messages)
    assert INTAKE.seen - seen_before == len(no_messages), (
        "the watchdog would take a process that drops them for deaf"
    )
    assert set(INTAKE.refused) >= {Refusal.MALFORMED, Refusal.TOO_LARGE, Refusal.DECODE_ERROR}


def test_a_queue_whose_consumer_an_operator_cancels_is_no_longer_watched() -> None:
    consumer: Any = object.__new__(Consumer)
    consumer.app, consumer.task_consumer = Mock(), Mock()
    consumer.app.amqp.queues = Mock(aliases={}, __contains__=lambda *_: True, __getitem__=Mock())
    consumer.cancel_task_queue("batch.acme")
    assert INTAKE.cancelled == {"batch.acme"}
