"""Publish to RabbitMQ, so that nothing is taken for sent that the broker does not have.

queue.py uses it for amqp URLs. The default exchange drops what is meant for a queue that does not exist, in silence:
so every publisher declares its queue first, asks for what cannot be delivered (`mandatory`), and waits until the
broker has confirmed each message, which a quorum queue does once a majority of its nodes has it on disk.

A node that is killed within a second of making a queue can come back with a queue that elects no leader: it takes
nothing and says nothing, for ever. Messages here are hints, so such a queue is deleted and made anew.
Source: https://www.rabbitmq.com/docs/confirms, https://www.rabbitmq.com/docs/quorum-queues.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from amqp.exceptions import AMQPError, ChannelError, NotFound
from celery import Celery
from kombu import Producer
from kombu.exceptions import KombuError

from workers.celery_config import DEFAULT_EXCHANGE, rabbitmq_queue
from workers.core.errors import StoreUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S = 5.0
# Longer than any election of a leader among nodes that live.
SILENT_QUEUE_S = 30.0
_POOL_WAIT_S = 10
# Nobody sends heartbeats for a connection that waits in a pool, so the broker must not expect any.
PUBLISHER_SETTINGS = {"broker_heartbeat": 0, "broker_connection_timeout": 3}
PUBLISHER_OPTIONS = {"read_timeout": PATIENCE_S, "write_timeout": PATIENCE_S}


class RabbitPublisher:
    """Publishes and counts by the pooled connections of an app, from any thread.

    Raises, from each method: what amqp and kombu raise for a broker that is away, and OSError; or StoreUnavailable.
    """

    def __init__(self, app: Celery, *, silent_queue_s: float = SILENT_QUEUE_S) -> None:
        self._app = app
        self._silent_queue_s = silent_queue_s
        self._silent_since: dict[str, float] = {}

    def send(self, queue_name: str, messages: Sequence[Any]) -> None:
        """Declare the queue, send, and return once the broker has all of them. Half may have been sent if it raises."""
        try:
            self._on_channel(lambda channel: _send(channel, queue_name, messages))
        except TimeoutError:
            self._heard_nothing(queue_name)
            raise
        self._silent_since.pop(queue_name, None)

    def depth(self, queue_name: str) -> int:
        """Messages that nobody has taken yet; 0 for a queue that is not there."""
        try:
            return self._on_channel(
                lambda channel: int(channel.queue_declare(queue_name, passive=True).message_count)
            )
        except NotFound:
            return 0

    def _on_channel(self, work: Callable[[Any], T]) -> T:
        pool: Any = self._app.pool  # its published type is another one's
        with pool.acquire(block=True, timeout=_POOL_WAIT_S) as connection:
            pooled = bool(connection.connected)
            try:
                return _attempt(connection, work)
            except (ChannelError, TimeoutError):
                raise  # the broker has spoken, or does not: asking again would only take as long again
            except (AMQPError, OSError):
                if not pooled:
                    raise
            # It broke while it waited in the pool, as after a restart of the broker.
            return _attempt(connection, work)

    def _heard_nothing(self, queue_name: str) -> None:
        since = self._silent_since.setdefault(queue_name, time.monotonic())
        silent_s = time.monotonic() - since
        if silent_s < self._silent_queue_s:
            return
        try:
            self._on_channel(lambda channel: channel.queue_delete(queue_name))
        except (AMQPError, KombuError, OSError) as error:
            # A broker that does not answer at all; one that takes its time over the deletion does it all the same.
            log.warning("queue %s is silent: %s", queue_name, type(error).__name__)
            return
        self._silent_since.pop(queue_name, None)
        log.warning("queue %s took nothing for %.0f s; deleted, to be made anew", queue_name, silent_s)


def _attempt(connection: Any, work: Callable[[Any], T]) -> T:
    """Do it on a channel of its own: an error of the broker closes the channel it is about."""
    connection.ensure_connection(max_retries=1, interval_start=0.1, interval_max=0.1, timeout=PATIENCE_S)
    try:
        channel = connection.channel()
        done = work(channel)
        channel.close()
    except ChannelError:
        raise  # closed already, and the connection is well
    except BaseException:
        connection.collect()  # half-read answers must not meet the next user
        raise
    return done


def _send(channel: Any, queue_name: str, messages: Sequence[Any]) -> None:
    rabbitmq_queue(queue_name).bind(channel).queue_declare()
    channel.confirm_select()
    confirms = _Confirms(channel, len(messages))
    producer: Any = Producer(channel, auto_declare=False)
    for message in messages:
        producer.publish(
            message.body,
            exchange=DEFAULT_EXCHANGE,
            routing_key=queue_name,
            serializer="json",
            headers=message.headers,
            mandatory=True,
            **message.properties,
        )
    confirms.wait(channel.connection, queue_name)


class _Confirms:
    """What the broker says of the messages of one channel, numbered from 1."""

    def __init__(self, channel: Any, count: int) -> None:
        self._open = set(range(1, count + 1))
        self._lost = 0
        channel.events["basic_ack"].add(self._taken)
        channel.events["basic_nack"].add(self._refused)
        channel.events["basic_return"].add(self._returned)

    def wait(self, connection: Any, queue_name: str) -> None:
        """Raises StoreUnavailable if one was refused or returned, TimeoutError if the broker keeps silent."""
        until = time.monotonic() + PATIENCE_S
        while self._open:
            connection.drain_events(timeout=max(0.001, until - time.monotonic()))
        if self._lost:
            raise StoreUnavailable(f"the broker did not take {self._lost} messages for {queue_name}")

    def _taken(self, tag: int, multiple: bool) -> None:
        self._open -= set(range(1, tag + 1)) if multiple else {tag}

    def _refused(self, tag: int, multiple: bool) -> None:
        before = len(self._open)
        self._taken(tag, multiple)
        self._lost += before - len(self._open)

    def _returned(self, *_: Any) -> None:
        self._lost += 1  # its queue was deleted in this moment; the broker confirms it all the same
