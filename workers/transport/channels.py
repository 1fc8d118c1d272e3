"""What both transports share: several clients to one base URL, the least loaded one first, and their counts.

A client speaks HTTP/2 over one connection, which takes only so many requests at once; so there are several, opened
as they are needed. One that cannot be trusted any more is retired: it takes nothing new, is closed when its last
request has ended, and another takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from workers.core.errors import TransportError
from workers.transport.port import ClientStats, TransportRules

RETIRE_AFTER_ABANDONED = 20

ClientT = TypeVar("ClientT")


@dataclass(slots=True, eq=False)
class Channel(Generic[ClientT]):
    """One client and what is known of its health.

    Attributes:
        abandoned: requests that were left before their answer was whole; the far end may still work on them.
        heard_at: when its last answer came, monotonic seconds.
        connected: set when its connection must be there; None once it was.
    """

    client: ClientT
    in_flight: int = 0
    abandoned: int = 0
    heard_at: float = field(default_factory=time.monotonic)
    retired: bool = False
    connected: asyncio.Event | None = None


@dataclass(slots=True)
class Tally:
    """Counts for `Transport.stats`; see ClientStats."""

    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    retired: int = 0
    protocols: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


class Channels(Generic[ClientT]):
    """The clients of one transport."""

    def __init__(
        self,
        rules: TransportRules,
        make: Callable[[], ClientT],
        close: Callable[[ClientT], Awaitable[None]],
        head_start_s: float = 0.0,
    ) -> None:
        """`head_start_s`: how long a client's first request goes ahead alone, at most, to make the connection."""
        self.tally = Tally()
        self.in_flight = 0
        self._rules = rules
        self._make = make
        self._close = close
        self._head_start_s = head_start_s
        self._open: list[Channel[ClientT]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Until the first answer says what the server speaks, each request may need a connection of its own.
        self.room = rules.max_connections
        self._each = rules.streams_per_connection
        if rules.prior_knowledge:
            self._heard_protocol("HTTP/2")

    async def take(self) -> Channel[ClientT]:
        """The least loaded client, for one request; `give_back` must follow.

        Raises: TransportError if all connections stay busy for `pool_s`; nothing was sent then.
        """
        self.tally.requests += 1
        if self.in_flight >= self.room:
            await self._wait_for_room()
        self.in_flight += 1
        best: Channel[ClientT] | None = None
        for channel in self._open:
            if best is None or channel.in_flight < best.in_flight:
                best = channel
        if best is None or best.in_flight >= self._each:
            best = Channel(self._make(), connected=asyncio.Event() if self._head_start_s else None)
            self._open.append(best)
        best.in_flight += 1
        if best.connected is not None and best.in_flight > 1:
            await self._let_it_connect(best, best.connected)
        return best

    def answered(self, channel: Channel[ClientT], protocol: str) -> None:
        """Note an answer's head."""
        channel.heard_at = time.monotonic()
        if channel.connected is not None:
            channel.connected.set()
        protocols = self.tally.protocols
        if protocol not in protocols:
            self._heard_protocol(protocol)
        protocols[protocol] += 1

    def abandon(self, channel: Channel[ClientT]) -> None:
        """Note that a request was left: after many of them the connection may be full of dead ones."""
        channel.abandoned += 1
        if channel.abandoned >= RETIRE_AFTER_ABANDONED:
            self.retire(channel)

    def retire(self, channel: Channel[ClientT]) -> None:
        """Give it nothing new; it is closed once it is empty."""
        if not channel.retired:
            channel.retired = True
            self.tally.retired += 1
            with contextlib.suppress(ValueError):  # the transport was closed meanwhile
                self._open.remove(channel)

    def give_back(self, channel: Channel[ClientT]) -> None:
        """The request has ended, however it ended."""
        self.in_flight -= 1
        channel.in_flight -= 1
        if channel.connected is not None and channel.in_flight == 0:
            channel.connected.set()
        if channel.retired and channel.in_flight == 0:
            task = asyncio.get_running_loop().create_task(self._end(channel))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        if self._waiting:
            self._wake()

    async def close(self) -> None:
        """Close every client."""
        channels, self._open = self._open, []
        for channel in channels:
            await self._end(channel)
        for task in list(self._closing):
            await task

    def stats(self, name: str, connections: int | None, opened: int | None) -> ClientStats:
        """The counts as they are now."""
        tally = self.tally
        return ClientStats(
            client=name,
            connections=connections,
            connections_opened=opened,
            in_flight=self.in_flight,
            requests=tally.requests,
            protocols=dict(tally.protocols),
            bytes_sent=tally.bytes_sent,
            bytes_received=tally.bytes_received,
            retired=tally.retired,
            failures=dict(tally.failures),
        )

    def _heard_protocol(self, protocol: str) -> None:
        rules = self._rules
        if protocol == "HTTP/2":
            self._each = rules.streams_per_connection
            self.room = rules.max_connections * rules.streams_per_connection
        else:
            # HTTP/1.1: a connection each, so one client's pool holds them all.
            self._each = self.room = rules.max_connections
        self._wake()

    async def _let_it_connect(self, channel: Channel[ClientT], connected: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._head_start_s):
                await connected.wait()
        except TimeoutError:
            connected.set()  # the answer is slow; the connection stands long since
        except asyncio.CancelledError:
            self.tally.failures["cancelled"] += 1
            self.give_back(channel)
            raise
        channel.connected = None

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._rules.pool_s):
                while self.in_flight >= self.room:
                    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.append(woken)
                    await woken
        except TimeoutError as error:
            self._wake()
            self.tally.failures["TransportError"] += 1
            text = f"all {self.room} connections were busy for {self._rules.pool_s:g} s"
            raise TransportError(text, bytes_sent=False) from error
        except asyncio.CancelledError:
            self._wake()  # the place may have been meant for this one
            self.tally.failures["cancelled"] += 1
            raise

    def _wake(self) -> None:
        free = self.room - self.in_flight
        while self._waiting and free > 0:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                free -= 1

    async def _end(self, channel: Channel[ClientT]) -> None:
        with contextlib.suppress(Exception):  # it is gone either way, and its requests have been answered for
            await self._close(channel.client)
