"""Who waits for another process's call is woken when that ends, whenever it ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from workers.core.messages import Call, InputLine, Item
from workers.engine.coalesce import Coalescing
from workers.engine.sharing import Sharing
from workers.engine.work import Held, Work
from workers.store.flights import Claimed, Ticket

NO_LINK: Any = None  # nothing is found in the cache here, so nothing has a price


def shared_work() -> Work:
    asked = InputLine("c", "/v1/chat/completions", "m", {})
    return Work(Item(1, 0, 1), asked, Call(asked.url, "m", {}), fingerprint="f")


async def nothing(*_: Any, **__: Any) -> Any:
    return {}


async def test_a_flight_that_ends_while_we_ask_for_it_wakes_us_at_once() -> None:
    # given an owner who ends, and a channel that is read before the script's answer
    sharing, work = Sharing(), shared_work()
    again: list[Work] = []

    async def take(tickets: list[Ticket]) -> list[Claimed]:
        for ticket in tickets:
            sharing.flight_ended(ticket.key)
        return [Claimed("wait") for _ in tickets]

    shelf: Any = SimpleNamespace(take=take, find=nothing, end=nothing)
    shard = Coalescing(
        Held("b", "t", "s", 1), shelf, sharing, NO_LINK, record=lambda _: None, try_again=again.append
    )
    # when / then
    assert await shard.own([work]) == []
    assert again == [work]


async def test_an_answer_that_is_recorded_but_cannot_be_read_is_asked_for_again() -> None:
    # given
    sharing, work = Sharing(), shared_work()

    async def take(tickets: list[Ticket]) -> list[Claimed]:
        return [Claimed("see", "batch:1") for _ in tickets]

    async def unreadable(_: str) -> None:
        return None

    shelf: Any = SimpleNamespace(take=take, find=nothing, end=nothing, recorded=unreadable)
    shard = Coalescing(
        Held("b", "t", "s", 1), shelf, sharing, NO_LINK, record=lambda _: None, try_again=lambda _: None
    )
    # when / then
    assert await shard.own([work]) == [work]
    # and when its call did not end in an answer, it is its own again, and does not wait for itself
    assert await shard.own([work]) == [work] and not list(shard.waiting)
    await shard.give_up([work])
    assert sharing.owned == 0
