"""A model that fails again and again is left alone by all shards; its items wait for it and lose no attempt."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, Script, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.errors import Overloaded, TransportError, Untranslatable
from workers.core.lanes import Ask, NotNow, Verdict
from workers.core.messages import HttpResponse
from workers.engine.ports import Link
from workers.engine.work import Failed
from workers.store import keys

pytestmark = [pytest.mark.integration, pytest.mark.stack]
FAILURES = 4
TOML = """
[providers.first]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["m-*"]
[providers.second]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["m-*"]
"""


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(
        servers,
        tmp_path_factory.mktemp("breaker"),
        toml=TOML,
        BATCHWRIGHT_RETRY_MAX_WAIT_S="0.01",
        BATCHWRIGHT_BREAKER_FAILURES=str(FAILURES),
        BATCHWRIGHT_BREAKER_OPEN_S="30",
    ) as opened:
        yield opened


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are recorded and shards give their place back sooner than a user's do."""
    monkeypatch.setattr("workers.engine.recorder.FLUSH_EVERY_S", 0.01)
    monkeypatch.setattr("workers.core.rate.PARK_AFTER_S", 0.2)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.02)


def prompts(name: str, count: int, *, model: str = "sim-small") -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}", model=model) for n in range(count)]


async def broken(_: int) -> HttpResponse:
    return reply(503)


def test_a_broken_model_is_left_alone_then_asked_once_and_then_answers_everything(engine: Engine) -> None:
    gate, together = engine.gate(), engine.gate()

    async def mends(call: int) -> HttpResponse:
        if call <= FAILURES:
            # One that failed before the others were asked would be asked again, and be the answer's first.
            if call == FAILURES:
                together.open()
            await together.passed()
            return reply(503)
        await gate.passed()
        return reply()

    # given two shards whose items fail together as often as the breaker allows
    engine.play(mends)
    plans = [engine.plan(prompts(f"mends {n}", FAILURES // 2)) for n in range(2)]
    shards = [shard for _, shard in plans]
    runs = [engine.begin_run(shard) for shard in shards]
    assert [run.result(5.0) for run in runs] == ["parked: breaker"] * 2
    # then each item has failed once, and waits; nothing more is asked
    for shard in shards:
        doc = engine.stores.shard(shard)
        assert doc["reason"] == "breaker" and [each["counts"][0] for each in doc["attempts"].values()] == [
            1,
            1,
        ]
        engine.due_now(shard)
    assert engine.run(shards[0]) == "parked: breaker" and engine.provider.seen == FAILURES
    # when its time is over, one call tries and the others wait for what comes of it
    engine.begin(end_the_rest(engine)).result(5.0)
    engine.due_now(shards[0])
    probing = engine.begin_run(shards[0])
    eventually(lambda: engine.provider.seen == FAILURES + 1, 5.0)
    assert engine.run(shards[1]) == "parked: breaker" and engine.provider.seen == FAILURES + 1
    # when it answers, everything goes on
    gate.open()
    assert probing.result(5.0) in ("parked: breaker", "done")
    for batch_id, shard in plans:
        engine.due_now(shard)
        assert engine.run(shard) in ("done", "not ours")
        counts = engine.counts(batch_id)
        assert (counts["completed"], counts["calls"], counts["excess"]) == (2, 4, 0)
        for row in engine.rows(batch_id):
            assert row["waited_s"]["breaker"] > 0 and len(row["attempts"]) == 1
    assert engine.provider.seen == 2 * FAILURES and engine.slots_in_use == 0


async def end_the_rest(engine: Engine) -> None:
    """The time for which the simulator's model is left alone is over now."""
    control, lanes = engine.runtime._control, keys.lanes("sim")
    kept = await control.hget(lanes, "sim-small")
    assert kept is not None
    state = json.loads(kept)
    state["breaker"]["open_till_ms"] = 1
    await control.hset(lanes, "sim-small", json.dumps(state))


async def failed(engine: Engine, link: Link, error: Overloaded | TransportError | Untranslatable) -> None:
    limits = engine.runtime.limiting
    await limits.reserve(link, [Ask("sim-small", 1)], "default")
    limits.ended(link, "sim-small", "default")
    limits.saw(link, "sim-small", Failed(error, 0.0), 1, "default")


def test_whoever_asks_after_a_failure_is_told_with_it_in_mind(engine: Engine) -> None:
    engine.play(always_answers)
    link, limits = engine.runtime.links["sim"], engine.runtime.limiting

    async def ask() -> list[Verdict]:
        for _ in range(FAILURES):
            await failed(engine, link, Overloaded("503", provider="sim"))
        return await limits.reserve(link, [Ask("sim-small", 1)], "default")

    (verdict,) = engine.begin(ask()).result(5.0)
    assert isinstance(verdict, NotNow) and verdict.why == "breaker"


def test_a_failed_probe_is_the_only_one_of_its_turn(engine: Engine) -> None:
    engine.play(broken)
    _, shard = engine.plan(prompts("stays broken", 2 * FAILURES))
    assert engine.run(shard) == "parked: breaker"
    before = engine.provider.seen
    assert before == 2 * FAILURES
    engine.begin(end_the_rest(engine)).result(5.0)
    engine.due_now(shard)
    assert engine.run(shard) == "parked: breaker"
    assert engine.provider.seen == before + 1


def test_where_another_provider_has_the_model_nobody_waits_for_the_breaker(engine: Engine) -> None:
    engine.play(broken, second=always_answers)
    batch_id, shard = engine.plan(prompts("elsewhere", 2 * FAILURES, model="m-1"))
    assert engine.run(shard) == "done"
    children = [child["_id"] for child in engine.children(shard)]
    assert [engine.run(child) for child in children] == ["done"] * len(children)
    counts = engine.counts(batch_id)
    assert (counts["completed"], counts["handed_over"]) == (2 * FAILURES, 2 * FAILURES)
    assert counts["calls"] == engine.at("first").seen + 2 * FAILURES
    lasts = [row["attempts"][-1] for row in engine.rows(batch_id)]
    assert {(last[1], last[2], last[4]) for last in lasts} == {("first", "breaker_open", "hand_over")}


def test_a_breaker_sends_nothing_to_a_provider_that_is_paused(engine: Engine) -> None:
    engine.play(broken, second=always_answers)
    pauses = engine.runtime.stores.pauses
    pauses.pause("provider", "second", by="default")
    try:
        _, shard = engine.plan(prompts("paused", 2 * FAILURES, model="m-1"))
        assert engine.run(shard) == "parked: breaker" and engine.children(shard) == []
    finally:
        pauses.resume("provider", "second", by="default")


def unreachable_until(opened: list[bool]) -> Script:
    async def script(_: int) -> HttpResponse:
        if not opened:
            raise TransportError("connection refused", bytes_sent=False)
        return reply()

    return script


def test_a_provider_that_cannot_be_reached_uses_up_no_attempt_and_no_call(engine: Engine) -> None:
    opened: list[bool] = []
    engine.play(unreachable_until(opened))
    batch_id, shard = engine.plan(prompts("unreachable", 2))
    for _ in range(2):
        assert engine.run(shard) in ("parked: breaker", "parked: retry")
        engine.due_now(shard)
        engine.begin(engine._forget_limits()).result(5.0)
    tried = engine.provider.seen
    assert tried > 2 * engine.runtime.settings.retry.max_attempts
    opened.append(True)
    assert engine.run(shard) == "done"
    rows = engine.rows(batch_id)
    assert [(row["ok"], row["calls"], row["excess"]) for row in rows] == [(True, 1, 0)] * 2
    assert {one[2] for row in rows for one in row["attempts"]} == {"connection_failed"}
    counts = engine.counts(batch_id)
    assert (counts["calls"], counts["excess"], counts["possibly_repeated"]) == (2, 0, 0)
