"""A worker's own HTTP page, for whoever looks after processes one by one: GET /metrics, /health and /ready.

Off unless the setting `worker.http_port` is set. A few daemon threads accept and answer; none touches the event loop,
so the page tells of a loop that hangs. A client has `HEAD_S` for the whole of its request, however slowly it sends,
and one answer a connection; what no thread takes waits in the listener's short queue.

    /health   200 as long as the process lives
    /ready    200 where it takes work, 503 with what keeps it from that
    /metrics  what it has counted and timed, for Prometheus; where a token is set, for who sends it
"""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

log = logging.getLogger(__name__)

THREADS: Final = 3
HEAD_S: Final = 2.0
_SEND_S = 2.0
_MOST_HEAD_BYTES = 16_384
_QUEUE = 16
_ALSO_SENT: Final = {401: ("www-authenticate", "Bearer"), 405: ("allow", "GET, HEAD")}
# What was seen longer ago says nothing of now: three beats.
SEEN_WITHIN_S: Final = 10.0
MOST_LAG_S: Final = 1.0

Reply = tuple[int, bytes, str]
# By the headers of the request, their names in lower case.
Page = Callable[[Mapping[str, str]], Reply]


@dataclass(frozen=True, slots=True)
class Condition:
    """How a worker process stands; ages in seconds, None for what was never seen.

    Attributes:
        mongodb_s, broker_s: since it answered this process.
        loop_lag_s: how late the loop's timer was at the last beat.
    """

    started: bool
    draining: bool
    mongodb_s: float | None
    broker_s: float | None
    loop_lag_s: float


def readiness(now: Condition) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Whether the process takes work, and each part of the answer. Pure."""
    parts = {
        "runtime": {"state": "up" if now.started else "down"},
        "intake": {"state": "down" if now.draining else "up"},
        "mongodb": _seen(now.mongodb_s),
        "broker": _seen(now.broker_s),
        "loop": {
            "state": "up" if now.loop_lag_s < MOST_LAG_S else "down",
            "lag_ms": round(now.loop_lag_s * 1000, 1),
        },
    }
    return all(part["state"] == "up" for part in parts.values()), parts


def _seen(age_s: float | None) -> dict[str, Any]:
    state = "up" if age_s is not None and age_s <= SEEN_WITHIN_S else "down"
    return {"state": state, "age_seconds": None if age_s is None else round(age_s, 1)}


def pages(condition: Callable[[], Condition], metrics: Page) -> dict[str, Page]:
    """The pages by path."""
    began = time.monotonic()

    def health(_headers: Mapping[str, str]) -> Reply:
        _, parts = readiness(condition())
        uptime_s = round(time.monotonic() - began, 3)
        return _json(200, {"status": "ok", "uptime_seconds": uptime_s, "services": parts})

    def ready(_headers: Mapping[str, str]) -> Reply:
        is_ready, parts = readiness(condition())
        status = "ready" if is_ready else "not_ready"
        return _json(200 if is_ready else 503, {"status": status, "services": parts})

    return {"/health": health, "/ready": ready, "/metrics": metrics}


def _json(status: int, value: Mapping[str, Any]) -> Reply:
    return status, json.dumps(value).encode() + b"\n", "application/json"


@dataclass(slots=True)
class OwnPage:
    """The listener. `start` once; `stop` once, after which nothing is answered.

    Attributes:
        address: `HOST:PORT` at which it listens, once it does.
    """

    pages: Mapping[str, Page]
    address: str = ""
    _listener: socket.socket | None = None
    _threads: list[threading.Thread] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self, host: str, port: int) -> None:
        """Listen; 0 takes a free port. Raises OSError where the port cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=_QUEUE)
        if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux: who connects and says nothing takes no thread
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(HEAD_S))
        found = self._listener.getsockname()[1]
        self.address = f"[{host}]:{found}" if ":" in host else f"{host}:{found}"
        for number in range(THREADS):
            thread = threading.Thread(
                target=self._answer, args=(self._listener,), name=f"page-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        log.info("own page", extra={"address": self.address})

    def stop(self) -> None:
        """Close the listener and wait for the answers under way."""
        if self._listener is None:
            return
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone wakes no thread that waits in accept
        self._listener.close()
        for thread in self._threads:
            thread.join(HEAD_S + _SEND_S)

    def _answer(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, peer = listener.accept()
            except OSError:
                if self._stopped.wait(0.1):  # else no file descriptors are left, and some come back
                    return
                continue
            with connection:
                try:
                    _Handler(connection, peer, self.pages)
                except Exception as error:  # noqa: BLE001 - whatever a client sends, the thread goes on
                    log.debug("own page: %s", type(error).__name__)


class _Handler(BaseHTTPRequestHandler):
    """One connection: its head read against the clock, one answer, the end."""

    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, peer: Any, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        # The base class wants a server, and uses it for nothing here.
        super().__init__(connection, peer, None)  # type: ignore[arg-type]

    def setup(self) -> None:
        """Read the whole head: a time-out for each byte would let a client take hours over it."""
        self.connection = self.request
        self.rfile = io.BytesIO(_head(self.connection))
        self.connection.settimeout(_SEND_S)
        self.wfile = self._written = io.BytesIO()

    def handle(self) -> None:
        """Answer one request."""
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(_MOST_HEAD_BYTES)
        if self.raw_requestline and self.parse_request():
            self._reply()

    def finish(self) -> None:
        """Send what was written; a client that does not read it in time gets no more."""
        with suppress(OSError):
            self.connection.sendall(self._written.getvalue())
            self.connection.shutdown(socket.SHUT_WR)

    def _reply(self) -> None:
        page = self._pages.get(self.path.partition("?")[0])
        status, body, content_type = 404, b"not found\n", "text/plain"
        if self.command not in ("GET", "HEAD"):
            status, body = 405, b"only GET\n"
        elif page is not None:
            try:
                status, body, content_type = page(
                    {name.lower(): value for name, value in self.headers.items()}
                )
            except Exception:
                log.exception("own page %s", self.path)
                status, body = 500, b"the log says more\n"
        self.send_response_only(status, HTTPStatus(status).phrase)
        if status in _ALSO_SENT:
            self.send_header(*_ALSO_SENT[status])
        for name, value in (
            ("content-type", content_type),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Nothing of Python's version."""
        return "batchwright"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """A line a question every few seconds would tell nothing."""


def _head(connection: socket.socket) -> bytes:
    """The bytes up to the empty line. Raises OSError where they do not come in time, or are too many."""
    until, head = time.monotonic() + HEAD_S, b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left_s = until - time.monotonic()
        if left_s <= 0 or len(head) > _MOST_HEAD_BYTES:
            raise TimeoutError("no whole request")
        connection.settimeout(left_s)
        part = connection.recv(4_096)
        if not part:
            raise ConnectionError("closed")
        head += part
    return head
