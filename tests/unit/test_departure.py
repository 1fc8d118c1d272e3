"""How a process ends: as a stop from outside would, with a limit, and at once for whoever asks again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from workers.departure import AFTER_DRAIN_S, Departure

pytestmark = pytest.mark.fast


@pytest.fixture
def sigterms() -> Iterator[list[int]]:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


class Company:
    """A steward with one running shard, and beats; `order` is what was done in which order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.slots, self.draining, self.gone = 8, False, asyncio.Event()
        self.active = {"s1": Mock(run=Mock(cut=self._cut)), "claimed": Mock(run=None)}

    async def beat(self) -> None:
        self.order.append(f"beat with {self.slots} slots, draining {self.draining}")

    async def drain(self) -> None:
        await self.gone.wait()
        self.order.append("drained")

    def _cut(self) -> None:
        self.order.append("cut")
        self.gone.set()


async def test_asked_once_it_drains_and_asked_again_it_cuts_the_calls() -> None:
    company: Any = Company()
    departure = Departure(company, company, asyncio.get_running_loop(), grace_s=3600.0)
    departure.drain_soon()
    for _ in range(3):
        await asyncio.sleep(0)
    assert company.order == ["beat with 0 slots, draining True"]
    departure.drain_soon()
    departure.hurry()
    async with asyncio.timeout(5.0):
        await company.gone.wait()
    await asyncio.sleep(0)
    assert company.order[1:] == ["cut", "drained"], "once"


async def test_running_shards_hear_of_the_stop_although_the_database_hangs() -> None:
    company: Any = Company()
    company.beat = asyncio.Event().wait
    company.gone.set()
    Departure(company, company, asyncio.get_running_loop(), grace_s=3600.0).drain_soon()
    for _ in range(5):
        await asyncio.sleep(0)
    assert company.order == ["drained"]


async def test_to_start_again_it_sends_itself_what_a_stop_sends_and_will_not_wait_for_ever(
    sigterms: list[int],
) -> None:
    loop: Any = Mock()
    departure = Departure(Mock(), Mock(), loop, grace_s=25.0)
    departure.start_again()
    assert sigterms == [signal.SIGTERM]
    assert departure.comes_back
    assert loop.call_later.call_args[0][0] == 25.0 + AFTER_DRAIN_S
