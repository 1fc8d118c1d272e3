"""Publish hints for workers: `plan.batch`, `shard.<provider>`, `chore.tick`, ids only, by the default exchange.

The API, the dispatcher, the sweeper and beat call it. MongoDB holds the truth, so a message may be lost or doubled:
the sweeper publishes again, and a claim refuses what is done. rabbitmq.py has what differs for that broker.

Messages are built with Celery's protocol 2 and sent by kombu's producer. `app.send_task(exchange='',
routing_key='x')` does not do it: it takes the empty exchange for a missing one and uses the default queue.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from kombu.exceptions import ChannelError, KombuError
from redis.exceptions import RedisError

from workers.celery_config import (
    DEFAULT_EXCHANGE,
    PLAN_QUEUE,
    PLAN_TASK,
    SCHEDULES_QUEUE,
    TICK_TASK,
    batch_queue,
    celery_settings,
    is_rabbitmq,
    shard_task,
)
from workers.core.errors import StoreUnavailable
from workers.rabbitmq import PATIENCE_S, PUBLISHER_OPTIONS, PUBLISHER_SETTINGS, RabbitPublisher

# A stopped broker shows as any of these, by where in kombu it is met; a pool without a free connection is a KombuError.
_BROKER_DOWN = (KombuError, AMQPError, RedisError, OSError)
_PUBLISH_BATCH = 500
_POOL_WAIT_S = 10
# A publisher comes back by itself (the sweeper), so it does not wait as a consumer would: 0.2 s, not 6, for a broker
# that is away, and 5 s, not 15, for one that is silent; the dispatcher, the sweeper and a create wait with it.
_GIVE_UP_SOON = {
    "max_retries": 1,
    "interval_start": 0.1,
    "interval_step": 0.0,
    "interval_max": 0.1,
    "socket_timeout": PATIENCE_S,
}


class Queue:
    """One publisher for all threads of a process; connections are pooled."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("batchwright-publisher", set_as_current=False)
        self._app.conf.update(celery_settings(broker_url, ()))
        self._rabbit: RabbitPublisher | None = None
        if is_rabbitmq(broker_url):
            self._rabbit = RabbitPublisher(self._app)
            self._app.conf.update(PUBLISHER_SETTINGS)
        soon = PUBLISHER_OPTIONS if self._rabbit else _GIVE_UP_SOON
        self._app.conf.broker_transport_options = self._app.conf.broker_transport_options | soon

    def publish_plan(self, batch_id: str) -> None:
        """Ask a worker to plan this batch. Raises StoreUnavailable when the broker does not take it."""
        self._publish(PLAN_QUEUE, PLAN_TASK, [batch_id])

    def publish_shards(self, provider: str, shard_ids: Sequence[str]) -> None:
        """Hand dispatched shards to the provider's queue. Raises StoreUnavailable, after which any part of
        them may have been sent: they can all be sent again."""
        self._publish(batch_queue(provider), shard_task(provider), shard_ids)

    def publish_tick(self) -> None:
        """Have a worker look at what is due, unless that is asked already. Raises StoreUnavailable.

        While no worker lives there is one message, not one for every five seconds: neither broker could be told
        to forget them (Redis knows no age of a message, RabbitMQ would keep them among the dead).
        """
        if self.depth(SCHEDULES_QUEUE) == 0:
            self._publish(SCHEDULES_QUEUE, TICK_TASK, ["tick"])

    def depth(self, queue_name: str) -> int:
        """Messages that nobody has taken yet. Raises StoreUnavailable."""
        try:
            if self._rabbit:
                return self._rabbit.depth(queue_name)
            pool: Any = self._app.pool  # its published type is another one's
            with pool.acquire(block=True, timeout=_POOL_WAIT_S) as connection:
                found = connection.default_channel.queue_declare(queue=queue_name, passive=True)
                return int(found.message_count)
        except _BROKER_DOWN as error:
            if isinstance(error, ChannelError) and not self._rabbit:  # on Redis an empty queue does not exist
                return 0
            raise StoreUnavailable(f"the broker does not answer: {_words(error)}") from error

    def close(self) -> None:
        """Close the pooled connections."""
        self._app.close()

    def _publish(self, queue_name: str, task: str, ids: Sequence[str]) -> None:
        if not ids:
            return
        messages = [self._message(task, object_id) for object_id in ids]
        try:
            if self._rabbit:
                self._rabbit.send(queue_name, messages)
            else:
                self._send(queue_name, messages)
        except _BROKER_DOWN as error:
            # Named, since it may be this queue alone: a key of another kind under its name, for instance.
            raise StoreUnavailable(
                f"the broker does not take messages for {queue_name}: {_words(error)}"
            ) from error

    def _message(self, task: str, object_id: str) -> Any:
        return self._app.amqp.as_task_v2(str(uuid.uuid4()), task, args=(object_id,), ignore_result=True)

    def _send(self, queue_name: str, messages: Sequence[Any]) -> None:
        with self._app.producer_or_acquire() as producer, producer.batch(max_size=_PUBLISH_BATCH):
            for message in messages:
                producer.publish(
                    message.body,
                    exchange=DEFAULT_EXCHANGE,
                    routing_key=queue_name,
                    serializer="json",
                    headers=message.headers,
                    retry=False,
                    **message.properties,
                )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
