"""Servers that refuse and providers that answer oddly: every item ends, and ends as what it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, always_answers, open_engine, refusing, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.messages import Call, HttpResponse, Reply, Usage
from workers.providers.openai import OpenAI

pytestmark = [pytest.mark.integration, pytest.mark.stack]


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("odd")) as opened:
        yield opened


def test_a_database_that_refuses_every_result_holds_the_batch_up_until_it_takes_them(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.play(always_answers)
    batch_id, shard = engine.plan([chat_line(f"c{n}", f"refused {n}") for n in range(20)])
    with refusing(engine.stores, "batch_results", {"_id": {"$exists": True}}):
        running = engine.begin_run(shard)
        # The recorder says so when it has been refused and is about to ask again.
        eventually(lambda: "workers.engine.recorder" in [entry.name for entry in caplog.records], 5.0)
        assert engine.runtime.finalizer.advance(batch_id) == "in_progress"
        assert not running.done() and engine.rows(batch_id) == []
        assert engine.stores.shard(shard)["counts"]["recorded"] == 0
    assert running.result(5.0) == "done"
    batch = engine.stores.state(batch_id)
    assert (batch["status"], batch["counts"]["completed"]) == ("completed", 20)
    assert [row["ok"] for row in engine.rows(batch_id)] == [True] * 20, "answers, no errors in their place"
    assert engine.provider.seen == 20, "and none was asked for twice"


def test_more_cached_tokens_than_input_give_an_unknown_price(engine: Engine) -> None:
    async def contradictory(_: int) -> HttpResponse:
        return reply(
            usage={
                "prompt_tokens": 1,
                "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 5},
            }
        )

    engine.play(contradictory)
    batch_id, shard = engine.plan([chat_line("c", "contradictory", model="gpt-4o-mini")])
    assert engine.run(shard) == "done"
    (row,) = engine.rows(batch_id)
    assert row["ok"] and row["cost_usd"] is None
    counts = engine.stores.state(batch_id)["counts"]
    assert (counts["completed"], counts["unpriced"]) == (1, 1)


class CountsInWords(OpenAI):
    """An adapter with a bug: its answers pass, and break whoever adds their tokens up."""

    def parse_response(self, call: Call, response: HttpResponse) -> Reply:
        wrong = Usage(input_tokens="five")  # type: ignore[arg-type]
        return replace(super().parse_response(call, response), usage=wrong)


def test_what_breaks_while_an_answer_is_handled_ends_as_internal_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = engine.runtime.links
    monkeypatch.setitem(links, "sim", replace(links["sim"], adapter=CountsInWords("sim")))
    engine.play(always_answers)
    # The second line waits for the first one's answer, which it may not share.
    batch_id, shard = engine.plan([chat_line("c1", "broken"), chat_line("c2", "broken")])
    assert engine.run(shard) == "done"
    rows = engine.rows(batch_id)
    assert [(row["ok"], row["error"]["code"], row["calls"]) for row in rows] == [
        (False, "internal_error", 1)
    ] * 2
    batch = engine.stores.state(batch_id)
    assert (batch["status"], batch["counts"]["failed"]) == ("completed", 2)
    assert engine.slots_in_use == 0


def test_a_key_that_a_server_repeats_in_its_refusal_reaches_no_error_file(engine: Engine) -> None:
    async def repeats(_: int) -> HttpResponse:
        return HttpResponse(401, {}, b'{"error": {"message": "wrong key: sk-test", "type": "auth"}}')

    engine.play(repeats)
    batch_id, shard = engine.plan([chat_line("c", "repeats", model="openai/gpt-4o-mini")])
    assert engine.run(shard) == "done"
    (_, line) = next(engine.stores.results.lines(batch_id, ok=False))
    assert b"sk-test" not in line and b"wrong key: [key]" in line


def test_refusals_for_rate_do_not_use_up_the_attempts_of_a_later_fault(engine: Engine) -> None:
    async def shaky(call: int) -> HttpResponse:
        if call <= 2:
            return reply(429, retry_after_ms="20")
        return reply(503) if call <= 4 else reply()

    assert engine.runtime.settings.retry.max_attempts == 3
    engine.play(shaky)
    batch_id, shard = engine.plan([chat_line("c", "shaky")])
    assert engine.run(shard) == "done"
    (row,) = engine.rows(batch_id)
    assert (row["status_code"], row["calls"], row["excess"]) == (200, 5, 0)
