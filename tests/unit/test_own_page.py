"""A worker's own page: what it answers, and that no client can keep it busy."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import own_page
from workers.own_page import MOST_LAG_S, SEEN_WITHIN_S, THREADS, Condition, OwnPage, pages, readiness

pytestmark = pytest.mark.fast
WELL = Condition(started=True, draining=False, mongodb_s=1.0, broker_s=2.0, loop_lag_s=0.0)


class Served:
    """A page whose condition a test sets."""

    def __init__(self) -> None:
        self.now = WELL
        self.page = OwnPage(
            pages(
                lambda: self.now,
                lambda headers: (200, f"for {headers.get('accept', '')}\n".encode(), "text/plain"),
            )
        )
        self.page.start("127.0.0.1", 0)

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of what comes back for these bytes."""
        with closing(self.connected()) as client:
            client.sendall(request)
            head, _, body = b"".join(iter(lambda: client.recv(4096), b"")).partition(b"\r\n\r\n")
            return head, body

    def connected(self) -> socket.socket:
        host, _, port = self.page.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=5)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    found = Served()
    yield found
    found.page.stop()


@pytest.fixture(autouse=True)
def well(served: Served) -> None:
    served.now = WELL


def get(path: str, method: str = "GET", *headers: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "host: h", *headers, "", "")).encode()


def test_a_worker_that_takes_work_is_ready_and_says_each_part(served: Served) -> None:
    head, body = served.ask(get("/ready"))
    assert head.startswith(b"HTTP/1.1 200 OK")
    said = json.loads(body)
    assert said["status"] == "ready" and {part["state"] for part in said["services"].values()} == {"up"}
    assert set(said["services"]) == {"runtime", "intake", "mongodb", "broker", "loop"}


def test_one_that_drains_is_not_ready_but_lives(served: Served) -> None:
    served.now = replace(WELL, draining=True)
    assert served.ask(get("/ready"))[0].startswith(b"HTTP/1.1 503")
    assert served.ask(get("/health"))[0].startswith(b"HTTP/1.1 200")


_AGES = st.none() | st.floats(0, 100)


@given(st.booleans(), st.booleans(), _AGES, _AGES, st.floats(0, 10))
def test_ready_is_what_has_started_drains_not_and_has_seen_its_servers_lately(
    started: bool, draining: bool, mongodb_s: float | None, broker_s: float | None, lag_s: float
) -> None:
    is_ready, parts = readiness(Condition(started, draining, mongodb_s, broker_s, lag_s))
    seen = all(age is not None and age <= SEEN_WITHIN_S for age in (mongodb_s, broker_s))
    assert is_ready == (started and not draining and seen and lag_s < MOST_LAG_S)
    assert is_ready == all(part["state"] == "up" for part in parts.values())


def test_metrics_come_in_the_format_that_is_accepted(served: Served) -> None:
    head, body = served.ask(get("/metrics", "GET", "accept: text/special"))
    assert b"content-type: text/plain" in head and body == b"for text/special\n"


def test_head_has_the_length_and_no_body(served: Served) -> None:
    head, body = served.ask(get("/metrics", "HEAD"))
    assert b"content-length: 5" in head and body == b""


def test_nothing_of_the_language_or_its_version_is_told(served: Served) -> None:
    assert b"ython" not in b"".join(served.ask(get("/health")))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/nothing"), b"404"),
        (get("/ready/../metrics"), b"404"),
        (get("/ready", "POST", "content-length: 0"), b"405"),
        (get("/ready", "DELETE"), b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /ready HTTP/9.9\r\n\r\n", b"505"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
    ],
)
def test_whatever_else_is_asked_gets_an_error_and_harms_nothing(
    served: Served, request_: bytes, status: bytes
) -> None:
    assert status in served.ask(request_)[0].split(b"\r\n")[0]
    assert served.ask(get("/ready"))[0].startswith(b"HTTP/1.1 200")


def test_clients_that_send_no_whole_request_are_cut_off_and_the_next_is_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_page, "HEAD_S", 0.05)
    slow = [served.connected() for _ in range(THREADS * 2)]
    for client in slow:
        client.sendall(b"GET /ready HTTP/1.1\r\nx: ")
    began = time.monotonic()
    assert served.ask(get("/ready"))[0].startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < 2.0
    for client in slow:
        assert client.recv(10) == b""
        client.close()


def test_a_head_without_end_is_cut_off(served: Served) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
        served.ask(b"x" * 10_000_000)


def test_a_stopped_page_answers_nobody() -> None:
    other = Served()
    address = other.page.address
    other.page.stop()
    host, _, port = address.rpartition(":")
    with pytest.raises(OSError):  # noqa: PT011 - refused
        socket.create_connection((host, int(port)), timeout=1)
