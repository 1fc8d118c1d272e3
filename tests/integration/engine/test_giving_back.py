"""Shards that shall not run here: by an operator's word, or because their message came when the process was leaving."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.messages import HttpResponse
from workers.engine.errand import REVOKED_REST_S

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("givingback")) as opened:
        yield opened


def dispatched(engine: Engine, name: str) -> tuple[str, str]:
    """A planned batch whose one shard has been sent off."""
    batch_id, shard = engine.plan([chat_line(f"c{n}", f"{name} {n}") for n in range(5)])
    assert engine.stores.dispatches.dispatch([shard], "token") == [shard]
    return batch_id, shard


def test_a_message_that_comes_when_the_drain_has_begun_is_given_back_at_once(engine: Engine) -> None:
    engine.play(always_answers)
    batch_id, shard = dispatched(engine, "late")
    engine.runtime.steward.draining = True
    try:
        assert engine.runtime.run_shard(shard) == "draining"
    finally:
        engine.runtime.steward.draining = False
    doc = engine.stores.shard(shard)
    assert (doc["status"], doc["fence"], doc["takeovers"]) == ("queued", 0, 0)
    assert engine.runtime.run_shard(shard) == "done", "it is due"
    assert engine.counts(batch_id)["completed"] == 5


def test_a_revoked_message_leaves_its_shard_queued_for_ten_seconds_hence(engine: Engine) -> None:
    engine.play(always_answers)
    _, shard = dispatched(engine, "revoked")
    engine.runtime.giving_back.revoke(shard).result(5.0)
    doc = engine.stores.shard(shard)
    assert (doc["status"], doc["reason"]) == ("queued", "revoked")
    assert doc["next_at"] - doc["parked_at"] == timedelta(seconds=REVOKED_REST_S)
    assert engine.run(shard) == "not ours", "its message, should it still come, starts nothing"
    engine.due_now(shard)
    assert engine.run(shard) == "done"


def test_a_running_shard_is_cut_and_its_calls_are_counted_as_unknown(engine: Engine) -> None:
    gate = engine.gate()

    async def hangs_at_first(call: int) -> HttpResponse:
        if call <= 5:
            await gate.passed()
        return reply()

    engine.play(hangs_at_first)
    batch_id, shard = dispatched(engine, "cut")
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 5, 5.0)
    engine.runtime.giving_back.revoke(shard).result(5.0)
    assert running.result(5.0) == "released: revoked"
    assert engine.stores.shard(shard)["reason"] == "revoked"
    engine.due_now(shard)
    assert engine.run(shard) == "done"
    counts = engine.counts(batch_id)
    assert (counts["completed"], counts["possibly_repeated"]) == (5, 5)


def test_only_what_is_on_its_way_is_taken_back(engine: Engine) -> None:
    engine.play(always_answers)
    _, shard = dispatched(engine, "done before")
    assert engine.run(shard) == "done"
    before = engine.stores.shard(shard)
    engine.runtime.giving_back.revoke(shard).result(5.0)
    engine.runtime.giving_back.revoke("batch_unknown.000001").result(5.0)
    assert engine.stores.shard(shard) == before
    assert engine.slots_in_use == 0
