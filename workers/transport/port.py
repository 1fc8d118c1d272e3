"""What the engine asks of an HTTP client: send one request within a deadline, get status, headers and body.

Two implementations, httpx_transport.py and pyreqwest_transport.py, pass one conformance suite
(tests/contract/transport). `choice.py` says which one a process uses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from workers.core.messages import HttpRequest, HttpResponse

MAX_BODY_BYTES = 64 * 1024 * 1024
USER_AGENT = "batchwright"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportRules:
    """How connections to one base URL are made and kept; lengths in seconds.

    Attributes:
        max_connections: at once, of all clients together; `streams_per_connection` over each with HTTP/2.
        prior_knowledge: speak HTTP/2 without TLS at once (a server of ours); else ALPN decides.
        ca_file: certificate authorities to trust besides the usual ones, PEM.
        max_body_bytes: of an answer, decoded; what is longer is cut off.
    """

    connect_s: float = 5.0
    write_s: float = 10.0
    pool_s: float = 5.0
    keepalive_s: float = 60.0
    max_connections: int = 100
    streams_per_connection: int = 50
    prior_knowledge: bool = False
    ca_file: Path | None = None
    max_body_bytes: int = MAX_BODY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStats:
    """What the connections to one base URL have done since they were made.

    Attributes:
        client: the implementation's name, `httpx` or `pyreqwest`.
        connections: open now; None where the client cannot tell.
        in_flight: requests (streams) under way now.
        protocols: answers by protocol version, {"HTTP/2": 120}.
        bytes_sent, bytes_received: of bodies, as they were before compression.
        retired: clients that were drained and replaced because their connection could not be trusted any more.
        failures: requests without an HTTP answer, by the class of their error; `cancelled` is one of them.
    """

    client: str
    connections: int | None
    connections_opened: int | None
    in_flight: int
    requests: int
    protocols: Mapping[str, int] = field(default_factory=dict)
    bytes_sent: int = 0
    bytes_received: int = 0
    retired: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)


class Streamed(Protocol):
    """An answer whose body is still on its way."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names."""
        ...

    def parts(self) -> AsyncIterator[bytes]:
        """The body as it arrives, decoded. Raises what `Transport.send` raises."""
        ...


class Transport(Protocol):
    """Connections to one base URL, kept open and shared by every shard of the process."""

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        """One exchange.

        Raises:
            TransportError: no HTTP answer; `bytes_sent` says whether the call may have happened.
            CallTimeout: the deadline passed.
            BodyTooLarge: the answer passed the transport's bound.
        """
        ...

    def stream(
        self, request: HttpRequest, *, deadline_s: float, idle_s: float
    ) -> AbstractAsyncContextManager[Streamed]:
        """One exchange whose body is read while it comes; `idle_s` between two parts of it, at most.

        Leaving the context early ends the request on the wire. Raises like `send`, at entry and while reading.
        """
        ...

    def room(self) -> int:
        """How many requests it takes at once; one more would wait for a connection. Grows once HTTP/2 is agreed on."""
        ...

    def stats(self) -> ClientStats:
        """What has happened so far."""
        ...

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        ...
