"""Where the items of a running shard stand, and when a parcel of them leaves."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import pytest

from workers.core.choose import Chosen
from workers.core.history import History
from workers.core.messages import Call, InputLine, Item
from workers.engine.coalesce import Coalescing
from workers.engine.lineup import Lineup
from workers.engine.moving import GATHER_S, PARCEL_ITEMS, Moving
from workers.engine.running import Running
from workers.engine.work import Work

pytestmark = pytest.mark.fast
ELSEWHERE = Chosen("other", "m")


def works(count: int) -> list[Work]:
    call = Call("/v1/chat/completions", "m", {})
    asked = InputLine("c", "/v1/chat/completions", "m", {})
    return [Work(Item(line, 0, 1), asked, call) for line in range(1, count + 1)]


def test_what_was_put_back_is_next_again_in_its_order() -> None:
    one, two, three = works(3)
    lineup = Lineup(deque([one, two, three]))
    taken = lineup.take(2)
    assert taken == [one, two] and lineup.take(5) == [three] and lineup.take(1) == []
    lineup.put_back(taken)
    assert list(lineup.todo) == [one, two]


def test_who_has_rested_is_next_and_keeps_how_long_and_why() -> None:
    one, two, three = works(3)
    lineup = Lineup(deque([three]))
    lineup.rest(two, "limit", now=10.0, wait_s=5.0)
    lineup.rest(one, "retry", now=10.0, wait_s=1.0)
    assert (lineup.next_due, lineup.first_resting) == (11.0, one)
    lineup.wake(10.9)
    assert list(lineup.todo) == [three]
    lineup.wake(11.5)
    assert list(lineup.todo) == [one, three] and one.waited_s == {"retry": 1.5}
    assert lineup.next_due == 15.0 and set(lineup.left) == {one, two, three}


def test_waits_for_one_reason_add_up() -> None:
    (one,) = works(1)
    lineup = Lineup(deque())
    for now in (0.0, 10.0):
        lineup.rest(one, "limit", now=now, wait_s=1.0)
        lineup.wake(now + 1.0)
    assert one.waited_s == {"limit": 2.0}


def test_one_place_that_comes_free_wakes_one_and_the_right_one() -> None:
    one, two, other = works(3)
    lineup = Lineup(deque())
    lineup.rest(two, "concurrency", now=0.0, wait_s=2.0)
    lineup.rest(one, "concurrency", now=0.0, wait_s=1.0)
    lineup.rest(other, "retry", now=0.0, wait_s=0.5)
    lineup.wake_first(["concurrency"], 0.25)
    assert list(lineup.todo) == [one] and lineup.resting == [two, other]
    lineup.wake_first(["breaker"], 0.25)
    assert list(lineup.todo) == [one]


def test_an_item_to_which_nothing_has_happened_has_no_history() -> None:
    (one,) = works(1)
    assert not one.history() and one.history().to_doc() == {}
    assert one.history(parked_for="limit").waiting is not None


def test_what_an_item_has_been_through_is_the_same_after_a_lease() -> None:
    one, two = works(2)
    one.attempt, one.refusals, one.unreached, one.unknown, one.calls, one.asks_again = 1, 2, 3, 1, 4, 1
    two.recall(History.from_doc(one.history().to_doc()))
    assert two.history() == one.history()


class Flights:
    """Nobody waits for anybody."""

    async def give_up(self, _: object) -> None:
        pass


class Run:
    """What a parcel looks at."""

    def __init__(self, moving: list[Work]) -> None:
        self.lineup = Lineup(deque(), moving=dict.fromkeys(moving, ELSEWHERE))
        self.stop: str | None = None
        self.park: tuple[float, str] | None = None


def moving_of(run: Run) -> Moving:
    return Moving(cast(Running, run), cast(Coalescing, Flights()))


def test_a_parcel_waits_for_more_while_there_is_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("workers.engine.moving.time", cast(Any, type("T", (), {"monotonic": lambda: now[0]})))
    first, *others = works(PARCEL_ITEMS)
    run = Run([first])
    run.lineup.todo.append(others[0])
    moving = moving_of(run)
    assert moving.next_due == 100.0 + GATHER_S and not moving.is_due()
    now[0] += GATHER_S
    assert moving.is_due(), "it is old"
    now[0] -= GATHER_S
    run.park = (60.0, "limit")
    assert moving.is_due(), "the shard is to rest"
    run.park = None
    run.lineup.moving |= dict.fromkeys(others, ELSEWHERE)
    assert moving.is_due(), "it is large"


def test_nothing_leaves_a_run_that_is_to_stop_and_nobody_looks_for_it() -> None:
    run = Run(works(1))
    moving = moving_of(run)
    assert moving.is_due(), "there is nothing else to wait for"
    run.stop = "drain"
    assert not moving.is_due() and moving.next_due is None
