"""Answers are shared, but what an item was told, and what it has spent itself, stays with that item."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, open_engine, reply
from tests.support.servers import TestServers
from workers.core.choose import Chosen
from workers.core.history import History
from workers.core.messages import HttpResponse, Usage
from workers.core.poison import CONDEMN_AFTER
from workers.store.mongo import Doc

pytestmark = pytest.mark.integration
TOML = """
[providers.openai]
models = ["gpt-*"]
[prices."gpt-*"]
input_usd = 0
output_usd = 1_000_000
"""
WANTED = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards look again, and give their slot back, after a fifth of a second instead of two."""
    monkeypatch.setattr("workers.core.rate.PARK_AFTER_S", 0.2)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.2)


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("owns"), toml=TOML) as opened:
        yield opened


def newer_name(engine: Engine) -> str:
    chosen = engine.runtime.links["openai"].chooser.choose("/v1/chat/completions", "gpt-4", {})
    assert isinstance(chosen, Chosen) and chosen.warnings
    return chosen.model


def warnings_of(engine: Engine, batch_id: str) -> list[list[str]]:
    return [row.get("warnings", []) for row in engine.rows(batch_id)]


@pytest.mark.parametrize("old_first", [True, False])
def test_who_shares_an_answer_is_told_of_its_own_retired_name_and_of_no_other(
    engine: Engine, old_first: bool
) -> None:
    names = ["gpt-4", newer_name(engine)] if old_first else [newer_name(engine), "gpt-4"]
    text = f"shared {old_first}"
    batch_id, shard = engine.plan([chat_line(name, text, model=name) for name in names])
    assert engine.run(shard) == "done"
    assert [row["source"] for row in engine.rows(batch_id)].count("coalesced") == 1
    told = dict(zip(names, warnings_of(engine, batch_id), strict=True))
    assert len(told["gpt-4"]) == 1 and told[newer_name(engine)] == []
    again, shard = engine.plan([chat_line(name, text, model=name) for name in names])
    assert engine.run(shard) == "done"
    assert {row["source"] for row in engine.rows(again)} == {"cache"}
    assert warnings_of(engine, again) == warnings_of(engine, batch_id)


def test_what_an_item_paid_before_its_answer_came_from_the_cache_stays_in_its_result(engine: Engine) -> None:
    async def wrong_and_then_lost(call: int) -> HttpResponse:
        if call == 1:
            return reply(text="no object")
        return reply(503, retry_after="60")

    engine.play(wrong_and_then_lost)
    asked = chat_line("c", "paid before", model="gpt-4o-mini", response_format=WANTED)
    batch_id, shard = engine.plan([asked])
    assert engine.run(shard).startswith("parked")

    async def right(_: int) -> HttpResponse:
        return reply(text="{}")

    engine.play(right)
    other, other_shard = engine.plan([asked])
    assert engine.run(other_shard) == "done"
    engine.stores.db["batch_shards"].update_one({"_id": shard}, [{"$set": {"next_at": "$$NOW"}}])
    assert engine.run(shard) == "done"
    (row,) = engine.rows(batch_id)
    assert (row["source"], row["asks_again"], row["cost_usd"]) == ("cache", 1, 3.0)
    assert engine.rows(other)[0]["cost_usd"] == 3.0


def test_a_failed_try_that_was_charged_stays_in_the_result_of_the_next_one(engine: Engine) -> None:
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    failed: Doc = {"id": "r", "object": "response", "status": "failed", "model": "m", "output": []}
    failed |= {"error": {"code": "server_error", "message": "try again"}, "usage": usage}
    words = {"type": "output_text", "text": "yes", "annotations": []}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [words]}
    right = failed | {"status": "completed", "error": None, "output": [message]}

    async def second_time(call: int) -> HttpResponse:
        return HttpResponse(200, {}, json.dumps(failed if call == 1 else right).encode())

    engine.play(second_time)
    body = {"model": "gpt-4o-mini", "input": "charged"}
    asked = json.dumps({"custom_id": "c", "method": "POST", "url": "/v1/responses", "body": body}).encode()
    batch_id, shard = engine.plan([asked], endpoint="/v1/responses")
    assert engine.run(shard) == "done"
    (row,) = engine.rows(batch_id)
    assert (row["ok"], row["calls"], row["cost_usd"]) == (True, 2, 4.0)


@pytest.mark.parametrize("held", [False, True], ids=["closed from the queue", "closed by its worker"])
def test_what_an_item_paid_before_its_batch_was_cancelled_stays_in_its_closing_row(
    engine: Engine, held: bool
) -> None:
    # given an answer that was paid for and had to be asked for again
    cancelled: list[str] = []

    async def wrong_and_then_busy(call: int) -> HttpResponse:
        if call == 1:
            return reply(text="no object")
        if held:
            engine.stores.batches.cancel(cancelled[0])
            engine.runtime.steward._stop(shard, "ending")
        return reply(503, retry_after="60")

    engine.play(wrong_and_then_busy)
    line = chat_line("c", f"cancelled {held}", model="gpt-4o-mini", response_format=WANTED)
    batch_id, shard = engine.plan([line])
    cancelled.append(batch_id)
    assert engine.run(shard) == ("closed" if held else "parked: retry")
    # when
    if not held:
        assert engine.stores.batches.cancel(batch_id)
    engine.runtime.finalizer.advance(batch_id)
    # then
    (row,) = engine.rows(batch_id)
    assert (row["error"]["code"], row["asks_again"]) == ("batch_cancelled", 1)
    assert (row["calls"], row["cost_usd"], len(row["attempts"])) == (2, 3.0, 1)
    counts = engine.stores.state(batch_id)["counts"]
    assert (counts["never_ran"], counts["cost_usd"]) == (1, 3.0)


def test_an_item_that_is_given_up_with_its_workers_keeps_what_it_has_paid(engine: Engine) -> None:
    batch_id, shard = engine.plan([chat_line("c", "condemned", model="gpt-4o-mini")])
    spent = {"1": History(calls=1, asks_again=1, spent_usd=3.0, usage=Usage(5, 3)).to_doc()}
    killed = {"takeovers": CONDEMN_AFTER, "attempts": spent}
    engine.stores.db["batch_shards"].update_one({"_id": shard}, {"$set": killed})
    assert engine.run(shard) == "done"
    (row,) = engine.rows(batch_id)
    assert (row["error"]["code"], row["calls"], row["cost_usd"]) == ("worker_crash", 1, 3.0)
