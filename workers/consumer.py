"""A worker's end of the broker: Celery's consumer, with three things of it changed.

inbound.py builds on it, and is what Celery loads. Read in Celery 5.7, for either broker:

- a broker that went away is asked again every second; Celery would wait longer each time, up to 30 s;
- RabbitMQ hands a process one message of each queue beyond those that run, where Celery would ask for as many as there
  are slots, and others would sit idle beside a process that keeps them;
- no `DelayedDelivery`: for ETAs, which we do not use, it would declare 28 quorum queues at every connect.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

from workers.celery_config import dead_letters, is_rabbitmq

ASK_AGAIN_S = 1.0
_PREFETCH = 1
_CeleryBlueprint: Any = CeleryConsumer.Blueprint


class Consumer(CeleryConsumer):
    """Celery's consumer, quick to come back and modest in what it takes."""

    class Blueprint(_CeleryBlueprint):  # type: ignore[misc]
        """Celery's steps without one."""

        default_steps = tuple(
            step for step in _CeleryBlueprint.default_steps if not step.endswith(":DelayedDelivery")
        )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rabbitmq = is_rabbitmq(str(self.app.conf.broker_url))
        if self._rabbitmq:
            self.initial_prefetch_count = _PREFETCH

    def connect(self) -> Any:
        """Connect, however long it takes; then say where dead letters go, before any can arise."""
        connection = super().connect()
        if self._rabbitmq:
            with connection.channel() as channel:
                dead_letters().bind(channel).declare()
        return connection

    def ensure_connected(self, conn: Any) -> Any:
        """Ask until it is there."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=ASK_AGAIN_S, interval_step=0.0, interval_max=ASK_AGAIN_S
        )
        return super().ensure_connected(conn)
