"""What is mended in httpcore and needs a hand on the connection itself to be seen."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpcore
import pytest
from httpcore._backends import anyio as backend
from hyperframe.frame import SettingsFrame

from workers.transport.mended_httpcore import MendedHttp2Connection, mend_httpcore

_URL = httpcore.URL("http://localhost/")


class _SettingsOnly(httpcore.AsyncNetworkStream):
    """A server that says SETTINGS when it is told to, and answers nothing."""

    def __init__(self) -> None:
        self.speaks = asyncio.Event()
        self._said = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's name
        await self.speaks.wait()
        if self._said:
            await asyncio.Event().wait()
        self._said = True
        return SettingsFrame(0).serialize()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's name
        await asyncio.sleep(0)

    async def aclose(self) -> None:
        pass

    def get_extra_info(self, info: str) -> Any:
        return None


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def _ask(connection: MendedHttp2Connection) -> None:
    await connection.handle_async_request(httpcore.Request("GET", _URL, headers=[("host", "localhost")]))


@pytest.mark.parametrize("turns", range(2, 12))
async def test_a_request_cancelled_while_its_connection_opens_harms_none_of_those_after_it(
    turns: int,
) -> None:
    mend_httpcore()
    stream = _SettingsOnly()
    connection = MendedHttp2Connection(_URL.origin, stream)
    # Given a request that is cancelled so many turns of the loop after it began
    first = asyncio.create_task(_ask(connection))
    await _turns(turns)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    # When others follow on a connection that was opened, and the server speaks at last
    later = [asyncio.create_task(_ask(connection)) for _ in range(3)]
    await _turns(5)
    stream.speaks.set()
    await _turns(20)
    failed = [one.exception() for one in later if one.done()]
    for one in later:
        one.cancel()
    ends = await asyncio.gather(*later, return_exceptions=True)
    # Then nothing fails but what found it closed.
    assert not any(isinstance(end, ValueError) for end in [*failed, *ends])


async def test_a_write_to_a_connection_that_the_server_has_closed_fails_as_a_write() -> None:
    class Closed:
        """What anyio's TLS does when the other side's goodbye comes first."""

        async def send(self, item: bytes) -> None:
            raise anyio.EndOfStream

    mend_httpcore()
    closed: Any = Closed()
    with pytest.raises(httpcore.WriteError):
        await backend.AnyIOStream(closed).write(b"GET")
