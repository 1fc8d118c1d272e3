"""Celery's settings as data, and the names of queues and tasks. Pure: no app, no connection.

celery_app.py builds the workers' app on it, queue.py the publisher's, so both sides always agree.
Every value was read and measured in Celery 5.7; those whose reason is not plain say it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kombu import Exchange, Queue

PLAN_QUEUE = "plan"
PLAN_TASK = "plan.batch"
_DIRECT = "direct"
# The broker's own default exchange: it needs no binding, so it delivers also after a Redis lost all it knew.
DEFAULT_EXCHANGE = ""


def batch_queue(provider: str) -> str:
    """The queue of a provider's shards."""
    return f"batch.{provider}"


def shard_task(provider: str) -> str:
    """The task name under which Flower shows a provider's shards."""
    return f"shard.{provider}"


def transport_options() -> dict[str, Any]:
    """How the broker's connections behave: a dead peer is noticed in seconds."""
    return {
        "visibility_timeout": 600,
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }


def celery_settings(broker_url: str, providers: Iterable[str]) -> dict[str, Any]:
    """What `app.conf.update` takes: queue `plan` and one queue for each provider's shards."""
    names = [PLAN_QUEUE, *(batch_queue(provider) for provider in sorted(set(providers)))]
    return {
        "broker_url": broker_url,
        "broker_transport_options": transport_options(),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_pool_acquire_timeout": 10,
        # Messages are hints: a lost or doubled one does no harm, and late acknowledgement loses some as well.
        "task_acks_late": False,
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        "worker_eta_task_limit": 100,
        "task_ignore_result": True,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "event_serializer": "json",
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "enable_utc": True,
        "timezone": "UTC",
        "task_queues": [_queue(name) for name in names],
        "task_create_missing_queues": False,
        "task_default_queue": PLAN_QUEUE,
        "task_default_routing_key": PLAN_QUEUE,
        # Celery puts its own default exchange in place of an explicit '' on every queue, and without this
        # one it would be a named exchange, which forgets its bindings with Redis and drops in silence.
        "task_default_exchange": DEFAULT_EXCHANGE,
        "task_default_exchange_type": _DIRECT,
    }


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(DEFAULT_EXCHANGE, type=_DIRECT), routing_key=name)
