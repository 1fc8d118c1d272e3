"""Both transports, each against ports of the hostile server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.hostile import Hostile, Port, hostile
from workers.core.errors import TransportError
from workers.core.messages import HttpRequest, HttpResponse
from workers.transport.choice import Wanted, transport_for
from workers.transport.port import Transport, TransportRules

__all__ = ["hostile"]

Opens = Callable[..., Transport]
OK = b'{"ok": true}'
SOON_S = 30.0  # far more than is needed: a client that hangs fails, a busy machine does not
# With BATCHWRIGHT_TEST_FULL=1 the numbers are those of the promise; else smaller ones that show the same.
FULL = bool(os.environ.get("BATCHWRIGHT_TEST_FULL"))


@pytest.fixture(params=["httpx", "pyreqwest"])
def client(request: pytest.FixtureRequest) -> Wanted:
    """The name of the transport under test."""
    name: Wanted = request.param
    return name


@pytest_asyncio.fixture
async def transport_to(client: Wanted, hostile: Hostile) -> AsyncIterator[Opens]:
    """Makes transports to a port; rules as keyword arguments. They are closed after the test."""
    opened: list[Transport] = []

    def open_to(port: Port, **rules: Any) -> Transport:
        base: dict[str, Any] = {"prior_knowledge": port.speaks == "h2", "ca_file": hostile.ca_file}
        opened.append(transport_for(port.url, TransportRules(**{**base, **rules}), client))
        return opened[-1]

    yield open_to
    for transport in opened:
        await transport.close()


def to(path: str, body: bytes = b"{}") -> HttpRequest:
    """A request to a path, which says what the server does to it."""
    return HttpRequest("POST", path, {"content-type": "application/json"}, body)


async def works(transport: Transport, within_s: float = SOON_S) -> bool:
    """Whether an ordinary request passes."""
    return (await transport.send(to("/ok"), deadline_s=within_s)).body == OK


async def works_again(transport: Transport) -> bool:
    """Whether one passes, when the first ones may still meet a connection that is about to break."""
    for _ in range(5):
        with contextlib.suppress(TransportError):
            return await works(transport)
    return False


async def end(tasks: Sequence[asyncio.Task[HttpResponse]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Memory:
    """How far this process's memory grew at its peak, in bytes; Linux can forget the former peak."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            pytest.skip("peaks of memory are read from /proc")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = self._peak()

    def grown(self) -> int:
        return self._peak() - self._before

    @staticmethod
    def _peak() -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
