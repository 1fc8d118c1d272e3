"""A broker that is not the control Redis: does it answer, in which version, and are its queues of our kind?

RabbitMQ tells no client the type of a queue, but refuses to have an existing one declared in another way; a queue that
is not there is not made by looking. Source: https://www.rabbitmq.com/docs/queues#property-equivalence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, NotFound, PreconditionFailed
from kombu import Connection
from kombu.exceptions import KombuError

from app.doctor.findings import Finding
from app.doctor.measures import address
from app.doctor.redis_check import Role, check_redis
from workers.celery_config import (
    PLAN_QUEUE,
    SCHEDULES_QUEUE,
    batch_queue,
    celery_settings,
    is_rabbitmq,
    rabbitmq_queue,
)

NAME, SETTING = "broker", "BATCHWRIGHT_BROKER_URL"
_PATIENCE_S = 2.0
# The oldest that the suite has run on.
OLDEST_RABBITMQ = (3, 10)
_ON_REDIS = Role(NAME, SETTING, ("noeviction",), "problem", "when it is full, it forgets messages")


def check_broker(url: str, providers: Iterable[str]) -> Sequence[Finding]:
    """Ask it. On RabbitMQ it needs the rights that a worker has.

    Args:
        url: the broker that was named.
        providers: names of those whose queues are looked at.
    """
    if not is_rabbitmq(url):
        return check_redis(_ON_REDIS, url)
    try:
        where = address(url)
        with _connection(url) as connection:
            told: Any = connection.connection
            told.connect()
            names = (
                PLAN_QUEUE,
                SCHEDULES_QUEUE,
                *(batch_queue(provider) for provider in sorted(set(providers))),
            )
            return [_answers(where, told.server_properties), _queues(connection, names)]
    except (AccessRefused, NotAllowed):
        text = f"{where} refuses the name, the password or the virtual host"
        return [Finding(NAME, "problem", text, f"correct {SETTING}")]
    except ValueError:
        return [Finding(NAME, "problem", "its address cannot be understood", f"correct {SETTING}")]
    except (AMQPError, KombuError, OSError) as error:
        text = f"{where} does not answer ({type(error).__name__})"
        return [Finding(NAME, "problem", text, f"start it, or correct {SETTING}")]


def _answers(where: str, told: dict[str, Any]) -> Finding:
    product, version = str(told.get("product", "AMQP")), str(told.get("version", "0.0"))
    data = {"address": where, "product": product, "version": version}
    text = f"{product} {version} answers"
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if numbers < OLDEST_RABBITMQ:
        oldest = ".".join(map(str, OLDEST_RABBITMQ))
        return Finding(NAME, "problem", f"{text}; it is too old", f"run version {oldest} or newer", data)
    return Finding(NAME, "ok", text, data=data)


def _queues(connection: Connection, names: Sequence[str]) -> Finding:
    name = f"{NAME} queues"
    depths: dict[str, int] = {}
    for queue in names:
        channel: Any = connection.channel()
        try:
            depths[queue] = int(channel.queue_declare(queue, passive=True).message_count)
            rabbitmq_queue(queue).bind(channel).queue_declare()
            channel.close()
        except NotFound:
            continue  # who first publishes to it, or consumes from it, makes it
        except PreconditionFailed:
            fix = f"delete it (rabbitmqctl delete_queue {queue}); it is made anew, and no item is lost"
            text = f"{queue} is no quorum queue as workers declare it, so they cannot use it"
            return Finding(name, "problem", text, fix, {"depths": depths})
    text = f"{len(depths)} of {len(names)} exist, {sum(depths.values()):,} messages wait"
    return Finding(name, "ok", text, data={"depths": depths})


def _connection(url: str) -> Connection:
    settings = celery_settings(url, ())
    return Connection(
        url,
        connect_timeout=_PATIENCE_S,
        ssl=settings.get("broker_use_ssl", False),
        transport_options={"read_timeout": _PATIENCE_S, "write_timeout": _PATIENCE_S},
    )
