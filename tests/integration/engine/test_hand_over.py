"""What one provider fails for good goes to another one, as a shard of its own; nothing is asked or counted twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from tests.support.batches import chat_line
from tests.support.engine import Engine, Script, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers import wiring
from workers.core.budget import money_of, new_budget
from workers.core.errors import CallTimeout
from workers.core.messages import HttpResponse
from workers.engine.moving import Moving
from workers.store.mongo import Doc

pytestmark = pytest.mark.integration
TOML = """
[providers.first]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["m-*"]
[providers.second]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["m-*", "other-*"]
[providers.alone]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["alone-*"]
[providers.named]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["named-*"]
fallback = ["second/other-big"]
[providers.dear]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["dear-*"]
fallback = ["second/other-big"]
[prices."m-*"]
input_usd = 0
output_usd = 1_000_000
[prices."dear-*"]
input_usd = 0
output_usd = 1_000_000
"""
HURRIED = {"BATCHWRIGHT_RETRY_MAX_WAIT_S": "0.01"}


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("moves"), toml=TOML, **HURRIED) as opened:
        yield opened


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are recorded, and parcels leave, sooner than a user's do."""
    monkeypatch.setattr("workers.engine.recorder.FLUSH_EVERY_S", 0.01)
    monkeypatch.setattr("workers.engine.moving.GATHER_S", 0.05)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.02)


def prompts(name: str, count: int, *, model: str = "m-1", **body: Any) -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}", model=model, **body) for n in range(count)]


def always(response: HttpResponse) -> Script:
    async def script(_: int) -> HttpResponse:
        return response

    return script


def refusal(status: int, code: str) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps({"error": {"message": "no", "code": code}}).encode())


def no_quota() -> HttpResponse:
    return refusal(429, "insufficient_quota")


def unknown_model() -> HttpResponse:
    return refusal(404, "model_not_found")


def tries(row: Doc) -> list[tuple[str, str, str]]:
    """Provider, code and what followed, of each failed try."""
    return [(provider, code, then) for _, provider, code, _, then, *_ in row["attempts"]]


def the_child(engine: Engine, shard: str) -> Doc:
    (child,) = engine.children(shard)
    return child


def test_the_last_failure_hands_an_item_over_and_both_providers_stand_in_its_result(engine: Engine) -> None:
    async def last_is_broken(_: int) -> HttpResponse:
        body = engine.at("first").asked[-1]
        return reply(503) if body["messages"][0]["content"].endswith(" 2") else reply(text="first")

    # given a provider that fails one item of three, in every attempt
    engine.play(last_is_broken, second=always(reply(text="second")))
    batch_id, shard = engine.plan(prompts("last", 3))
    assert engine.stores.shard(shard)["provider"] == "first"
    # then its shard is done with what it has answered, and the item is a shard of the other provider's queue
    assert engine.run(shard) == "done"
    parent, child = engine.stores.shard(shard), the_child(engine, shard)
    assert (parent["counts"]["recorded"], parent["possibly_repeated"]) == (2, 0)
    assert (child["provider"], child["model"], child["size"]) == ("second", "m-1", 1)
    assert child["tried"] == ["first"] and engine.stores.state(batch_id)["status"] == "in_progress"
    # when that one answers
    assert engine.run(child["_id"]) == "done"
    rows = engine.rows(batch_id)
    assert [row["status_code"] for row in rows] == [200] * 3
    first, again = ("first", "provider_unavailable", "retry"), ("first", "provider_unavailable", "hand_over")
    assert tries(rows[2]) == [first, first, again] and rows[2]["calls"] == 4 and "attempts" not in rows[0]
    counts = engine.counts(batch_id)
    assert (counts["completed"], counts["calls"], counts["excess"]) == (3, 6, 0)
    assert (counts["possibly_repeated"], counts["handed_over"]) == (0, 1)
    assert engine.at("first").seen == 5 and engine.at("second").seen == 1
    assert engine.slots_in_use == 0


def test_who_will_not_answer_is_not_asked_a_second_time(engine: Engine) -> None:
    refusals = {
        "provider_quota_exhausted": no_quota(),
        "provider_key_refused": reply(401),
        "model_not_found": unknown_model(),
    }

    async def refuses(call: int) -> HttpResponse:
        return refusals[engine.at("first").asked[call - 1]["messages"][0]["content"]]

    engine.play(refuses, second=always_answers)
    batch_id, shard = engine.plan([chat_line(code, code, model="m-1") for code in refusals])
    assert engine.run(shard) == "done"
    assert engine.run(the_child(engine, shard)["_id"]) == "done"
    for row in engine.rows(batch_id):
        assert row["ok"] and row["calls"] == 2 and tries(row) == [("first", row["custom_id"], "hand_over")]


def test_with_nobody_else_left_an_item_ends_in_its_provider_s_own_words(engine: Engine) -> None:
    engine.play(always_answers, alone=always(reply(401)))
    batch_id, shard = engine.plan(prompts("alone", 1, model="alone-1"))
    assert engine.run(shard) == "done" and engine.children(shard) == []
    (row,) = engine.rows(batch_id)
    assert (row["status_code"], row["calls"], tries(row)) == (
        401,
        1,
        [("alone", "provider_key_refused", "give_up")],
    )
    ((_, line),) = engine.stores.results.lines(batch_id, ok=False)
    assert b"status 401" in line


def test_nobody_gets_an_item_a_second_time(engine: Engine) -> None:
    engine.play(always(reply(503)), second=always(reply(502)))
    batch_id, shard = engine.plan(prompts("ping-pong", 1))
    assert engine.run(shard) == "done"
    child = the_child(engine, shard)["_id"]
    assert engine.run(child) == "done" and engine.children(child) == []
    (row,) = engine.rows(batch_id)
    assert row["status_code"] == 502 and row["calls"] == 6
    assert [provider for provider, *_ in tries(row)] == ["first"] * 3 + ["second"] * 3
    assert tries(row)[-1][2] == "give_up"
    counts = engine.counts(batch_id)
    assert (counts["failed"], counts["calls"], counts["handed_over"]) == (1, 6, 1)


def test_a_call_of_unknown_outcome_stays_counted_when_its_item_leaves(engine: Engine) -> None:
    async def late_in_the_end(call: int) -> HttpResponse:
        if call == 3:
            raise CallTimeout("too late", bytes_sent=True)
        return reply(503)

    engine.play(late_in_the_end, second=always_answers)
    batch_id, shard = engine.plan(prompts("late", 1))
    assert engine.run(shard) == "done"
    assert engine.stores.shard(shard)["possibly_repeated"] == 1
    assert engine.run(the_child(engine, shard)["_id"]) == "done"
    (row,) = engine.rows(batch_id)
    assert [one[6] for one in row["attempts"]] == [False, False, True] and row["calls"] == 4
    counts = engine.counts(batch_id)
    assert (counts["excess"], counts["possibly_repeated"]) == (0, 1), "once, and not twice"


def test_a_fallback_is_called_by_the_name_that_the_settings_give_it(engine: Engine) -> None:
    engine.play(always(unknown_model()), second=always_answers)
    asked = [chat_line("c", "by another name", model="named-1")]
    batch_id, shard = engine.plan(asked)
    assert engine.run(shard) == "done"
    assert engine.run(the_child(engine, shard)["_id"]) == "done"
    assert engine.at("second").asked[0]["model"] == "other-big"
    assert "other-big" in engine.rows(batch_id)[0]["warnings"][0], "and the user is told"
    # Its answer is that provider's: who asks it itself has it from the cache, the failed one's own has none.
    batch_id, shard = engine.plan([chat_line("c", "by another name", model="second/other-big")])
    assert engine.run(shard) == "done" and engine.rows(batch_id)[0]["source"] == "cache"
    engine.play(always_answers)
    batch_id, shard = engine.plan(asked)
    assert engine.run(shard) == "done" and engine.rows(batch_id)[0]["source"] == "call"


def test_nobody_hands_over_where_the_settings_forbid_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, steward = engine.runtime.settings, engine.runtime.steward
    stay = wiring.elsewhere(replace(settings, breaker=replace(settings.breaker, hand_over=False)))
    monkeypatch.setattr(steward, "desk", replace(steward.desk, elsewhere=stay))
    engine.play(always(no_quota()), second=always_answers)
    batch_id, shard = engine.plan(prompts("stays", 1))
    assert engine.run(shard) == "done" and engine.children(shard) == []
    assert engine.counts(batch_id)["failed"] == 1 and engine.at("second").seen == 0


def test_equal_requests_are_answered_by_one_call_of_the_other_provider(engine: Engine) -> None:
    engine.play(always(no_quota()), second=always_answers)
    batch_id, shard = engine.plan([chat_line(f"c{n}", "equal", model="m-1") for n in range(3)])
    assert engine.run(shard) == "done"
    assert [engine.run(child["_id"]) for child in engine.children(shard)].count("done") >= 1
    counts = engine.counts(batch_id)
    assert (counts["completed"], engine.at("second").seen) == (3, 1)
    assert counts["calls"] == engine.at("first").seen + 1


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


def test_items_that_leave_together_are_one_shard(engine: Engine) -> None:
    engine.play(always(no_quota()), second=always_answers)
    batch_id, shard = engine.plan(prompts("together", 60))
    assert engine.run(shard) == "done"
    child = the_child(engine, shard)
    assert child["size"] == 60 and engine.run(child["_id"]) == "done"
    counts = engine.counts(batch_id)
    assert (counts["completed"], counts["calls"], counts["handed_over"]) == (60, 120, 60)


def test_a_shard_that_has_to_rest_sends_off_first_what_leaves_it(engine: Engine) -> None:
    async def one_waits(_: int) -> HttpResponse:
        waits = engine.at("first").asked[-1]["messages"][0]["content"].endswith(" 1")
        return reply(429, retry_after="30") if waits else no_quota()

    engine.play(one_waits, second=always_answers)
    _, shard = engine.plan(prompts("rests", 2))
    assert engine.run(shard) in ("parked: retry", "parked: paused")
    parent = engine.stores.shard(shard)
    assert parent["moved"][0]["lines"] == [1] and list(parent["attempts"]) == ["2"]
    assert the_child(engine, shard)["size"] == 1


def test_a_child_that_was_not_inserted_is_inserted_by_the_next_who_claims_the_parent(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.play(always(no_quota()), second=always_answers)
    batch_id, shard = engine.plan(prompts("half", 2))
    shards = engine.runtime.steward.stores.shards

    def dies(_: Any) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as between:
        between.setattr(shards, "insert_missing", dies)
        with pytest.raises(RuntimeError):
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
    shards, failed = engine.runtime.steward.stores.shards, []
    insert = shards.insert_missing

    def away_once(docs: Any) -> None:
        if not failed:
            failed.append(docs)
            raise AutoReconnect("away")
        insert(docs)

    monkeypatch.setattr("workers.engine.steward._PATIENCE_S", 0.01)
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


def test_nothing_stays_held_in_a_budget_after_retries_and_a_hand_over(engine: Engine) -> None:
    async def shaky(call: int) -> HttpResponse:
        return reply() if call == 1 else reply(503)

    engine.play(shaky, second=always_answers)
    batch_id, shard = engine.plan(prompts("money", 2, max_tokens=4), budget=new_budget(100.0))
    assert engine.run(shard) == "done"
    assert engine.run(the_child(engine, shard)["_id"]) == "done"
    batch = engine.stores.state(batch_id)
    money = money_of(batch["budget"])
    assert (money.spent_usd, money.in_flight_usd, money.lost_usd) == (6.0, 0.0, 0.0)
    assert batch["budget"]["holds"] == {} and batch["counts"]["cost_usd"] == 6.0


def test_under_a_ceiling_nothing_goes_to_a_model_of_unknown_price(engine: Engine) -> None:
    engine.play(always(unknown_model()), second=always_answers)
    batch_id, shard = engine.plan(
        prompts("priced", 1, model="dear-1", max_tokens=4), budget=new_budget(100.0)
    )
    assert engine.run(shard) == "done" and engine.children(shard) == []
    (row,) = engine.rows(batch_id)
    assert (row["status_code"], tries(row)[0][2]) == (404, "give_up")
