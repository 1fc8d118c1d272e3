"""What one provider fails for good goes to another one, as a shard of its own; nothing is asked or counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, always_answers, open_engine, reply
from tests.support.hand_over import (
    FIRST_AND_SECOND,
    always,
    hurry,
    no_quota,
    prompts,
    the_child,
    tries,
    unknown_model,
)
from tests.support.servers import TestServers
from workers import wiring
from workers.core.budget import money_of, new_budget
from workers.core.errors import CallTimeout
from workers.core.messages import HttpResponse

pytestmark = [pytest.mark.integration, pytest.mark.stack]
TOML = (
    FIRST_AND_SECOND
    + """
[providers.alone]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["alone-*"]
[providers.named]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["named-*"]
fallback = ["second/other-big"]
[providers.two]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["two-*"]
fallback = ["second/other-big", "alone/alone-1"]
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
)


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("moves")
    with open_engine(servers, directory, toml=TOML, BATCHWRIGHT_RETRY_MAX_WAIT_S="0.01") as opened:
        yield opened


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


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


def test_a_paused_provider_gets_an_item_only_where_nobody_else_could_answer_it(engine: Engine) -> None:
    engine.play(always(no_quota()))
    pauses, got = engine.runtime.stores.pauses, []
    for name in ("second", "alone"):
        pauses.pause("provider", name, by="default")
        shard = engine.plan(prompts(f"paused {name}", 1, model="two-1"))[1]
        assert engine.run(shard) == "done"
        got.append(the_child(engine, shard)["provider"])
    for name in ("second", "alone"):
        pauses.resume("provider", name, by="default")
    assert got == ["alone", "second"], "it waits there; without it the item would have failed for good"


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
