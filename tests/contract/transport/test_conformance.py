"""What every transport promises about a server that does its worst. Paths are in tests/support/hostile_h2.py.

Connections as such are in test_connections.py, bodies that are read while they come in test_streaming.py.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.transport.conftest import FULL, OK, SOON_S, Memory, Opens, end, to, works
from tests.support.hostile import Hostile
from workers.core.errors import BodyTooLarge, CallTimeout, TransportError
from workers.transport.choice import Wanted

MEGABYTE = 1 << 20


async def test_an_answer_comes_as_it_was_sent(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        answer = await transport_to(port).send(to("/twice"), deadline_s=SOON_S)
    assert (answer.status, answer.body) == (200, OK)
    assert answer.headers["x-twice"] == "one, two"


async def test_a_request_arrives_as_it_was_meant(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        heard = (await transport_to(port).send(to("/echo", b"x" * 200_000), deadline_s=SOON_S)).body.decode()
    assert '":method": "POST"' in heard
    assert '"content-type": "application/json"' in heard
    assert '"content-length": "200000"' in heard
    assert '"user-agent": "batchwright"' in heard
    assert all(coding in heard for coding in ("gzip", "br", "zstd"))


@pytest.mark.parametrize("path", ["/hang", "/stuck-body"])
async def test_slow_streams_harm_no_neighbour(hostile: Hostile, transport_to: Opens, path: str) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        # Given streams of one connection that wait, each asked for when the one before was on its way.
        stuck = []
        for n in range(3):
            stuck.append(asyncio.create_task(transport.send(to(path), deadline_s=2 * SOON_S)))
            await port.saw(path, n + 1)
        # Then others pass at once, and the slow ones end well when the server answers.
        assert all([await works(transport) for _ in range(10)])
        assert not any(one.done() for one in stuck)
        port.release()
        async with asyncio.timeout(SOON_S):
            assert [(await one).status for one in stuck] == [200] * 3
        assert port.seen["connections"] == 1


async def test_a_deadline_is_kept_and_harms_no_neighbour(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        slow = asyncio.create_task(transport.send(to("/hang"), deadline_s=SOON_S))
        await port.saw("/hang")
        with pytest.raises(CallTimeout) as caught:
            await transport.send(to("/hang"), deadline_s=0.05)
        assert caught.value.bytes_sent
        port.release()
        assert (await slow).status == 200


async def test_a_request_out_of_time_is_reset_on_the_wire(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        assert await works(transport)
        with pytest.raises(CallTimeout):
            await transport.send(to("/hang"), deadline_s=0.1)
        await port.saw("resets")


async def test_a_cancelled_request_is_reset_on_the_wire(
    hostile: Hostile, transport_to: Opens, client: Wanted
) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        assert await works(transport)
        # pyreqwest resets it when its time is over, and not before.
        deadline_s = 60 if client == "httpx" else 0.3
        cancelled = asyncio.create_task(transport.send(to("/hang"), deadline_s=deadline_s))
        await port.saw("/hang")
        await end([cancelled])
        await port.saw("resets")


async def test_300_requests_out_of_time_leave_the_client_working(
    hostile: Hostile, transport_to: Opens
) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        tries = [transport.send(to("/hang"), deadline_s=0.2) for _ in range(300 if FULL else 150)]
        assert {type(one) for one in await asyncio.gather(*tries, return_exceptions=True)} == {CallTimeout}
        assert await works(transport)


async def test_300_cancelled_requests_leave_the_client_working(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        for n in range(3):
            tasks = [asyncio.create_task(transport.send(to("/hang"), deadline_s=60)) for _ in range(100)]
            await port.saw("/hang", (n + 1) * 100)
            await end(tasks)
            # Nobody waits for the dead: on a machine with nothing else to do it is back within a second.
            assert await works(transport, 1.0 if FULL else SOON_S)
        assert transport.stats().in_flight == 0


async def test_a_few_cancelled_requests_do_not_cost_the_others_their_connection(
    hostile: Hostile, transport_to: Opens
) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        stays = asyncio.create_task(transport.send(to("/hang"), deadline_s=60))
        leave = [asyncio.create_task(transport.send(to("/hang"), deadline_s=60)) for _ in range(40)]
        await port.saw("/hang", 41)
        await end(leave)
        port.release()
        assert (await stays).status == 200
        assert transport.stats().retired == 1


async def test_a_goaway_below_a_stream_was_never_worked_on(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        with pytest.raises(TransportError) as caught:
            await transport.send(to("/goaway-below"), deadline_s=SOON_S)
        assert not caught.value.bytes_sent
        assert await works(transport)


@pytest.mark.parametrize("path", ["/goaway-at", "/goaway-mid-body"])
async def test_what_a_goaway_lets_end_ends_well(hostile: Hostile, transport_to: Opens, path: str) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        answer = await transport.send(to(path), deadline_s=SOON_S)
        assert answer.body == (OK if path == "/goaway-at" else b"first part second part")
        assert await works(transport)
        assert port.seen[path] == 1


async def test_a_goaway_spares_the_streams_before_it(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        before = asyncio.create_task(transport.send(to("/hang"), deadline_s=SOON_S))
        await port.saw("/hang")
        refused = asyncio.create_task(transport.send(to("/goaway-below-open"), deadline_s=SOON_S))
        with pytest.raises(TransportError):
            await refused
        assert await works(transport)
        port.release()
        assert (await before).status == 200


async def test_a_refused_stream_was_never_worked_on(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        with pytest.raises(TransportError) as caught:
            await transport.send(to("/refused"), deadline_s=SOON_S)
        assert not caught.value.bytes_sent
        assert await works(transport)


@pytest.mark.parametrize(
    "path",
    [
        "/reset",
        "/close",
        "/close-mid-headers",
        "/close-mid-body",
        "/error-mid-body",
        "/goodbye-mid-body",
        "/cancel-mid-body",
        "/no-error-mid-body",
    ],
)
async def test_a_broken_connection_may_have_been_worked_on(
    hostile: Hostile, transport_to: Opens, path: str
) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        with pytest.raises(TransportError) as caught:
            await transport.send(to(path), deadline_s=SOON_S)
        assert type(caught.value) is TransportError
        assert caught.value.bytes_sent
        assert port.seen[path] == 1
        assert await works(transport)


async def test_a_server_that_allows_one_stream_gets_one_at_a_time(
    hostile: Hostile, transport_to: Opens
) -> None:
    with hostile.port("h2", max_streams=1) as port:
        transport = transport_to(port)
        assert await works(transport)
        assert all(await asyncio.gather(*(works(transport) for _ in range(40))))
        assert port.seen["connections"] == 1


async def test_a_server_that_names_no_limit_gets_many_at_a_time(
    hostile: Hostile, transport_to: Opens
) -> None:
    with hostile.port("h2", max_streams=None) as port:
        transport = transport_to(port)
        tasks = [asyncio.create_task(transport.send(to("/hang"), deadline_s=SOON_S)) for _ in range(30)]
        await port.saw("/hang", 30)
        port.release()
        assert {(await task).status for task in tasks} == {200}


@pytest.mark.parametrize("path", ["/big", "/big-announced", "/bomb-gzip", "/bomb-br", "/bomb-zstd"])
async def test_a_gigabyte_is_cut_at_the_bound(hostile: Hostile, transport_to: Opens, path: str) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port, max_body_bytes=(64 if FULL else 2) * MEGABYTE)
        assert await works(transport)
        memory = Memory()
        with pytest.raises(BodyTooLarge):
            await transport.send(to(path), deadline_s=SOON_S)
        # The body so far, read once or twice over, and the windows of the connection.
        assert memory.grown() < (192 if FULL else 32) * MEGABYTE
        assert await works(transport)
        assert port.seen["body_bytes"] < (96 if FULL else 24) * MEGABYTE


async def test_a_body_of_the_bound_passes(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        assert await works(transport_to(port, max_body_bytes=len(OK)))
        with pytest.raises(BodyTooLarge):
            await works(transport_to(port, max_body_bytes=len(OK) - 1))


async def test_redirects_are_not_followed_and_cookies_not_kept(hostile: Hostile, transport_to: Opens) -> None:
    with hostile.port("h2") as port:
        transport = transport_to(port)
        answer = await transport.send(to("/redirect"), deadline_s=SOON_S)
        assert (answer.status, answer.headers["location"], answer.body) == (302, "/ok", b"")
        heard = await transport.send(to("/echo"), deadline_s=SOON_S)
        assert b"cookie" not in heard.body
        assert port.seen["/ok"] == 0


async def test_a_header_that_cannot_be_sent_is_refused_without_its_words(
    hostile: Hostile, transport_to: Opens
) -> None:
    with hostile.port("h2") as port:
        request = to("/ok")
        request = type(request)("POST", "/ok", {"authorization": "Bearer secret\nsecret"}, b"{}")
        with pytest.raises(TransportError) as caught:
            await transport_to(port).send(request, deadline_s=SOON_S)
        assert not caught.value.bytes_sent
        assert "secret" not in str(caught.value)
