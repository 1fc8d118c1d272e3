"""What the queue's suite does to a broker behind its back, alike for Redis and RabbitMQ."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Protocol

import redis

from tests.support.rabbit import Rabbit
from workers.celery_config import DEAD

Message = tuple[
    dict[str, Any], dict[str, Any], list[Any], dict[str, Any]
]  # headers, delivery info, args, kwargs


class Broker(Protocol):
    """One that runs, and is empty before each test."""

    @property
    def url(self) -> str: ...

    def clear(self) -> None:
        """Forget every queue, as if it had lost its disk."""
        ...

    def take(self, queue_name: str) -> list[Message]:
        """Take all messages out, the oldest first."""
        ...

    def break_connections(self) -> None:
        """End every client's connection; messages stay."""
        ...

    def is_untouched(self) -> bool:
        """Whether nothing has been written into it."""
        ...


@dataclass(frozen=True)
class OnRedis:
    """A database of a Redis."""

    url: str

    def clear(self) -> None:
        with self._client() as client:
            client.flushdb()

    def take(self, queue_name: str) -> list[Message]:
        with self._client() as client:
            raw: Any = client.lrange(queue_name, 0, -1)
            client.delete(queue_name)
        messages = [json.loads(each) for each in reversed(raw)]
        return [
            (each["headers"], each["properties"]["delivery_info"], *json.loads(b64decode(each["body"]))[:2])
            for each in messages
        ]

    def break_connections(self) -> None:
        with self._client() as client:
            ours = str(client.connection_pool.connection_kwargs["db"])
            for other in client.client_list():
                if other["db"] == ours and other["cmd"] != "client|list":
                    client.client_kill(other["addr"])

    def is_untouched(self) -> bool:
        with self._client() as client:
            return bool(client.dbsize() == 0)

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)


@dataclass(frozen=True)
class OnRabbit:
    """A node of RabbitMQ; `names` are the queues that the suite uses."""

    rabbit: Rabbit
    names: tuple[str, ...]

    @property
    def url(self) -> str:
        return self.rabbit.url

    def clear(self) -> None:
        with self.rabbit.client() as connection:
            for name in (*self.names, DEAD):
                connection.default_channel.queue_delete(name)

    def take(self, queue_name: str) -> list[Message]:
        taken: list[Message] = []
        with self.rabbit.client() as connection:
            channel: Any = connection.default_channel
            while (message := channel.basic_get(queue_name, no_ack=True)) is not None:
                info = {key: message.delivery_info[key] for key in ("exchange", "routing_key")}
                headers = message.properties["application_headers"]
                taken.append((headers, info, *json.loads(message.body)[:2]))
        return taken

    def break_connections(self) -> None:
        self.rabbit.restart()

    def is_untouched(self) -> bool:
        with self.rabbit.client() as connection:
            return all(self._is_missing(connection, name) for name in self.names)

    def _is_missing(self, connection: Any, name: str) -> bool:
        with connection.channel() as channel:
            try:
                channel.queue_declare(name, passive=True)
            except connection.channel_errors:
                return True
        return False
