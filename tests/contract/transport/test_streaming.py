"""Answers that are read while they come: what every transport promises."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.transport.conftest import SOON_S, Opens, to
from tests.support.hostile import Hostile
from workers.core.errors import BodyTooLarge, CallTimeout, TransportError
from workers.transport.port import Transport


async def read_all(transport: Transport, path: str, *, deadline_s: float = SOON_S) -> bytes:
    async with transport.stream(to(path), deadline_s=deadline_s, idle_s=SOON_S) as answer:
        return b"".join([part async for part in answer.parts()])


async def test_parts_come_as_they_are_sent(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        async with transport.stream(to("/stuck-body"), deadline_s=SOON_S, idle_s=SOON_S) as answer:
            assert answer.status == 200
            parts = answer.parts()
            assert await anext(parts) == b"first part "
            assert transport.stats().in_flight == 1
            port.release()
            assert [part async for part in parts] == [b"second part"]
        stats = transport.stats()
        assert (stats.in_flight, stats.bytes_received) == (0, len(b"first part second part"))


async def test_leaving_early_ends_the_request_on_the_wire(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        async with transport.stream(to("/stuck-body"), deadline_s=60, idle_s=60) as answer:
            await anext(answer.parts())
        await port.saw("resets")


async def test_a_reader_that_is_cancelled_ends_the_request_on_the_wire(
    hostile: Hostile, transport_to: Opens
) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        begun = asyncio.Event()

        async def read() -> None:
            async with transport.stream(to("/stuck-body"), deadline_s=60, idle_s=60) as answer:
                async for _ in answer.parts():
                    begun.set()

        reader = asyncio.create_task(read())
        await begun.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await port.saw("resets")
        assert transport.stats().failures == {"cancelled": 1}


async def test_a_pause_that_is_too_long_ends_it(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        async with transport.stream(to("/stuck-body"), deadline_s=60, idle_s=0.2) as answer:
            parts = answer.parts()
            await anext(parts)
            with pytest.raises(CallTimeout):
                await anext(parts)
        await port.saw("resets")


@pytest.mark.parametrize("path", ["/hang", "/stuck-body"])
async def test_its_deadline_counts_to_the_end(hostile: Hostile, transport_to: Opens, path: str) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        with pytest.raises(CallTimeout):
            await read_all(transport, path, deadline_s=0.1)


@pytest.mark.parametrize("path", ["/big", "/bomb-br"])
async def test_its_body_is_cut_at_the_bound(hostile: Hostile, transport_to: Opens, path: str) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port, max_body_bytes=1 << 20)
        with pytest.raises(BodyTooLarge):
            await read_all(transport, path)
        assert (await transport.send(to("/ok"), deadline_s=SOON_S)).status == 200


@pytest.mark.parametrize("path", ["/close-mid-body", "/goodbye-mid-body", "/cancel-mid-body"])
async def test_a_break_in_its_middle_is_told(hostile: Hostile, transport_to: Opens, path: str) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        with pytest.raises(TransportError) as caught:
            await read_all(transport, path)
        assert caught.value.bytes_sent


async def test_what_the_reader_raises_passes_unchanged(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)

        async def read() -> None:
            async with transport.stream(to("/stuck-body"), deadline_s=SOON_S, idle_s=SOON_S):
                raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            await read()
        assert transport.stats().failures == {}
