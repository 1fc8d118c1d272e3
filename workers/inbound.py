"""Between the broker and Celery: refuse what is no message of ours, and let an operator end what a thread runs.

celery_app.py puts these classes in the places that Celery and kombu keep for others. A refused message is dropped,
counted by its reason (vitals.py) and logged in one line without its content, which anybody may have written.

    GuardedClient, -Channel   Redis gives whatever lies in the list: kombu would fall over what is no message of its
    Consumer                  every message of every broker, before Celery looks at it
    Request                   Flower's Terminate, and what follows a second Ctrl-C
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import Any

from celery.worker import request as celery_request
from kombu import compression
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis import Redis

from workers.consumer import Consumer as QuickConsumer
from workers.core.inbound import SHARD_ID, Refusal, of_body, of_envelope, of_headers
from workers.runtime import runtime
from workers.vitals import INTAKE

log = logging.getLogger(__name__)

# An operator may name many tasks in one of them.
MAX_BROADCAST_BYTES = 1024 * 1024
# How long a task waits for its shard to be given back before it starts after all; a lost write is no loss.
GIVE_BACK_S = 5.0


def guard_broker() -> None:
    """Have this process's connections to the broker guarded. Before the first of them is made."""
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
    for content_type in compression.encoders():
        # kombu unpacks a body of any size as soon as a header says so, before anybody can look at it.
        compression.register(_pack_nothing, _pack_nothing, content_type)


def refuse(reason: Refusal, queue: object) -> None:
    """Count and log that a message of this queue was dropped."""
    INTAKE.refuse(reason)
    log.warning("a message in %s was refused: %s", str(queue)[:100], reason)


def _pack_nothing(_: bytes) -> bytes:
    raise ValueError("messages are neither packed nor unpacked here")


# --- Redis, where a queue is a list that takes anything


class GuardedClient(Redis):
    """Tells kombu that nothing came where what came is no message."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """The answer to a command; None for a BRPOP that brought something else than a message."""
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name == "BRPOP" and answer:
            queue, raw = answer
            if reason := of_envelope(raw if isinstance(raw, bytes) else str(raw).encode()):
                INTAKE.seen += 1  # the consumer below never hears of it
                refuse(reason, queue.decode(errors="replace") if isinstance(queue, bytes) else queue)
                return None
        return answer


class _Guarded:
    """What both kinds of channel have in common; kombu asks for the class of its client, and delivers broadcasts."""

    def _get_client(self) -> Any:
        super()._get_client()  # type: ignore[misc]  # for its check of redis-py's version
        return GuardedClient

    def _handle_message(self, client: Any, r: Any) -> Any:
        """A broadcast as kombu's; without its data, which has kombu pass over it, where that is no message."""
        broadcast = super()._handle_message(client, r)  # type: ignore[misc]
        data = broadcast["data"]
        if isinstance(data, bytes) and (reason := of_envelope(data, most_bytes=MAX_BROADCAST_BYTES)):
            refuse(reason, "broadcasts")
            broadcast["data"] = b""
        return broadcast


class Channel(_Guarded, kombu_redis.Channel):
    """A channel to one Redis."""


class SentinelChannel(_Guarded, kombu_redis.SentinelChannel):
    """A channel to whichever Redis the sentinels name."""


class Transport(kombu_redis.Transport):
    """kombu's transport for `redis://` and `rediss://`, guarded."""

    Channel = Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    """kombu's transport for `sentinel://`, guarded."""

    Channel = SentinelChannel


# --- Celery


class Consumer(QuickConsumer):
    """The consumer that Celery loads: it hands on only what Celery can take."""

    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is called with every message of our queues."""
        handle = super().create_task_handler(*args, **kwargs)
        lost = (*self.connection_errors, *self.channel_errors)

        def on_task_received(message: Any) -> None:
            INTAKE.seen += 1
            reason = self._reason_to_refuse(message)
            if reason is None:
                try:
                    handle(message)
                except lost:
                    raise  # Celery connects again
                except Exception as error:  # noqa: BLE001 - it would end the whole process
                    # Without its text, which may quote the message.
                    log.error("Celery could not take a message: %s", type(error).__name__)  # noqa: TRY400
                    reason = Refusal.TASK_REJECTED
            if reason is not None:
                self._refuse(message, reason)

        return on_task_received

    def add_task_queue(self, queue: Any, *args: Any, **kwargs: Any) -> Any:
        """Flower's Add Consumer."""
        INTAKE.cancelled.discard(str(queue))
        return super().add_task_queue(queue, *args, **kwargs)

    def cancel_task_queue(self, queue: Any) -> None:
        """Flower's Cancel Consumer: messages that wait there from now on are no sign of a dead one (watchdog.py)."""
        INTAKE.cancelled.add(str(queue))
        super().cancel_task_queue(queue)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A message that kombu itself could not read, a broadcast included. Celery's own would log the body."""
        refuse(Refusal.DECODE_ERROR, message.delivery_info.get("routing_key"))
        message.ack()

    def _reason_to_refuse(self, message: Any) -> Refusal | None:
        headers = message.headers
        if reason := of_headers(headers, message.content_type, message.content_encoding):
            return reason
        # Only our tasks say what they take. Celery's own (celery.starmap and others) would run ours unasked.
        takes = getattr(self.app.tasks.get(headers["task"]), "takes", None)
        if takes is None:
            return Refusal.TASK_UNKNOWN
        body = message.body
        return of_body(body.encode() if isinstance(body, str) else bytes(body or b""), takes)

    def _refuse(self, message: Any, reason: Refusal) -> None:
        refuse(reason, message.delivery_info.get("routing_key"))
        if not message.acknowledged:
            # Not back into the queue. Where the broker has a place for dead messages (RabbitMQ) it goes there.
            message.reject_log_error(log, self.connection_errors)


class Request(celery_request.Request):
    """A task in a thread, which nobody can kill: its shard is cut and given back instead, and then it ends itself.

    A plan has nothing to cut (seconds, in a thread of its own, and its batch needs it): it goes on to its end.
    """

    _given_back: Future[None] | None = None

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Flower's Terminate. Returns at once: it is called in the thread that reads the broker."""
        if not self.time_start:
            self._terminate_on_ack = pool, signal  # `on_accepted` comes back here
        elif SHARD_ID.fullmatch(self.args[0]):
            self._given_back = runtime().giving_back.revoke(self.args[0])
        else:
            log.warning("%s cannot be cut and goes on to its end", self.name)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Celery ends everything, in the handler of a second Ctrl-C: the running calls are cut."""
        runtime().departure.hurry()

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        """A thread begins. If it was terminated before, its shard goes back before it could be claimed."""
        super().on_accepted(pid, time_accepted)
        if self._given_back is not None:
            futures.wait([self._given_back], GIVE_BACK_S)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Flower shows what an operator ended as revoked, not as succeeded."""
        if self._given_back is not None and type == "task-succeeded":
            super().send_event("task-revoked", terminated=True, signum=None, expired=False)
        else:
            super().send_event(type, **fields)
