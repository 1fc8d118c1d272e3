"""A tenant's batches rest before its month would cost more, and go on by themselves when they may."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.budget import money_of, month_of, new_budget
from workers.core.messages import HttpResponse
from workers.store.mongo import Doc

pytestmark = [pytest.mark.integration, pytest.mark.stack]
# One dollar for each output token: a call is held at four dollars, and its answer costs three.
TOML = '[prices."sim-*"]\ninput_usd = 0\noutput_usd = 1_000_000\n'


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("month"), toml=TOML) as opened:
        yield opened


@pytest.fixture(autouse=True)
def anew(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty month, and ceilings that are read each time."""
    monkeypatch.setattr("workers.store.accounts.CAP_FRESH_S", 0.0)
    for name in ("accounts", "usage"):
        engine.stores.db[name].delete_many({})
    # What other tests left behind at rest has cost something, too.
    engine.stores.db["batch_jobs"].update_many({}, {"$set": {"booked": True}})
    engine.play(three_tokens)
    yield
    cap(engine, None)


async def three_tokens(_: int) -> HttpResponse:
    return reply()


def cap(engine: Engine, cap_usd: float | None) -> None:
    engine.stores.tenants.ensure("default")
    tenants = engine.stores.db["tenants"]
    tenants.update_one({"_id": "default"}, {"$set": {"max_cost_usd_per_month": cap_usd}})


def lines(name: str, number: int) -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}", max_tokens=4) for n in range(number)]


def account(engine: Engine) -> Doc:
    (doc,) = engine.stores.db["accounts"].find()
    return dict(doc)


def test_batches_of_a_tenant_rest_together_and_go_on_when_the_ceiling_is_raised(engine: Engine) -> None:
    cap(engine, 20.0)
    one, first = engine.plan(lines("together", 4))
    two, second = engine.plan(lines("and then", 6))
    assert engine.run(first) == "done"
    assert engine.run(second) == "released: paused"
    resting = engine.stores.state(two)
    assert resting["pause_reason"] == "tenant_budget" and engine.provider.seen == 6
    assert money_of(account(engine)["budget"]).spent_usd == 18.0
    kinds = [event["type"] for event in account(engine)["events"]]
    assert kinds == ["tenant.budget_warning", "tenant.budget_reached"]
    sweeper = engine.runtime.sweeper
    sweeper._try_again(float("inf"))
    assert engine.run(second) == "not ours", "nothing has changed"
    cap(engine, 100.0)
    sweeper._try_again(float("inf"))
    assert engine.run(second) == "done"
    assert [engine.stores.state(each)["status"] for each in (one, two)] == ["completed"] * 2
    closed = account(engine)["budget"]
    assert closed["holds"] == {} and closed["spent_usd"] == 30.0 and closed["lost_usd"] == 0.0


def test_the_databases_clock_says_the_month_and_no_workers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cap(engine, 4.0)
    wrong = SimpleNamespace(time=lambda: 0.0, monotonic=time.monotonic)
    for module in ("workers.engine.errand.time", "workers.sweeper.time"):
        monkeypatch.setattr(module, wrong, raising=False)
    now = engine.stores.db.client.admin.command("hello")["localTime"]
    batch_id, shard = engine.plan(lines("by whose clock", 3))
    assert engine.run(shard) == "released: paused"
    assert account(engine)["month"] == month_of(now.timestamp())
    engine.runtime.sweeper._try_again(float("inf"))
    assert engine.stores.state(batch_id)["pause_reason"] == "tenant_budget", "it is the same month still"


def test_the_lower_of_two_ceilings_decides_and_neither_is_passed(engine: Engine) -> None:
    cap(engine, 13.0)
    small, shard = engine.plan(lines("small", 9), budget=new_budget(7.0))
    assert engine.run(shard) == "released: paused"
    assert engine.stores.state(small)["pause_reason"] == "budget" and engine.provider.seen == 2
    large, shard = engine.plan(lines("large", 9), budget=new_budget(100.0))
    assert engine.run(shard) == "released: paused"
    batch = engine.stores.state(large)
    assert batch["pause_reason"] == "tenant_budget" and engine.provider.seen == 4
    assert money_of(batch["budget"]).in_flight_usd == 0.0, "what the month refused is not held by the batch"
    assert money_of(account(engine)["budget"]).spent_usd == 12.0


def test_a_lost_workers_money_counts_in_its_month_and_ends_with_its_batch(engine: Engine) -> None:
    cap(engine, 50.0)
    batch_id, shard = engine.plan(lines("lost", 3))
    stores = engine.runtime.stores
    claimed = stores.shards.claim(shard, "another", 60.0)
    id_ = stores.accounts.open("default", engine.stores.state(batch_id), now_s=1_796_083_199.0)
    assert claimed is not None and id_ is not None
    stores.accounts.hold(id_, shard, claimed["fence"], settled_usd=0.0, in_flight_usd=12.0)
    engine.take_lease_away(shard)
    assert engine.run(shard) == "done"
    assert engine.stores.state(batch_id)["status"] == "completed"
    lost = stores.accounts.get(id_)
    assert lost is not None and money_of(lost["budget"]).in_flight_usd == 0.0
    assert lost["budget"]["lost_usd"] == 12.0 and lost["budget"]["holds"] == {}


def test_a_ceiling_that_is_set_while_calls_run_holds_for_those_that_have_not_begun(engine: Engine) -> None:
    gate = engine.gate()

    async def held(call: int) -> HttpResponse:
        if call == 1:
            await gate.passed()
        return reply()

    engine.play(held)
    _, shard = engine.plan(lines("late", 2))
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen >= 1, 5.0)
    cap(engine, 2.0)
    active = engine.runtime.steward.active[shard]
    eventually(lambda: active.stop == "capped", 5.0)
    gate.open()
    assert running.result(10.0) in ("done", "released: capped")


def test_a_batch_without_an_own_ceiling_needs_prices_once_its_tenant_has_one(engine: Engine) -> None:
    cap(engine, 5.0)
    line = chat_line("c", "no price", model="openai/nobody-lists-this")
    batch_id = engine.stores.batch([line])
    engine.runtime.plan(batch_id)
    assert engine.stores.state(batch_id)["errors"][0]["code"] == "unknown_price"


def test_what_a_batch_took_stands_in_the_ledger_with_what_it_saved(engine: Engine) -> None:
    _, shard = engine.plan(lines("saved", 2))
    assert engine.run(shard) == "done"
    twins = [chat_line(f"t{n}", "more 0", max_tokens=4) for n in range(2)]
    again, shard = engine.plan([*lines("saved", 2), *twins])
    assert engine.run(shard) == "done"
    counts, booked = engine.counts(again), engine.runtime.stores.ledger.get(again)
    assert (counts["cost_usd"], counts["saved_usd"], counts["saved_unpriced"]) == (3.0, 9.0, 0)
    assert booked is not None and engine.stores.state(again)["booked"] is True
    (row,) = booked["shares"]
    assert (row["provider"], row["model"]) == ("sim", "m"), "as its answers name it"
    assert (row["items"], row["calls"], row["cached"] + row["coalesced"]) == (4, 1, 3)
    assert (row["cost_usd"], row["saved_usd"]) == (3.0, 9.0)
