"""Room for large answers: bounded, in turn, and never a standstill."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.transport.body_room import FREE_BYTES, PIECE_BYTES, BodyRoom

pytestmark = pytest.mark.fast


@given(
    sizes=st.lists(st.integers(0, 12 * PIECE_BYTES), min_size=1, max_size=8),
    room=st.integers(0, 6),
    broken_off=st.sets(st.integers(0, 7)),
)
def test_all_come_to_their_end_and_never_more_than_the_room_and_one_body_is_held(
    sizes: list[int], room: int, broken_off: set[int]
) -> None:
    shared, held, most = BodyRoom(room * PIECE_BYTES), dict.fromkeys(range(len(sizes)), 0), [0]

    async def call(number: int, size: int) -> None:
        with shared.holding() as holding:
            for at in range(0, size + 1, PIECE_BYTES):
                await holding.cover(at)
                held[number] = holding.held_bytes - FREE_BYTES
                most[0] = max(most[0], sum(held.values()))
                await asyncio.sleep(0)
        held[number] = 0

    async def all_at_once() -> None:
        tasks = [asyncio.create_task(call(number, size)) for number, size in enumerate(sizes)]
        await asyncio.sleep(0)
        for number in broken_off & held.keys():
            tasks[number].cancel()
            held[number] = 0
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_at_once())
    assert most[0] <= room * PIECE_BYTES + max(sizes) + PIECE_BYTES


async def test_a_small_body_never_waits() -> None:
    shared = BodyRoom(0)
    with shared.holding() as large, shared.holding() as small:
        await large.cover(FREE_BYTES + 1)  # goes on beyond the room
        async with asyncio.timeout(1):
            await small.cover(FREE_BYTES)


async def test_who_waits_goes_on_when_the_call_beyond_the_room_is_over() -> None:
    shared = BodyRoom(0)
    with shared.holding() as second:
        with shared.holding() as first:
            await first.cover(PIECE_BYTES)
            waiting = asyncio.create_task(second.cover(PIECE_BYTES))
            await asyncio.sleep(0)
            assert not waiting.done()
        async with asyncio.timeout(1):
            await waiting
