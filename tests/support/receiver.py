"""Somebody who is told by webhooks: an HTTP server in this process that keeps what it gets and answers as it is told.

with receiving() as receiver:
    receiver.replies = [Reply(500), Reply(200)]  # the last one for ever
    receiver.wait_for(2)
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.eventually import eventually


@dataclass(frozen=True)
class Reply:
    """One answer; `after` holds it back until somebody sets it."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    after: threading.Event | None = None


@dataclass(frozen=True)
class Got:
    """One request, its headers by lower-case name."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What came, and what is answered."""

    port: int
    scheme: str = "http"
    got: list[Got] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=lambda: [Reply()])

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://127.0.0.1:{self.port}/hook?token=hidden"

    def wait_for(self, number: int, within_s: float = 10.0) -> list[Got]:
        """What came once it was so many."""
        eventually(lambda: len(self.got) >= number, within_s, what=lambda: self.got)
        return self.got

    def next_reply(self) -> Reply:
        """Each once, the last one again and again."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def receiving(trust: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """One on a free port; with `trust`, over TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append(Got(self.path, headers, body))
            reply = receiver.next_reply()
            if reply.after is not None:
                reply.after.wait(20)
            try:
                self.send_response(reply.status)
                for name, value in (*reply.headers, ("content-length", str(len(reply.body)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:
                pass  # whoever asked has gone

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that refuses our certificate

    server = Server(("127.0.0.1", 0), Handler)
    if trust is not None:
        server.socket = trust.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver = Receiver(server.server_port, "https" if trust else "http")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
