"""Drains, cancels, pauses and crashes in the middle of a hand-over: every item is in one place, and goes on from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from tests.support.engine import Engine, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.hand_over import FIRST_AND_SECOND, always, hurry, no_quota, prompts, the_child, tries
from tests.support.servers import TestServers
from workers.core.messages import HttpResponse
from workers.engine.moving import Moving

pytestmark = [pytest.mark.integration, pytest.mark.stack]


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("broken"), toml=FIRST_AND_SECOND) as opened:
        yield opened


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def test_a_child_of_a_batch_that_was_paused_meanwhile_makes_no_call(engine: Engine) -> None:
    engine.play(always(no_quota()), second=always_answers)
    batch_id, shard = engine.plan(prompts("paused", 1))
    assert engine.run(shard) == "done"
    child = the_child(engine, shard)["_id"]
    assert engine.stores.batches.set_paused(batch_id, "default", paused=True)
    assert engine.run(child) == "released: paused" and engine.at("second").seen == 0
    assert engine.stores.batches.set_paused(batch_id, "default", paused=False)
    engine.stores.shards.let_go(batch_id)
    assert engine.run(child) == "done" and engine.counts(batch_id)["completed"] == 1


class Died(BaseException):
    """The process is gone: no handler of errors runs any more."""


def test_a_child_that_was_not_inserted_is_inserted_by_the_next_who_claims_the_parent(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.play(always(no_quota()), second=always_answers)
    batch_id, shard = engine.plan(prompts("half", 2))
    shards = engine.runtime.steward.stores.shards

    def dies(_: Any) -> None:
        raise Died

    with monkeypatch.context() as between:
        between.setattr(shards, "insert_missing", dies)
        with pytest.raises(Died):
            engine.run(shard)
    assert engine.children(shard) == [] and len(engine.stores.shard(shard)["moved"]) == 1
    engine.take_lease_away(shard)
    assert engine.run(shard) == "done"
    assert engine.run(the_child(engine, shard)["_id"]) == "done"
    assert engine.counts(batch_id)["completed"] == 2 and engine.at("first").seen == 2


def test_calls_under_way_survive_a_database_that_is_away_while_others_leave(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = engine.gate()

    async def one_is_slow(call: int) -> HttpResponse:
        if call == 1:
            await gate.passed()
            return reply()
        return no_quota()

    engine.play(one_is_slow, second=always_answers)
    batch_id, shard = engine.plan(prompts("away", 2))
    shards = engine.runtime.steward.stores.shards
    insert, failed = shards.insert_missing, list[Any]()

    def away_once(docs: Any) -> None:
        if not failed:
            failed.append(docs)
            raise AutoReconnect("away")
        insert(docs)

    monkeypatch.setattr("workers.engine.heartbeat._PATIENCE_S", 0.01)
    monkeypatch.setattr(shards, "insert_missing", away_once)
    running = engine.begin_run(shard)
    eventually(lambda: engine.children(shard), 5.0)
    gate.open()
    assert running.result(5.0) == "done"
    assert engine.run(the_child(engine, shard)["_id"]) == "done"
    assert engine.counts(batch_id)["possibly_repeated"] == 0 and engine.at("first").seen == 2


@pytest.mark.parametrize("how", ["drain", "cancel"])
def test_an_end_in_the_middle_of_a_hand_over_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    # given an item on its way to another provider, and one whose call is under way
    gate = engine.gate()

    async def one_is_slow(call: int) -> HttpResponse:
        if call == 1:
            await gate.passed()
            return reply()
        return no_quota()

    monkeypatch.setattr("workers.engine.moving.GATHER_S", 60.0)
    monkeypatch.setattr("workers.engine.steward.READ_FLAGS_EVERY_S", 0.01)
    engine.play(one_is_slow, second=always_answers)
    batch_id, shard = engine.plan(prompts(how, 2))
    running, steward = engine.begin_run(shard), engine.runtime.steward
    eventually(
        lambda: [active for active in steward.active.values() if active.run and active.run._lineup.moving],
        5.0,
    )
    looks = counted_looks(monkeypatch)
    # when the process is drained, or the batch cancelled
    if how == "drain":
        draining = engine.begin(steward.drain())
        eventually(lambda: steward.draining, 5.0)
    else:
        assert engine.stores.batches.cancel(batch_id)
        eventually(lambda: steward.active[shard].stop == "ending", 5.0)
    gate.open()
    # then the item is given back, and goes where it was going without another call here
    if how == "drain":
        assert running.result(5.0) == "released: drain"
        draining.result(5.0)
        steward.draining = False
        assert engine.run(shard) == "done" and engine.at("first").seen == 2
        assert engine.run(the_child(engine, shard)["_id"]) == "done"
        assert engine.counts(batch_id)["completed"] == 2
        assert tries(engine.rows(batch_id)[1])[0][2] == "hand_over"
        assert len(engine.rows(batch_id)[1]["attempts"]) == 1
    else:
        assert running.result(5.0) == "closed"
        engine.runtime.finalizer.advance(batch_id)
        batch = engine.stores.state(batch_id)
        assert batch["status"] == "cancelled"
        assert (batch["counts"]["completed"], batch["counts"]["never_ran"]) == (1, 1)
    assert len(looks) < 100, "nobody waits by looking all the time"


def counted_looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows with every look at whether a parcel should leave."""
    looks: list[None] = []
    plain = Moving.is_due

    def is_due(self: Moving) -> bool:
        looks.append(None)
        return plain(self)

    monkeypatch.setattr(Moving, "is_due", is_due)
    return looks


def test_a_moved_part_of_a_cancelled_batch_is_closed_too(engine: Engine) -> None:
    engine.play(always(no_quota()), second=always_answers)
    batch_id, shard = engine.plan(prompts("closed", 3))
    assert engine.run(shard) == "done"
    assert engine.stores.batches.cancel(batch_id)
    engine.runtime.finalizer.advance(batch_id)
    batch = engine.stores.state(batch_id)
    assert batch["status"] == "cancelled" and batch["counts"]["never_ran"] == 3
    assert the_child(engine, shard)["status"] == "closed" and engine.at("second").seen == 0
