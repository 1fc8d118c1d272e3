"""What every transport promises about its connections: made, kept, shared, counted."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from tests.contract.transport.conftest import FULL, OK, SOON_S, Opens, end, to, works, works_again
from tests.support.hostile import Hostile, Speaks
from workers.core.errors import CallTimeout, TransportError
from workers.transport.choice import Wanted, transport_for
from workers.transport.port import TransportRules


@pytest.mark.parametrize("speaks", ["h2", "h1"])
async def test_a_connection_closed_while_idle_is_not_used_again(
    hostile: Hostile, transport_to: Opens, client: Wanted, speaks: Speaks
) -> None:
    with hostile.port(speaks) as port:
        transport = transport_to(port)
        assert await works(transport)
        port.cut()
        await port.saw("closed")
        # httpx looks before it sends; pyreqwest's thread needs a moment to see it.
        assert await (works if client == "httpx" else works_again)(transport)


async def test_connections_are_used_again(hostile: Hostile, transport_to: Opens) -> None:
    requests = 10_000 if FULL else 600
    with hostile.port("h2") as port:
        transport = transport_to(port)
        left = iter(range(requests))

        async def worker() -> None:
            for _ in left:
                assert await works(transport)

        await asyncio.gather(*(worker() for _ in range(256)))
        assert port.seen["requests"] == requests
        assert port.seen["connections"] <= 8


async def test_tls_agrees_on_http2_with_a_private_authority(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("tls-h2") as port:
        transport = transport_to(port)
        assert all(await asyncio.gather(*(works(transport) for _ in range(20))))
        assert transport.stats().protocols == {"HTTP/2": 20}
        assert port.seen["connections"] == 1


async def test_an_authority_that_nobody_named_is_not_trusted(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("tls-h2") as port:
        with pytest.raises(TransportError) as caught:
            await works(transport_to(port, ca_file=None))
        assert not caught.value.bytes_sent
        assert port.seen["requests"] == 0


async def test_nothing_is_sent_where_nobody_answers_the_knock(client: Wanted) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, contextlib.ExitStack() as knocks:
        # Linux takes one more than the backlog, and leaves the next one without an answer.
        for _ in range(2):
            knock = knocks.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        transport = transport_for(url, TransportRules(connect_s=0.1, prior_knowledge=True), client)
        with pytest.raises(TransportError) as caught:
            await works(transport)
        await transport.close()
    assert type(caught.value) is TransportError
    assert not caught.value.bytes_sent


@pytest.mark.parametrize("speaks", ["h1", "tls-h1"])
async def test_servers_of_http_1_are_spoken_to_in_it(
    hostile: Hostile, transport_to: Opens, speaks: Speaks
) -> None:
    with hostile.port(speaks) as port:
        transport = transport_to(port, max_connections=4)
        assert await works(transport)
        tasks = [asyncio.create_task(transport.send(to("/hang"), deadline_s=SOON_S)) for _ in range(12)]
        for n in (4, 8, 12):
            await port.saw("/hang", n)
            assert port.seen["/hang"] == n  # no more at once than there may be connections
            port.release()
        assert {(await task).status for task in tasks} == {200}
        assert transport.stats().protocols == {"HTTP/1.1": 13}


@pytest.mark.parametrize("path", ["/garbage", "/close", "/close-mid-headers", "/close-mid-body"])
async def test_a_broken_http_1_answer_may_have_been_worked_on(
    hostile: Hostile, transport_to: Opens, path: str
) -> None:
    with hostile.port("h1") as port:
        transport = transport_to(port)
        with pytest.raises(TransportError) as caught:
            await transport.send(to(path), deadline_s=SOON_S)
        assert caught.value.bytes_sent
        assert port.seen[path] == 1
        assert await works(transport)


async def test_when_all_connections_stay_busy_nothing_is_sent(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h1") as port:
        transport = transport_to(port, max_connections=1, pool_s=0.05)
        busy = asyncio.create_task(transport.send(to("/hang"), deadline_s=SOON_S))
        await port.saw("/hang")
        with pytest.raises(TransportError) as caught:
            await works(transport)
        assert not caught.value.bytes_sent
        port.release()
        assert (await busy).status == 200
        assert await works(transport)


async def test_nothing_is_sent_where_nobody_listens(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
    with pytest.raises(TransportError) as caught:
        await works(transport)
    assert not caught.value.bytes_sent


async def test_a_proxy_of_the_environment_is_used_unless_excepted(
    hostile: Hostile, client: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hostile.port("h1") as port:
        monkeypatch.setenv("http_proxy", port.url)
        for excepted, arrives in (("10.0.0.0/8, other.invalid", True), ("invalid", False)):
            monkeypatch.setenv("no_proxy", excepted)
            transport = transport_for("http://provider.invalid", TransportRules(), client)
            try:
                assert await works(transport) == arrives
            except TransportError:
                assert not arrives
            finally:
                await transport.close()
        assert port.seen["/ok"] == 1


async def test_statistics_are_true(hostile: Hostile, transport_to: Opens, client: str) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        for _ in range(3):
            await works(transport)
        with pytest.raises(CallTimeout):
            await transport.send(to("/hang", b"12345"), deadline_s=0.05)
        with pytest.raises(TransportError):
            await transport.send(to("/reset"), deadline_s=SOON_S)
        cancelled = asyncio.create_task(transport.send(to("/hang"), deadline_s=SOON_S))
        await port.saw("/hang", 2)
        assert transport.stats().in_flight == 1
        await end([cancelled])
        stats = transport.stats()
        assert (stats.client, stats.in_flight, stats.requests) == (client, 0, 6)
        assert stats.protocols == {"HTTP/2": 3}
        assert stats.failures == {"CallTimeout": 1, "TransportError": 1, "cancelled": 1}
        assert (stats.bytes_sent, stats.bytes_received) == (3 * len(b"{}"), 3 * len(OK))
        known = {"httpx": (1, port.seen["connections"]), "pyreqwest": (None, None)}[client]
        assert (stats.connections, stats.connections_opened) == known
        await transport.close()
        assert transport.stats().connections in (0, None)


@pytest.mark.parametrize("speaks", ["h2", "h1"])
async def test_garbage_after_an_answer_spoils_nothing(
    hostile: Hostile, transport_to: Opens, speaks: Speaks
) -> None:
    with hostile.port(speaks) as port:
        transport = transport_to(port)
        for _ in range(2):
            assert (await transport.send(to("/trailing-garbage"), deadline_s=SOON_S)).body == OK
            assert await works_again(transport)
