"""What the engine asks of an HTTP client: send one request within a deadline, get status, headers and body."""

from __future__ import annotations

from typing import Protocol

from workers.core.messages import HttpRequest, HttpResponse

MAX_BODY_BYTES = 64 * 1024 * 1024


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

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        ...
