"""A batch with a ceiling rests before its calls would cost more, and goes on when the ceiling is raised."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.budget import money_of, new_budget
from workers.core.messages import HttpResponse
from workers.engine.purse import Purse
from workers.engine.slots import CallSlots
from workers.store.shard_docs import child_docs

pytestmark = [pytest.mark.integration, pytest.mark.stack]
# One dollar for each output token: an answer of three tokens costs 3 dollars.
TOML = '[prices."sim-*"]\ninput_usd = 0\noutput_usd = 1_000_000\n'
CAP = {"max_tokens": 4}


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("money"), toml=TOML) as opened:
        yield opened


def lines(name: str, number: int, **body: Any) -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}", **(CAP | body)) for n in range(number)]


async def three_tokens(_: int) -> HttpResponse:
    return reply()


def spent_usd(engine: Engine, batch_id: str) -> float:
    return float(sum(row["cost_usd"] for row in engine.rows(batch_id)))


def test_it_rests_before_the_ceiling_and_says_why(engine: Engine) -> None:
    engine.play(three_tokens)
    batch_id, shard = engine.plan(lines("rests", 20), budget=new_budget(20.0))
    assert engine.run(shard) == "released: paused"
    batch = engine.stores.state(batch_id)
    assert batch["pause_reason"] == "budget" and batch["status"] == "in_progress"
    # Calls are held at four dollars and cost three: at 18 there is no room for another four.
    assert spent_usd(engine, batch_id) == 18.0 and engine.provider.seen == 6
    assert money_of(batch["budget"]).spent_usd == 18.0 and money_of(batch["budget"]).in_flight_usd == 0.0
    assert engine.run(shard) == "not ours", "until somebody raises it"


def test_a_raised_ceiling_lets_it_go_on_to_its_end(engine: Engine) -> None:
    engine.play(three_tokens)
    batch_id, shard = engine.plan(lines("raised", 8), budget=new_budget(10.0))
    assert engine.run(shard) == "released: paused"
    done = len(engine.rows(batch_id))
    budgets = engine.runtime.stores.budgets
    assert budgets.raise_limit(batch_id, "default", 100.0)
    assert engine.stores.batches.set_paused(batch_id, "default", paused=False)
    engine.stores.shards.let_go(batch_id)
    assert engine.run(shard) == "done"
    assert len(engine.rows(batch_id)) == 8 and engine.provider.seen == 8 and 0 < done < 8
    batch = engine.stores.state(batch_id)
    assert batch["status"] == "completed" and batch["counts"]["cost_usd"] == 24.0
    assert batch["budget"]["holds"] == {} and batch["budget"]["spent_usd"] == 24.0


def in_parts(
    engine: Engine, name: str, number: int, *, budget: dict[str, Any], parts: int
) -> tuple[str, list[str]]:
    """A batch whose one shard has been cut into several, all free to run."""
    batch_id, parent_id = engine.plan(lines(name, number), budget=budget)
    shards, size = engine.runtime.stores.shards, number // parts
    moved: list[dict[str, Any]] = [
        {
            "child_id": f"{parent_id}.{part}",
            "provider": "sim",
            "lines": list(range(part * size + 1, part * size + size + 1)),
        }
        for part in range(parts)
    ]
    parent = shards.claim(parent_id, "test", 60.0)
    assert parent is not None and shards.move_out(parent_id, parent["fence"], moved)
    shards.insert_missing(child_docs(parent, moved))
    return batch_id, [part["child_id"] for part in moved]


def test_two_shards_at_once_stay_under_one_ceiling(engine: Engine) -> None:
    engine.play(three_tokens)
    batch_id, children = in_parts(engine, "two", 60, budget=new_budget(40.0), parts=2)
    runs = [engine.begin_run(child) for child in children]
    assert {run.result(10.0) for run in runs} <= {"released: paused"}
    assert 36.0 <= spent_usd(engine, batch_id) <= 40.0


def test_answers_from_the_cache_cost_nothing_and_need_no_money(engine: Engine) -> None:
    engine.play(three_tokens)
    _, shard = engine.plan(lines("known", 5))
    assert engine.run(shard) == "done"
    second, shard = engine.plan(lines("known", 5), budget=new_budget(0.5))
    assert engine.run(shard) == "done"
    assert spent_usd(engine, second) == 0.0 and engine.stores.state(second)["status"] == "completed"


def test_requests_without_a_cap_that_answer_at_length_are_learned_from(engine: Engine) -> None:
    async def long(_: int) -> HttpResponse:
        return reply(usage={"prompt_tokens": 5, "completion_tokens": 2048})

    engine.play(long)
    batch_id, shard = engine.plan(
        [chat_line(f"c{n}", f"long {n}") for n in range(30)], budget=new_budget(20_480.0)
    )
    assert engine.run(shard) == "released: paused"
    # The first chunk is held at 1,024 tokens a call: twenty calls at most, of twice as much.
    assert spent_usd(engine, batch_id) <= 2 * 20_480.0
    assert engine.run(shard) == "not ours"


def test_a_lost_worker_s_money_in_flight_is_not_given_out_again(engine: Engine) -> None:
    gate = engine.gate()

    async def held(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(held)
    batch_id, shard = engine.plan(lines("lost", 4), budget=new_budget(20.0))
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 4, 5.0)
    engine.take_lease_away(shard)
    budgets = engine.runtime.stores.budgets
    claimed = engine.runtime.stores.shards.claim(shard, "another", 60.0)
    assert claimed is not None
    room = budgets.hold(batch_id, shard, claimed["fence"], settled_usd=0.0, in_flight_usd=16.0)
    assert not room.granted and room.free_usd == 4.0
    gate.open()
    engine.renew_leases()
    assert running.result(10.0) == "lease lost"


def test_a_model_of_unknown_price_is_refused_under_a_ceiling(engine: Engine) -> None:
    line = chat_line("c", "no price", model="openai/nobody-lists-this")
    batch_id = engine.stores.batch([line], budget=new_budget(1.0))
    engine.runtime.plan(batch_id)
    batch = engine.stores.state(batch_id)
    assert batch["status"] == "failed" and batch["errors"][0]["code"] == "unknown_price"


def test_shards_that_share_one_call_slot_all_come_to_rest_at_the_ceiling(engine: Engine) -> None:
    links = engine.runtime.links
    shared = links["sim"]
    links["sim"] = replace(shared, slots=CallSlots(1))
    try:
        engine.play(three_tokens)
        batch_id, children = in_parts(engine, "slots", 60, budget=new_budget(20.0), parts=4)
        runs = [engine.begin_run(child) for child in children]
        assert {run.result(10.0) for run in runs} == {"released: paused"}
        assert 17.0 <= spent_usd(engine, batch_id) <= 20.0
    finally:
        links["sim"] = shared


def test_it_does_not_rest_while_its_own_calls_end_between_two_looks(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten dollars are held for calls that cost three: room comes free in the moment that the shard looks again."""
    settle = Purse.settle

    async def settled_late(self: Purse) -> None:
        while self.in_flight_usd:  # noqa: ASYNC110  the purse has no event to wait for
            await asyncio.sleep(0)  # every call under way ends before the decision
        await settle(self)

    monkeypatch.setattr(Purse, "settle", settled_late)
    engine.play(three_tokens)
    batch_id, shard = engine.plan(lines("late", 10, max_tokens=10), budget=new_budget(40.0))
    assert engine.run(shard) == "done"
    assert spent_usd(engine, batch_id) == 30.0
