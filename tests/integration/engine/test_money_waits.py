"""Nobody waits for ever for money under a ceiling: not behind a lost worker, a split, a flight or a full process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.budget import Money, money_of, new_budget
from workers.core.messages import HttpResponse
from workers.engine.slots import CallSlots
from workers.store.shard_docs import child_docs

pytestmark = [pytest.mark.integration, pytest.mark.stack]
# One dollar for each output token: a call is held at four dollars, and its answer costs three.
TOML = '[prices."sim-*"]\ninput_usd = 0\noutput_usd = 1_000_000\npriority_factor = 2\n'


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards look again, and give their slot back, after a fifth of a second instead of two."""
    monkeypatch.setattr("workers.core.rate.PARK_AFTER_S", 0.2)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.2)


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("waits"), toml=TOML) as opened:
        yield opened


def line(custom_id: str, text: str) -> bytes:
    return chat_line(custom_id, text, max_tokens=4)


async def three_tokens(_: int) -> HttpResponse:
    return reply()


def money(engine: Engine, batch_id: str) -> Money:
    return money_of(engine.stores.state(batch_id)["budget"])


def lose_a_worker_with(engine: Engine, batch_id: str, shard_id: str, in_flight_usd: float) -> None:
    """Another process takes the shard, starts calls for so much, and is never heard of again."""
    claimed = engine.stores.shards.claim(shard_id, "another", 60.0)
    assert claimed is not None
    budgets, fence = engine.runtime.stores.budgets, claimed["fence"]
    assert budgets.hold(batch_id, shard_id, fence, settled_usd=0.0, in_flight_usd=in_flight_usd).granted
    engine.take_lease_away(shard_id)


def cut(engine: Engine, parent_id: str, *parts: list[int]) -> list[str]:
    """The shard's lines as shards of their own, all free to run."""
    shards = engine.stores.shards
    moved: list[dict[str, Any]] = [
        {"child_id": f"{parent_id}.{number}", "provider": "sim", "lines": part}
        for number, part in enumerate(parts)
    ]
    parent = shards.claim(parent_id, "test", 60.0)
    assert parent is not None and shards.move_out(parent_id, parent["fence"], moved)
    shards.insert_missing(child_docs(parent, moved))
    return [part["child_id"] for part in moved]


def test_the_parts_of_a_poisonous_shard_do_not_wait_for_the_money_of_the_whole(engine: Engine) -> None:
    engine.play(three_tokens)
    batch_id, shard = engine.plan([line("a", "split a"), line("b", "split b")], budget=new_budget(10.0))
    lose_a_worker_with(engine, batch_id, shard, 8.0)
    lose_a_worker_with(engine, batch_id, shard, 1.0)
    assert engine.run(shard) == "done", "split in two"
    assert money(engine, batch_id) == Money(limit_usd=10.0, spent_usd=0.0, in_flight_usd=0.0, lost_usd=9.0)
    assert engine.run(f"{shard}.1") == "released: paused" and engine.provider.seen == 0


def test_a_shard_gives_its_worker_slot_back_when_the_money_is_in_other_hands(engine: Engine) -> None:
    engine.play(three_tokens)
    batch_id, parent = engine.plan([line("a", "lost"), line("b", "next")], budget=new_budget(6.0))
    lost, waiting = cut(engine, parent, [1], [2])
    lose_a_worker_with(engine, batch_id, lost, 4.0)
    # Were it to stay, a process full of such shards would never come to claim the lost one again.
    assert engine.run(waiting) == "parked: budget"
    assert engine.stores.state(batch_id)["paused_at"] is None
    assert engine.run(lost) == "released: paused", "what the lost worker had in flight is lost"


def test_who_waits_for_money_does_not_keep_others_from_giving_theirs_back(engine: Engine) -> None:
    links, gate = engine.runtime.links, engine.gate()
    shared = links["sim"]
    links["sim"] = replace(shared, slots=CallSlots(2))

    async def held(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(held)
    try:
        asked = [line("a", "first of two"), line("b", "both ask"), line("c", "both ask")]
        _, parent = engine.plan(asked, budget=new_budget(6.0))
        one, two = cut(engine, parent, [1, 2], [3])
        first = engine.begin_run(one)
        eventually(lambda: engine.provider.seen == 1, 5.0)
        second = engine.begin_run(two)
        eventually(lambda: len(engine.runtime.steward.desk.sharing._own) == 2, 5.0)
        gate.open()
        ends = {first.result(10.0), second.result(10.0)}
        assert ends <= {"released: paused", "parked: budget"} and "released: paused" in ends
        assert engine.provider.seen == 1
    finally:
        links["sim"] = shared


@pytest.mark.parametrize("move", ["release", "finish"])
def test_what_a_shard_holds_is_settled_before_another_lease_can_take_it_for_lost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, move: str
) -> None:
    async def second_is_refused(call: int) -> HttpResponse:
        return reply(503, retry_after="60") if move == "release" and call == 2 else reply()

    engine.play(second_is_refused)
    asked = [line(f"c{number}", f"settled {move} {number}") for number in range(2)]
    batch_id, shard = engine.plan(asked, budget=new_budget(100.0))
    shards = engine.runtime.steward.stores.shards
    before: list[Money] = []
    plain = getattr(shards, move)

    def watched(*args: Any, **options: Any) -> bool:
        before.append(money(engine, batch_id))
        return bool(plain(*args, **options))

    monkeypatch.setattr(shards, move, watched)
    engine.run(shard)
    (seen,) = before
    assert (seen.in_flight_usd, seen.spent_usd) == (0.0, 3.0 if move == "release" else 6.0)


def test_an_answer_that_nobody_can_use_is_taken_for_paid(engine: Engine) -> None:
    async def unusable(_: int) -> HttpResponse:
        return HttpResponse(200, {}, b"<html>")

    engine.play(unusable)
    asked = [line(f"c{number}", f"unusable {number}") for number in range(3)]
    _, shard = engine.plan(asked, budget=new_budget(12.0))
    assert engine.run(shard) == "released: paused"
    assert engine.provider.seen == 3, "the ceiling is passed by no second try"


def test_a_dearer_tier_that_is_asked_for_is_held_at_its_own_price(engine: Engine) -> None:
    engine.play(three_tokens)
    asked = [chat_line(f"c{n}", f"dear {n}", max_tokens=4, service_tier="priority") for n in range(2)]
    _, shard = engine.plan(asked, budget=new_budget(7.0))
    assert engine.run(shard) == "released: paused" and engine.provider.seen == 0
