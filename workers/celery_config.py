"""Celery's settings as data, and the names of queues and tasks. Pure: no app, no connection.

celery_app.py builds the workers' app on it, queue.py the publisher's, so both sides always agree.
Every value was read and measured in Celery 5.7; those whose reason is not plain say it.

The broker is Redis or RabbitMQ, by the URL's scheme alone. What differs is in `_REDIS`, `_RABBITMQ` and the queues'
arguments here, in rabbitmq.py (publishing) and in consumer.py (a worker's end); docs/rabbitmq.md tells users.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from kombu import Exchange, Queue

from config.tree import Servers

PLAN_QUEUE = "plan"
PLAN_TASK = "plan.batch"
# What runs by the clock (chores.py, beat.py).
SCHEDULES_QUEUE = "schedules"
TICK_TASK = "chore.tick"
TICK_S = 5.0
# The first tick goes out at once.
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_DIRECT = "direct"
# The broker's own default exchange: it needs no binding, so it delivers also after a Redis lost all it knew.
DEFAULT_EXCHANGE = ""
_EXCHANGE = Exchange(DEFAULT_EXCHANGE, type=_DIRECT)


def batch_queue(provider: str) -> str:
    """The queue of a provider's shards."""
    return f"batch.{provider}"


def shard_task(provider: str) -> str:
    """The task name under which Flower shows a provider's shards."""
    return f"shard.{provider}"


def broker_url(servers: Servers) -> str:
    """Where messages go: the broker that was named, else the control Redis. It may hold a password."""
    url = servers.broker_url or str(servers.redis_url)
    if not url.startswith("unix://"):
        return url
    # kombu has other names than redis-py for a Unix socket and for the database behind it.
    address, _, query = url.removeprefix("unix://").partition("?")
    return f"redis+socket://{address}?virtual_host={dict(parse_qsl(query)).get('db', '0')}"


def is_rabbitmq(url: str) -> bool:
    """Whether a broker's URL speaks AMQP."""
    return url.startswith(("amqp://", "amqps://"))


# A dead peer is noticed in seconds.
_REDIS: dict[str, Any] = {
    "broker_transport_options": {
        "visibility_timeout": 600,
        # With 15 and 25 a broker that fell silent cost 65 s until a worker heard of anything again, now 16.
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
    # A process takes no message before it has a free slot; only kombu's Redis can do that.
    "worker_disable_prefetch": True,
}
_RABBITMQ: dict[str, Any] = {
    "broker_transport_options": {"read_timeout": 15, "write_timeout": 15},
    "broker_connection_timeout": 5,
    "broker_heartbeat": 10,
    "worker_disable_prefetch": False,
    # The queue of Flower's commands. Exclusive, as Celery has it, it would stay locked by a connection that broke
    # half-open until the broker notices, and the worker could not come back before; this one ends by itself.
    "control_queue_exclusive": False,
    "control_queue_durable": True,
}
DEAD = "batchwright.dead"
# Quorum queues only, since a broker's loss must cost no queue. A message comes back when the process that held it
# unstarted ends; that happens to an innocent one at each restart, so the limit is far from what accidents reach and
# only meets a message at which every worker dies on receipt. 20 is also what RabbitMQ 4 assumes where nothing is said.
DELIVERY_LIMIT = 20
_DEAD_MAX = 10_000
QUEUE_ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD,
}


def rabbitmq_queue(name: str) -> Queue:
    """A queue of hints as RabbitMQ has it; everybody declares it with the same arguments, or is refused."""
    return Queue(name, _EXCHANGE, routing_key=name, durable=True, queue_arguments=QUEUE_ARGUMENTS)


def dead_letters() -> Queue:
    """Where a message ends that no worker takes: refused, or come back too often. The oldest go first."""
    return Queue(
        DEAD,
        Exchange(DEAD, type="fanout", durable=True),
        durable=True,
        queue_arguments={"x-queue-type": "quorum", "x-max-length": _DEAD_MAX},
    )


def celery_settings(broker_url: str, providers: Iterable[str]) -> dict[str, Any]:
    """What `app.conf.update` takes: queues `plan` and `schedules`, one for each provider's shards, and beat's."""
    names = [PLAN_QUEUE, SCHEDULES_QUEUE, *(batch_queue(provider) for provider in sorted(set(providers)))]
    rabbitmq = is_rabbitmq(broker_url)
    return {
        **(_RABBITMQ if rabbitmq else _REDIS),
        "broker_url": broker_url,
        **_tls(broker_url),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_pool_acquire_timeout": 10,
        # Messages are hints: a lost or doubled one does no harm, and late acknowledgement loses some as well.
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        # It is meant for late acknowledgement, and would undo what consumer.py sets.
        "worker_enable_prefetch_count_reduction": False,
        "worker_eta_task_limit": 100,
        # Flower's Rate Limit would keep messages in a worker's memory, which nobody but the dispatcher may; a free
        # process that takes none of those that wait looks dead (watchdog.py).
        "worker_disable_rate_limits": True,
        "task_ignore_result": True,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "event_serializer": "json",
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "enable_utc": True,
        "timezone": "UTC",
        "task_queues": [rabbitmq_queue(name) if rabbitmq else _redis_queue(name) for name in names],
        "task_create_missing_queues": False,
        "task_default_queue": PLAN_QUEUE,
        "task_default_routing_key": PLAN_QUEUE,
        # Celery puts its own default exchange in place of an explicit '' on every queue, and without this
        # one it would be a named exchange, which forgets its bindings with Redis and drops in silence.
        "task_default_exchange": DEFAULT_EXCHANGE,
        "task_default_exchange_type": _DIRECT,
        # In memory: what is due when stands in MongoDB, so that beat has nothing to lose.
        "beat_scheduler": "workers.beat:Scheduler",
        "beat_schedule": {"tick": {"task": TICK_TASK, "schedule": TICK_S, "last_run_at": _LONG_AGO}},
        "beat_max_loop_interval": TICK_S,
    }


def _tls(url: str) -> dict[str, Any]:
    if url.startswith("amqps://"):
        # Without a server's name the certificate of any other server would do; kombu puts the URL's host here.
        return {"broker_use_ssl": {"server_hostname": None}}
    if url.startswith("rediss://"):
        # Told nothing, kombu takes any certificate. What the URL says (`?ssl_ca_certs=...`) comes before this.
        return {"broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED}}
    return {}


def _redis_queue(name: str) -> Queue:
    return Queue(name, _EXCHANGE, routing_key=name)
