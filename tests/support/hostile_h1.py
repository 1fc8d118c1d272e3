"""The hostile server's HTTP/1.1, by hand: what a request's path names is done to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.support.hostile import Port

OK_BODY = b'{"ok": true}'


class Http1(asyncio.Protocol):
    """One connection; requests one after the other, bodies with a length only."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.port.open_connections.add(self)
        self.port.count("connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self.port.open_connections.discard(self)
        self.port.count("closed")

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, ended, body = self._read.partition(b"\r\n\r\n")
        if not ended or len(body) < _length(head):
            return
        self._read = body[_length(head) :]
        # A proxy is asked for a whole URL.
        path = urlsplit(head.split(b" ", 2)[1].decode()).path
        self.port.count("requests")
        self.port.count(path)
        BEHAVIOURS[path](self)

    def cut(self) -> None:
        """Close the socket once what was written is out."""
        self.transport.close()

    def say(self, status: str, body: bytes, length: int | None = None, more: str = "") -> None:
        """An answer, with a length that may be a lie."""
        size = len(body) if length is None else length
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}Content-Length: {size}\r\n\r\n"
        self.transport.write(head.encode() + body)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _garbage(c: Http1) -> None:
    c.transport.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    c.cut()


def _close_mid_body(c: Http1) -> None:
    c.say("200 OK", b"first part ", length=1000)
    c.cut()


def _close_mid_headers(c: Http1) -> None:
    c.transport.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
    c.cut()


def _ok(c: Http1) -> None:
    c.say("200 OK", OK_BODY)


def _trailing_garbage(c: Http1) -> None:
    c.say("200 OK", OK_BODY)
    c.transport.write(b"and more than was announced")


BEHAVIOURS: dict[str, Callable[[Http1], None]] = {
    "/ok": _ok,
    "/hang": lambda c: c.port.hold(lambda: _ok(c)),
    "/garbage": _garbage,
    "/close": Http1.cut,
    "/close-mid-body": _close_mid_body,
    "/close-mid-headers": _close_mid_headers,
    "/trailing-garbage": _trailing_garbage,
    "/redirect": lambda c: c.say(
        "302 Found", b"", more="Location: /ok\r\nSet-Cookie: taste=sweet; Path=/\r\n"
    ),
}
