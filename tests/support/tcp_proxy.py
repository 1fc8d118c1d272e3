"""A small TCP proxy in a thread of the test process, that loses packets, delays, refuses or cuts on demand.

with tcp_proxy(port) as proxy:
    client connects to proxy.port
    proxy.drop()      # half-open: what is sent disappears, connections stay, new ones are accepted and say nothing
    proxy.forget()    # what is connected now is silent for good, as behind a firewall that forgot it; new ones work
    proxy.delay(3.0)  # each piece of data, in both directions, arrives so many seconds late
    proxy.refuse()    # connections are reset, new ones are closed at once
    proxy.heal()
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PIECE_BYTES = 1 << 16


@dataclass(slots=True)
class TcpProxy:
    """Forwards `port` to `target` on loopback; its methods may be called from any thread."""

    target: int
    loop: asyncio.AbstractEventLoop
    port: int = 0
    connections: int = 0
    _delay_s: float = 0.0
    _through: asyncio.Event = field(default_factory=asyncio.Event)
    _refuses: bool = False
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _forgotten: set[asyncio.StreamWriter] = field(default_factory=set)

    def heal(self) -> None:
        """Everything passes again; what was held back by `drop` is delivered."""
        self._do(self._heal)

    def drop(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._do(self._through.clear)

    def forget(self) -> None:
        """Nothing passes on the connections there are, for good, and nobody is told; new ones work."""
        self._do(self._forget)

    def delay(self, seconds: float) -> None:
        """Every piece of data is so much later, each way."""
        self._do(lambda: setattr(self, "_delay_s", seconds))

    def refuse(self) -> None:
        """Cut all connections; new ones are closed at once."""
        self._do(self._refuse)

    def cut(self) -> None:
        """Cut all connections once; new ones work."""
        self._do(self._cut)

    def _do(self, change: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            change()
            done.set()

        self.loop.call_soon_threadsafe(run)
        done.wait(5.0)

    def _heal(self) -> None:
        self._delay_s, self._refuses = 0.0, False
        self._through.set()

    def _forget(self) -> None:
        self._forgotten |= self._open

    def _refuse(self) -> None:
        self._refuses = True
        self._cut()

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        self.connections += 1
        if self._refuses:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._open |= both
        ways = (self._pump(reader, far_writer), self._pump(far_reader, writer))
        try:
            await asyncio.gather(*ways)
        finally:
            self._open -= both
            self._forgotten -= both
            for end in both:
                end.transport.abort()

    async def end(self) -> None:
        """End every connection, also those that wait for something."""
        self._heal()
        self._cut()
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=4)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ConnectionError):
            while data := await reader.read(_PIECE_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._through.wait()
                if writer in self._forgotten:
                    continue
                writer.write(data)
                await writer.drain()
        # A half-closed connection is of no use to Redis, MongoDB or HTTP: both ends go.
        if writer not in self._forgotten:
            writer.close()


@contextmanager
def tcp_proxy(target: int) -> Iterator[TcpProxy]:
    """Start one before the server at this port on loopback, yield it, end it."""
    loop = asyncio.new_event_loop()
    proxy = TcpProxy(target, loop)
    proxy._through.set()
    server = loop.run_until_complete(asyncio.start_server(proxy.serve, "127.0.0.1", 0))
    proxy.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, name="tcp-proxy", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.close()
        asyncio.run_coroutine_threadsafe(proxy.end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()
