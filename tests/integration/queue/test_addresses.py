"""The forms in which a Redis may be named as the broker, and what each of them means to kombu."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
import trustme

from config.tree import Servers
from workers.celery_config import broker_url
from workers.core.errors import StoreUnavailable
from workers.core.identity import new_batch_id
from workers.queue import Queue

pytestmark = pytest.mark.integration


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a server whose certificate nobody here trusts; it reads and says nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_broker_whose_certificate_nobody_vouches_for_is_told_nothing(stranger: int) -> None:
    queue = Queue(broker_url(Servers(redis_url=f"rediss://:secret@127.0.0.1:{stranger}/0")))
    with closing(queue), pytest.raises(StoreUnavailable, match=r"(?i)certificate") as raised:
        queue.publish_plan(new_batch_id(0))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix://:pw@/run/redis.sock?db=2", "redis+socket://:pw@/run/redis.sock?virtual_host=2"),
        ("redis://:pw@one:6379/3", "redis://:pw@one:6379/3"),
        ("amqp://one//", "amqp://one//"),
    ],
)
def test_kombu_is_told_of_a_unix_socket_in_its_own_words(named: str, told: str) -> None:
    assert broker_url(Servers(redis_url=named)) == told
    assert broker_url(Servers(redis_url="redis://control", broker_url=named)) == told


def test_a_broker_behind_a_unix_socket_is_asked_there() -> None:
    queue = Queue(broker_url(Servers(redis_url="unix:///nowhere/redis.sock")))
    with closing(queue), pytest.raises(StoreUnavailable, match=r"/nowhere/redis\.sock|No such file"):
        queue.publish_plan(new_batch_id(0))
