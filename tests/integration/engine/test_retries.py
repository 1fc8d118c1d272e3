"""Further tries: when they come, what they cost, what of them is kept, and how they end when all else breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, Script, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.history import History
from workers.core.lanes import Ask, NotNow, Verdict
from workers.core.messages import HttpResponse
from workers.core.retry import GiveUp, NextStep, Retry, after_failure
from workers.engine.lineup import Lineup
from workers.engine.ports import Link
from workers.engine.slots import CallSlots
from workers.store.mongo import Doc

pytestmark = pytest.mark.integration
PAUSE_S = 0.15
# A pause is the whole provider's; a model that has refused alone would rest longer.
MODELS = ("sim-small", "sim-large", "sim-huge")
# One call every tenth of a second.
TOML = """
[providers.paced]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["paced-*"]
[providers.paced.limits]
requests_per_minute = 600
"""


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("retries")
    with open_engine(servers, directory, toml=TOML, BATCHWRIGHT_RETRY_MAX_WAIT_S="0.01") as opened:
        yield opened


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are recorded and shards give their place back sooner than a user's do."""
    monkeypatch.setattr("workers.engine.recorder.FLUSH_EVERY_S", 0.01)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.02)


def prompts(name: str, count: int, *, model: str = "sim-small") -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}", model=model) for n in range(count)]


def pausing(times_s: list[float], asked_s: float) -> Script:
    """Refuses the first call and asks for a wait; notes when each call comes."""

    async def script(call: int) -> HttpResponse:
        times_s.append(time.monotonic())
        return reply(429, retry_after_ms=f"{asked_s * 1000:.0f}") if call == 1 else reply()

    return script


class call_slots:  # noqa: N801 - used like a function
    """So many call slots at the simulator for a while."""

    def __init__(self, engine: Engine, total: int) -> None:
        self._links, self._slots = engine.runtime.links, CallSlots(total)

    def __enter__(self) -> None:
        self._before = self._links["sim"].slots
        self._links["sim"] = replace(self._links["sim"], slots=self._slots)

    def __exit__(self, *_: object) -> None:
        self._links["sim"] = replace(self._links["sim"], slots=self._before)


def test_a_call_that_was_granted_for_later_hears_of_a_pause_that_comes_meanwhile(engine: Engine) -> None:
    times_s: list[float] = []
    engine.play(pausing(times_s, PAUSE_S))
    _, shard = engine.plan([chat_line(f"c{n}", "granted", model=f"paced-{n}") for n in range(3)])
    running = engine.begin_run(shard)
    eventually(lambda: len(times_s) == 3, 5.0)
    assert all(time_s - times_s[0] >= PAUSE_S for time_s in times_s[1:]), times_s
    engine.begin(drained(engine, shard)).result(5.0)  # the first one rests for longer
    assert running.result(5.0) == "released: drain"


async def drained(engine: Engine, shard: str) -> None:
    engine.runtime.steward._stop(shard, "drain")


def test_after_a_retry_after_no_shard_calls_before_its_end_and_the_rest_holds_no_slot(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s: list[float] = []
    gate, shards = engine.gate(), engine.runtime.steward.stores.shards
    refuses, plain = pausing(times_s, PAUSE_S), shards.set_started

    async def late(call: int) -> HttpResponse:
        if call == 1:
            await gate.passed()
        return await refuses(call)

    def announced(id_: str, fence: int, started: int, attempts: Any = None) -> bool:
        if id_ == plans[1][1] and not times_s:  # its call is granted: now the first one's is refused
            gate.open()
            limits, link = engine.runtime.limiting, engine.runtime.links["sim"]
            eventually(lambda: limits.is_paused(link), 5.0)
        return plain(id_, fence, started, attempts)

    # given a shard whose call is refused when another one's is just about to start
    engine.play(late)
    plans = [engine.plan(prompts("pause", 1, model=model)) for model in MODELS]
    monkeypatch.setattr(shards, "set_started", announced)
    runs = [engine.begin_run(plans[0][1])]
    eventually(lambda: engine.provider.seen == 1, 5.0)
    runs.append(engine.begin_run(plans[1][1]))
    eventually(lambda: times_s, 5.0)
    # when a third one asks
    runs.append(engine.begin_run(plans[2][1]))
    eventually(lambda: engine.slots_in_use == 0, 5.0)
    assert [run.result(5.0) for run in runs] == ["done"] * 3
    # then nobody called before the end of the wait, and the items say what they waited for
    assert len(times_s) == 4 and all(time_s - times_s[0] >= PAUSE_S for time_s in times_s[1:]), times_s
    waits = [engine.rows(batch_id)[0]["waited_s"] for batch_id, _ in plans]
    assert waits[0]["retry"] >= PAUSE_S and waits[1]["paused"] > 0 and waits[2]["paused"] > 0


def test_a_wait_goes_on_while_its_shard_is_parked_and_is_kept_as_one(engine: Engine) -> None:
    engine.play(pausing([], 30.0))
    batch_id, shard = engine.plan(prompts("parked", 2))
    with call_slots(engine, 1):
        assert engine.run(shard) in ("parked: retry", "parked: paused")
    doc = engine.stores.shard(shard)
    waits = {line: History.from_doc(each).waiting for line, each in doc["attempts"].items()}
    assert waits["1"] is not None and waits["1"][0] == "retry"
    # when its time is over, on whatever machine
    since_s = 20.0
    at = time.time() - since_s
    doc["attempts"]["1"]["waiting"] = ["retry", at]
    engine.stores.db["batch_shards"].update_one({"_id": shard}, {"$set": {"attempts": doc["attempts"]}})
    engine.due_now(shard)
    engine.begin(forgotten(engine)).result(5.0)
    assert engine.run(shard) == "done"
    row = engine.rows(batch_id)[0]
    assert since_s <= row["waited_s"]["retry"] < since_s + 5.0
    assert [(one[2], one[4]) for one in row["attempts"]] == [("rate_limited", "retry")] and row["calls"] == 2


async def forgotten(engine: Engine) -> None:
    """The pause is over for everybody."""
    await engine._forget_limits()
    engine.runtime.limiting._providers.clear()


def stops(engine: Engine, shard: list[str], *, refused: int) -> Script:
    """Refuses that many calls, and drains the shard while the first one is under way."""

    async def script(call: int) -> HttpResponse:
        if call == 1:
            engine.runtime.steward._stop(shard[0], "drain")
        return reply(503) if call <= refused else reply()

    return script


def test_attempts_survive_a_drain_that_comes_while_their_failure_is_being_judged(engine: Engine) -> None:
    shard: list[str] = []
    engine.play(stops(engine, shard, refused=3))
    batch_id, one = engine.plan(prompts("judged", 2))
    shard.append(one)
    with call_slots(engine, 1):
        assert engine.run(one) == "released: drain"
    # then only the item that has failed is written down
    doc = engine.stores.shard(one)
    assert list(doc["attempts"]) == ["1"] and (doc["possibly_repeated"], doc["started"]) == (0, 0)
    # and it has two attempts left of its three
    assert engine.run(one) == "done"
    rows = engine.rows(batch_id)
    assert [(row["status_code"], row["calls"]) for row in rows] in (
        [(503, 3), (200, 1)],
        [(200, 3), (200, 2)],
    )
    assert len(rows[0]["attempts"]) + len(rows[1].get("attempts", [])) == 3
    assert "attempts" not in rows[1] or rows[1]["calls"] == 2


def test_how_often_and_how_soon_is_the_core_s_word(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    rests, plain = list[float](), Lineup.rest
    steps: list[NextStep] = [Retry(0.01), Retry(0.02), GiveUp("enough")]

    def rest(self: Lineup, work: Any, why: str, *, now: float, wait_s: float) -> None:
        rests.append(wait_s)
        plain(self, work, why, now=now, wait_s=wait_s)

    def said(*_: Any, **__: Any) -> NextStep:
        return steps.pop(0)

    monkeypatch.setattr(Lineup, "rest", rest)
    monkeypatch.setattr("workers.engine.again.after_failure", said)
    engine.play(always_fails)
    batch_id, shard = engine.plan(prompts("said", 1))
    assert engine.run(shard) == "done"
    (row,) = engine.rows(batch_id)
    assert row["calls"] == 3 and [one for one in rests if one in (0.01, 0.02)] == [0.01, 0.02]
    assert [(one[4], one[5]) for one in row["attempts"]] == [
        ("retry", 0.01),
        ("retry", 0.02),
        ("give_up", 0.0),
    ]


async def always_fails(_: int) -> HttpResponse:
    return reply(503)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_bug_in_what_follows_a_failure_ends_its_item_and_nothing_else(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    judged: list[Doc] = []

    def breaks(error: Any, **about: Any) -> NextStep:
        judged.append(about)
        if len(judged) == failures:
            raise RuntimeError("a bug")
        return after_failure(error, **about)

    async def first_item_fails(call: int) -> HttpResponse:
        body = engine.provider.asked[call - 1]
        return reply(503) if body["messages"][0]["content"].endswith(" 0") else reply()

    monkeypatch.setattr("workers.engine.again.after_failure", breaks)
    engine.play(first_item_fails)
    batch_id, shard = engine.plan(prompts(f"bug {failures}", 2))
    assert engine.run(shard) == "done"
    rows = engine.rows(batch_id)
    assert rows[0]["error"]["code"] == "internal_error" and rows[0]["calls"] == failures and rows[1]["ok"]
    assert engine.slots_in_use == 0 and engine.counts(batch_id)["failed"] == 1


def test_a_shard_that_was_taken_away_stops_at_its_next_call(engine: Engine) -> None:
    async def taken(call: int) -> HttpResponse:
        if call == 1:
            await asyncio.to_thread(engine.take_lease_away, shard)
        return reply(503) if call == 1 else reply()

    engine.play(taken)
    _, shard = engine.plan(prompts("taken", 1))
    assert engine.run(shard) == "lease lost", "and no heartbeat had to say so"
    assert engine.provider.seen == 1
    engine.play(always_answers)
    assert engine.run(shard) == "done"


def test_a_shard_whose_items_only_rest_gives_its_slot_back_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given two equal lines, the second waiting for the first, and a provider that asks for a minute
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 60.0)

    async def busy(_: int) -> HttpResponse:
        return reply(429, retry_after="60")

    engine.play(busy)
    _, shard = engine.plan([chat_line("a", "the same"), chat_line("b", "the same")])
    # when / then: long before anything else would look again
    assert engine.run(shard).startswith("parked: ")


def test_a_limit_that_is_used_up_for_an_hour_is_asked_again_within_seconds(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a limit that one huge estimate has used up, and that its true usage will soon give back
    async def used_up(_: Any, asks: list[Ask], __: str) -> list[Verdict]:
        return [NotNow("limit", 3600.0)] * len(asks)

    engine.play(always_answers)
    _, shard = engine.plan(prompts("behind a huge one", 2))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(engine.runtime.limiting, "reserve", used_up)
        assert engine.run(shard) == "parked: limit"
    # then
    doc = engine.stores.shard(shard)
    assert (doc["next_at"] - doc["parked_at"]).total_seconds() <= 10.0
    engine.due_now(shard)
    assert engine.run(shard) == "done"


def test_a_model_that_rests_does_not_keep_the_other_models_of_its_shard_waiting(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a shard whose first chunk is all of a model that rests
    limiting = engine.runtime.limiting
    reserve = limiting.reserve

    async def one_rests(link: Link, asks: list[Ask], tenant: str) -> list[Verdict]:
        if any(ask.model == "sim-large" for ask in asks):
            return [NotNow("paused", 30.0, lane=True)] * len(asks)
        return await reserve(link, asks, tenant)

    monkeypatch.setattr(limiting, "reserve", one_rests)
    monkeypatch.setattr("workers.engine.feeder.CHUNK_ITEMS", 2)
    engine.play(always_answers)
    lines = [*prompts("rests", 2, model="sim-large"), chat_line("other", "answered", model="sim-small")]
    batch_id, shard = engine.plan(lines)
    # when / then
    assert engine.run(shard) == "parked: model_paused"
    assert not engine.stores.dispatches.waits_for_its_limit("sim"), "nor its provider's other shards"
    assert [row["custom_id"] for row in engine.rows(batch_id)] == ["other"]
