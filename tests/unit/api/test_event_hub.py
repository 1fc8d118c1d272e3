"""The hub with a store that is told what to say: limits, a stream that does not open, ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from pymongo.errors import OperationFailure

from app.api.counts import Counts
from app.api.errors import ApiError
from app.api.event_hub import EventHub
from app.api.event_topic import Watcher, taken
from app.api.services import Services
from config.settings import Settings
from tests.unit.api.test_event_topic import doc, shown
from workers.store.batch_watch import BatchWatch, Changed, Opened


async def yes() -> bool:
    return True


class FakeStore:
    """Batches that stand as they are put here; no stream opens while `down`."""

    def __init__(self, *, down: bool = False) -> None:
        self.docs: dict[str, dict[str, Any]] = {"batch_1": doc(0)}
        self.down = down
        self.broken: list[str] = []
        self.opened = 0
        self.tried_again = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def get(self, batch_id: str) -> dict[str, Any] | None:
        if batch_id in self.broken:
            raise RuntimeError("a bug")
        return self.docs.get(batch_id)

    def changes(self, stopped: Callable[[], bool]) -> Iterator[Opened | Changed]:
        self.opened += 1
        if self.opened == 3:
            self.loop.call_soon_threadsafe(self.tried_again.set)
        if self.down:
            raise OperationFailure("no replica set")
        yield Opened()


class FakeServices:
    """What the hub needs of them."""

    def __init__(self, streams: int, of_tenant: int) -> None:
        api = type("Api", (), {"max_streams": streams, "max_streams_per_tenant": of_tenant})
        self.settings = cast("Settings", type("S", (), {"api": api}))
        self.stopping, self.streams_ended = asyncio.Event(), asyncio.Event()

    async def run(self, call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)


class FakeCounts:
    async def shown(self, found: dict[str, Any]) -> dict[str, Any]:
        return shown(status=found["status"])


def hub_on(store: FakeStore, *, streams: int = 9, of_tenant: int = 9) -> tuple[EventHub, FakeServices]:
    services = FakeServices(streams, of_tenant)
    counts, watch = cast("Counts", FakeCounts()), cast("BatchWatch", store)
    return EventHub(cast("Services", services), counts, watch, poll_s=0.002), services


async def numbers(watcher: Watcher) -> list[int]:
    async with asyncio.timeout(5):
        return [
            event["n"] async for event in taken(watcher, until_over=True) if event and event["n"] is not None
        ]


async def test_a_tenant_and_the_server_may_have_so_many_streams_and_one_that_ends_makes_room() -> None:
    hub, services = hub_on(FakeStore(), streams=3, of_tenant=2)
    services.stopping.set()  # nothing is looked at
    first = hub.join("a", yes)
    hub.join("a", yes)
    with pytest.raises(ApiError, match="your tenant may have 2") as refused:
        hub.join("a", yes)
    assert (refused.value.status, refused.value.code) == (429, "too_many_streams")
    hub.join("b", yes)
    with pytest.raises(ApiError, match="this server may have 3"):
        hub.join("b", yes)
    hub.leave(first)
    hub.join("a", yes)


async def test_while_no_stream_opens_everything_is_looked_at_again_and_again() -> None:
    store = FakeStore(down=True)
    hub, services = hub_on(store)
    watcher = hub.join("a", yes)
    hub.follow(watcher, "batch_1", -1)
    reading = asyncio.ensure_future(numbers(watcher))
    await store.tried_again.wait()
    store.docs["batch_1"] = doc(2, "completed")
    assert await reading == [0, 1, 2]
    hub.leave(watcher)
    services.stopping.set()


async def test_all_streams_end_when_the_server_stops() -> None:
    hub, services = hub_on(FakeStore(down=True))
    watcher = hub.join("a", yes)
    hub.follow(watcher, "batch_1", 0)
    reading = asyncio.ensure_future(numbers(watcher))
    await asyncio.sleep(0)
    services.stopping.set()
    assert await reading == []
    assert watcher.ended == "stopping"
    assert not services.streams_ended.is_set()
    hub.leave(watcher)
    assert services.streams_ended.is_set()
    assert hub.join("a", yes).ended == "stopping"


async def test_those_who_watch_a_batch_that_cannot_be_read_are_sent_away() -> None:
    store = FakeStore(down=True)
    store.broken.append("batch_1")
    hub, services = hub_on(store)
    watcher = hub.join("a", yes)
    hub.follow(watcher, "batch_1", -1)
    assert await numbers(watcher) == []
    assert watcher.ended == "failed"
    hub.leave(watcher)
    services.stopping.set()


async def test_a_stream_whose_key_does_not_act_any_more_ends() -> None:
    async def no() -> bool:
        return False

    watcher = Watcher("a", no)
    async with asyncio.timeout(5):
        told = [
            each async for each in taken(watcher, until_over=False, keep_awake_s=0.001, check_every_s=0.0)
        ]
    assert (told, watcher.ended) == ([None], "revoked")


class StoreOfTwo(FakeStore):
    """Batches of two tenants have news, b's first, told with and without whose they are."""

    def going(self, _: str, __: str, ___: int) -> list[str]:
        return []

    def tenant_of(self, batch_id: str) -> str:
        return "b" if batch_id == "batch_b" else "a"

    def changes(self, stopped: Callable[[], bool]) -> Iterator[Opened | Changed]:
        yield Opened()
        yield from (Changed("batch_b", "b"), Changed("batch_b", None), Changed("batch_a", None))


async def test_who_follows_all_batches_hears_of_no_other_tenants() -> None:
    hub, services = hub_on(StoreOfTwo())
    watcher = hub.join("a", yes)
    await hub.follow_all(watcher)
    await asyncio.wait_for(watcher.awake.wait(), 5)
    assert list(watcher.following) == ["batch_a"]
    hub.leave(watcher)
    services.stopping.set()
