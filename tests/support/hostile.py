"""A server that misbehaves on purpose, for the clients of providers: HTTP/2 by h2, HTTP/1.1 by hand.

It runs in a thread of the test process with a loop of its own. A test opens a port (under a millisecond), so its
counts are its own; what a request's path names is what is done to it (hostile_h2.py, hostile_h1.py).
The session fixture is `hostile`:

    def test_...(hostile: Hostile) -> None:
        with hostile.port("h2") as port:
            ...port.url + "/hang"...
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
import trustme

from tests.support.hostile_h1 import Http1
from tests.support.hostile_h2 import Http2

Speaks = Literal["h2", "h1", "tls-h2", "tls-h1"]
_LIMIT_S = 30.0


class Port:
    """One listening port and what was seen at it. Counts are written by the server's thread only.

    Attributes:
        max_streams: what SETTINGS allow a client to have open at once.
        seen: `connections`, `requests`, `resets` (by the client), `body_bytes` (sent), and each request's path.
        open_connections: now.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, speaks: Speaks, max_streams: int | None) -> None:
        self.url = ""
        self.speaks = speaks
        self.max_streams = max_streams
        self.seen: Counter[str] = Counter()
        self.open_connections: set[Http1 | Http2] = set()
        self._loop = loop
        self._changed = threading.Condition()
        self._held: list[Callable[[], None]] = []

    def count(self, what: str, by: int = 1) -> None:
        """Note it, and wake whoever waits for it. Called by the server's thread."""
        with self._changed:
            self.seen[what] += by
            self._changed.notify_all()

    def hold(self, answer: Callable[[], None]) -> None:
        """Keep an answer back until `release`. Called by the server's thread."""
        self._held.append(answer)

    def release(self) -> None:
        """Give every answer that was kept back."""

        def give() -> None:
            held, self._held = self._held, []
            for answer in held:
                answer()

        self._loop.call_soon_threadsafe(give)

    def cut(self) -> None:
        """Close every connection; `saw("closed")` tells when."""
        for connection in list(self.open_connections):
            self._loop.call_soon_threadsafe(connection.cut)

    async def saw(self, what: str, times: int = 1) -> None:
        """Wait, without blocking the caller's loop, until something was counted `times` times."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: self.seen[what] >= times, timeout=_LIMIT_S)

        if not await asyncio.to_thread(wait):
            pytest.fail(f"the server saw {what} {self.seen[what]} times instead of {times}: {self.seen}")


class Hostile:
    """The server's thread and its certificate authority."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._certificate = authority.issue_cert("localhost", "127.0.0.1")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hostile", daemon=True)
        self._thread.start()

    @contextmanager
    def port(self, speaks: Speaks, *, max_streams: int | None = 100) -> Iterator[Port]:
        """Listen for the length of a test; connections that are left open are cut at its end."""
        port = Port(self._loop, speaks, max_streams)
        server = asyncio.run_coroutine_threadsafe(self._listen(port), self._loop).result(_LIMIT_S)
        try:
            yield port
        finally:
            asyncio.run_coroutine_threadsafe(self._end(port, server), self._loop).result(_LIMIT_S)

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_S)
        self._loop.close()

    async def _listen(self, port: Port) -> asyncio.Server:
        tls = self._tls(port.speaks)
        kind = Http2 if port.speaks.endswith("h2") else Http1
        server = await self._loop.create_server(lambda: kind(port), "127.0.0.1", 0, ssl=tls, backlog=512)
        scheme = "https://localhost" if tls else "http://127.0.0.1"
        port.url = f"{scheme}:{server.sockets[0].getsockname()[1]}"
        return server

    def _tls(self, speaks: Speaks) -> ssl.SSLContext | None:
        if not speaks.startswith("tls"):
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._certificate.configure_cert(context)
        context.set_alpn_protocols(["h2"] if speaks == "tls-h2" else ["http/1.1"])
        return context

    async def _end(self, port: Port, server: asyncio.Server) -> None:
        server.close()
        for connection in list(port.open_connections):
            connection.cut()
        await asyncio.sleep(0)  # lets the sockets go before the next port opens


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """One for the session."""
    server = Hostile(tmp_path_factory.mktemp("hostile"))
    yield server
    server.stop()
