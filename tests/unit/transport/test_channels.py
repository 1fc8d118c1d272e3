"""Which client a request takes, who waits, and when a client is retired."""

from __future__ import annotations

import asyncio

import pytest

from workers.core.errors import TransportError
from workers.transport.channels import RETIRE_AFTER_ABANDONED, Channels
from workers.transport.port import TransportRules


class Made:
    """Clients that were made and closed, by number."""

    def __init__(self) -> None:
        self.count = 0
        self.closed: list[int] = []

    def new(self) -> int:
        self.count += 1
        return self.count

    async def close(self, client: int) -> None:
        self.closed.append(client)


@pytest.fixture
def made() -> Made:
    return Made()


def channels_of(made: Made, *, head_start_s: float = 0.0, **rules: float) -> Channels[int]:
    """HTTP/2 channels with small limits."""
    base = {"max_connections": 2, "streams_per_connection": 2, "prior_knowledge": True, "pool_s": 0.01}
    return Channels(TransportRules(**{**base, **rules}), made.new, made.close, head_start_s)  # type: ignore[arg-type]


async def test_a_client_is_opened_when_the_others_are_full(made: Made) -> None:
    channels = channels_of(made)
    assert [(await channels.take()).client for _ in range(4)] == [1, 1, 2, 2]


async def test_the_least_loaded_client_is_taken(made: Made) -> None:
    channels = channels_of(made)
    taken = [await channels.take() for _ in range(3)]
    channels.give_back(taken[0])
    channels.give_back(taken[1])
    assert (await channels.take()).client == 1


async def test_who_finds_no_room_waits_for_it(made: Made) -> None:
    channels = channels_of(made, pool_s=5)
    taken = [await channels.take() for _ in range(4)]
    waiting = [asyncio.create_task(channels.take()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    channels.give_back(taken[0])
    channels.give_back(taken[3])
    assert {(await one).client for one in waiting} == {1, 2}


async def test_who_waits_too_long_has_sent_nothing(made: Made) -> None:
    channels = channels_of(made, max_connections=1, streams_per_connection=1)
    await channels.take()
    with pytest.raises(TransportError) as caught:
        await channels.take()
    assert not caught.value.bytes_sent
    assert channels.in_flight == 1


async def test_who_stops_waiting_leaves_the_place_to_the_next(made: Made) -> None:
    channels = channels_of(made, max_connections=1, streams_per_connection=1, pool_s=5)
    taken = await channels.take()
    first, second = [asyncio.create_task(channels.take()) for _ in range(2)]
    await asyncio.sleep(0)
    # When the first was told of the place and is cancelled before it runs.
    channels.give_back(taken)
    first.cancel()
    assert (await second).client == 1
    assert channels.in_flight == 1


async def test_a_server_of_http_1_gets_as_many_requests_as_connections(made: Made) -> None:
    channels = channels_of(made, max_connections=3, prior_knowledge=False)
    channels.give_back(first := await channels.take())
    channels.answered(first, "HTTP/1.1")
    assert [(await channels.take()).client for _ in range(3)] == [1, 1, 1]
    with pytest.raises(TransportError):
        await channels.take()


async def test_a_client_with_many_abandoned_requests_is_closed_when_it_is_empty(made: Made) -> None:
    channels = channels_of(made)
    one, other = await channels.take(), await channels.take()
    for _ in range(RETIRE_AFTER_ABANDONED):
        channels.abandon(one)
    assert (await channels.take()).client == 2
    channels.give_back(one)
    assert made.closed == []
    channels.give_back(other)
    await asyncio.sleep(0)
    assert made.closed == [1]
    assert channels.tally.retired == 1


async def test_the_first_request_of_a_client_gets_its_head_start(made: Made) -> None:
    channels = channels_of(made, head_start_s=5)
    first = await channels.take()
    second = asyncio.create_task(channels.take())
    await asyncio.sleep(0)
    assert not second.done()
    channels.answered(first, "HTTP/2")
    assert (await second).client == 1


async def test_a_head_start_ends(made: Made) -> None:
    channels = channels_of(made, head_start_s=0.01)
    await channels.take()
    assert (await channels.take()).client == 1


async def test_who_leaves_during_a_head_start_counts_no_more(made: Made) -> None:
    channels = channels_of(made, head_start_s=5)
    await channels.take()
    second = asyncio.create_task(channels.take())
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert channels.in_flight == 1
