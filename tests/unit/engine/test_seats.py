"""Celery's threads and the shards that sit on them: a shard may go on without its thread, and is not lost by it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from workers.engine.seats import WENT_ON, Seats

pytestmark = pytest.mark.fast


def seats(threads: int) -> Seats:
    return Seats(threads, lambda shard_id: shard_id[0], lambda shard_id: RECORDED[shard_id])


# What the shards of a test have recorded; nothing by itself.
RECORDED = Counter[str]()


def standing(row: Seats) -> tuple[bool, int]:
    return row.full, row.room


async def until(gate: asyncio.Event, fault: BaseException | None = None) -> str:
    await gate.wait()
    if fault:
        raise fault
    return "done"


async def test_a_thread_waits_until_its_shard_has_ended() -> None:
    row, gate = seats(2), asyncio.Event()
    first = asyncio.create_task(row.sit("a1", until(gate)))
    await asyncio.sleep(0)
    assert row.seated() == {"a": ["a1"]} and not row.full
    gate.set()
    assert await first == "done"
    assert row.seated() == {} and row.taken == 0


async def test_a_shard_that_leaves_its_thread_goes_on_and_the_thread_is_free() -> None:
    # given
    row, gate, ended = seats(1), asyncio.Event(), asyncio.Event()

    async def run() -> str:
        await until(gate)
        ended.set()
        return "done"

    first = asyncio.create_task(row.sit("a1", run()))
    await asyncio.sleep(0)
    assert standing(row) == (True, 1)
    # when
    row.leave(["a1"])
    # then no second one may do the same before it has ended
    assert await first == WENT_ON
    assert standing(row) == (False, 0)
    gate.set()
    await ended.wait()
    await asyncio.sleep(0)
    assert standing(row) == (False, 1)


@pytest.mark.parametrize("left", [True, False])
async def test_a_fault_is_heard_of_by_the_thread_or_stands_in_the_log(
    left: bool, caplog: pytest.LogCaptureFixture
) -> None:
    row, gate = seats(1), asyncio.Event()
    first = asyncio.create_task(row.sit("a1", until(gate, ValueError("broken"))))
    await asyncio.sleep(0)
    if left:
        row.leave(["a1"])
        assert await first == WENT_ON
    gate.set()
    with caplog.at_level(logging.ERROR):
        if left:
            for _ in range(3):  # the run wakes, ends, and is looked at
                await asyncio.sleep(0)
        else:
            with pytest.raises(ValueError, match="broken"):
                await first
    assert ("the run of shard a1 broke" in caplog.text) == left


async def test_a_shard_is_idle_once_nothing_has_come_to_it_for_a_while() -> None:
    row, gate = seats(2), asyncio.Event()
    runs = [asyncio.create_task(row.sit(name, until(gate))) for name in ("a1", "b1")]
    await asyncio.sleep(0)
    assert row.idle(0.0, 2.0) == set()
    RECORDED["b1"] += 1
    assert row.idle(1.0, 2.0) == set()
    assert row.idle(2.0, 2.0) == {"a1"}
    assert row.idle(3.0, 2.0) == {"a1", "b1"}
    gate.set()
    assert await asyncio.gather(*runs) == ["done", "done"] and row.idle(9.0, 2.0) == set()
