"""Count the connections that httpx opens and closes, which it does not tell."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import httpcore
import httpx


class CountedSockets(httpcore.AsyncNetworkBackend):
    """Connections of several httpx clients: `open` now, and `opened` since the start."""

    def __init__(self) -> None:
        self.opened = 0
        self.open = 0
        self._backend = httpcore.AnyIOBackend()

    def watch(self, client: httpx.AsyncHTTPTransport) -> None:
        """Have a client open its connections here; httpx has no argument for it."""
        client._pool._network_backend = self  # noqa: SLF001

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        self.opened += 1
        self.open += 1
        return _CountedStream(stream, self)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _CountedStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, sockets: CountedSockets) -> None:
        self._stream = stream
        self._sockets: CountedSockets | None = sockets
        self._take_over(stream)

    def _take_over(self, stream: httpcore.AsyncNetworkStream) -> None:
        # Straight through: a method between them would cost every read of every call.
        self.read = stream.read  # type: ignore[method-assign]
        self.write = stream.write  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    async def aclose(self) -> None:
        if self._sockets is not None:
            self._sockets.open -= 1
            self._sockets = None
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> httpcore.AsyncNetworkStream:
        # The stream under TLS is this one; only it is counted.
        try:
            inner = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self.aclose()
            raise
        self._stream = inner
        self._take_over(inner)
        return self
