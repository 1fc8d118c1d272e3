"""An answer that does not match its schema is asked for again, so often and no more; warnings reach the result."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, open_engine, reply
from tests.support.servers import TestServers
from workers.core.messages import HttpResponse

pytestmark = pytest.mark.integration
SCHEMA = {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}
WANTED = {"type": "json_schema", "json_schema": {"name": "priced", "schema": SCHEMA}}
GOOD, BAD = '{"price": 1.5}', '{"price": "dear"}'


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("structured")) as opened:
        yield opened


def priced(custom_id: str, text: str) -> bytes:
    return chat_line(custom_id, text, model="gpt-4o-mini", response_format=WANTED)


def test_an_answer_beside_its_schema_is_asked_for_again_with_what_is_wrong(engine: Engine) -> None:
    async def learns(call: int) -> HttpResponse:
        return reply(text=BAD if call == 1 else GOOD)

    engine.play(learns)
    batch_id, shard = engine.plan([priced("c", "learns")])
    assert engine.run(shard) == "done"
    (row,) = engine.rows(batch_id)
    assert (row["ok"], row["calls"], row["asks_again"], row["excess"]) == (True, 2, 1, 0)
    assert row["usage"][:2] == [10, 6], "both answers were paid for"
    first, second = engine.provider.asked
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second["messages"][-2]["content"] == BAD and "$.price" in second["messages"][-1]["content"]
    (_, line) = next(engine.stores.results.lines(batch_id, ok=True))
    assert json.loads(line)["response"]["body"]["choices"][0]["message"]["content"] == GOOD


def test_an_answer_that_never_matches_fails_with_the_reply_and_the_path(engine: Engine) -> None:
    async def stubborn(_: int) -> HttpResponse:
        return reply(text=BAD)

    engine.play(stubborn)
    # The second line waits for the first one's answer, and is not asked by itself.
    batch_id, shard = engine.plan([priced("c1", "stubborn"), priced("c2", "stubborn")])
    assert engine.run(shard) == "done"
    assert engine.provider.seen == 1 + engine.runtime.settings.retry.max_asks_again
    lines = [json.loads(line) for _, line in engine.stores.results.lines(batch_id, ok=False)]
    for line in lines:
        assert line["error"]["code"] == "schema_mismatch" and "$.price" in line["error"]["message"]
        assert line["response"]["body"]["choices"][0]["message"]["content"] == BAD
    counts = engine.stores.state(batch_id)["counts"]
    assert (counts["failed"], counts["calls"], counts["asks_again"], counts["output_tokens"]) == (2, 3, 2, 18)


def test_what_never_matched_is_not_remembered(engine: Engine) -> None:
    async def mended(_: int) -> HttpResponse:
        return reply(text=GOOD)

    engine.play(mended)
    batch_id, shard = engine.plan([priced("c", "stubborn")])
    assert engine.run(shard) == "done"
    assert engine.provider.seen == 1 and engine.rows(batch_id)[0]["ok"]


def test_an_answer_that_its_cap_cut_off_is_not_asked_for_again(engine: Engine) -> None:
    async def cut_off(_: int) -> HttpResponse:
        answer = json.loads(reply(text='{"price": 1').body)
        answer["choices"][0]["finish_reason"] = "length"
        return HttpResponse(200, {}, json.dumps(answer).encode())

    engine.play(cut_off)
    batch_id, shard = engine.plan([priced("c", "cut off")])
    assert engine.run(shard) == "done"
    (row,) = engine.rows(batch_id)
    assert engine.provider.seen == 1 and row["error"]["code"] == "schema_mismatch"
    assert "output cap" in row["error"]["message"]


def test_a_task_type_fills_what_the_request_leaves_out_and_its_fields_stay_here(engine: Engine) -> None:
    engine.play(lambda _: _answer())
    options = {"task_type": "genre", "provider_options": {"top_k": 5}}
    batch_id, shard = engine.plan([chat_line("c", "defaults", model="sim-small", **options)])
    assert engine.run(shard) == "done"
    (asked,) = engine.provider.asked
    assert (asked["max_tokens"], asked["temperature"], asked["top_k"]) == (100, 0.1, 5)
    assert not {"task_type", "provider_options"} & asked.keys()
    assert engine.rows(batch_id)[0]["ok"]


def test_what_differs_in_provider_options_alone_is_another_request(engine: Engine) -> None:
    engine.play(lambda _: _answer())
    options = [{"top_k": 1}, {"top_k": 2}, {"top_k": 2}]
    lines = [chat_line(f"c{n}", "same", provider_options=each) for n, each in enumerate(options)]
    batch_id, shard = engine.plan(lines)
    assert engine.run(shard) == "done"
    assert engine.provider.seen == 2 and len(engine.rows(batch_id)) == 3


async def _answer() -> HttpResponse:
    return reply()
