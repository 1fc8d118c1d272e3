"""Settings that change under a running engine: limits and keys count from the next call on, wrong ones not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from config.secret import Secret
from config.settings import Limits, Settings, load_settings
from tests.support.batches import chat_line
from tests.support.engine import RUN_S, Engine, ScriptedTransport, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.identity import shard_id
from workers.core.messages import HttpRequest, HttpResponse
from workers.reloading import Reloading
from workers.store.reloads import Answer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("reloading"), BATCHWRIGHT_CACHE_ENABLED="0") as opened:
        yield opened


@pytest.fixture(autouse=True)
def as_before(engine: Engine) -> Iterator[None]:
    settings = engine.runtime.settings
    engine.play(always_answers)
    yield
    reloaded(engine, settings)


@dataclass(slots=True)
class Keyed(ScriptedTransport):
    """A provider that remembers the keys it was called with."""

    keys: list[str] = field(default_factory=list)

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        self.keys.append(request.headers["authorization"])
        return await ScriptedTransport.send(self, request, deadline_s=deadline_s)


def reloaded(engine: Engine, settings: Settings) -> Answer:
    """What the worker says to settings that were changed to these."""
    engine.runtime.reloading.load = lambda: settings
    return engine.begin(engine.runtime.reloading.reload()).result(RUN_S)


def openai_with(engine: Engine, **changes: Any) -> Settings:
    settings = engine.runtime.settings
    found = [replace(one, **changes) if one.name == "openai" else one for one in settings.providers]
    return replace(settings, providers=tuple(found))


def planned(engine: Engine, name: str, count: int) -> str:
    lines = [chat_line(f"c{n}", f"{name} {n}", model="gpt-4o-mini") for n in range(count)]
    batch_id = engine.stores.batch(lines)
    engine.runtime.plan(batch_id)
    return shard_id(batch_id, 1)


def test_a_limit_that_is_raised_under_load_counts_from_the_next_call_on(engine: Engine) -> None:
    gate = engine.gate()

    async def waits(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(waits)
    lowered = reloaded(engine, openai_with(engine, limits=Limits(concurrency=1)))
    running = engine.begin_run(planned(engine, "raised", 4))
    eventually(lambda: engine.provider.seen == 1, 5.0)

    raised = reloaded(engine, openai_with(engine, limits=Limits(concurrency=4, requests_per_minute=60_000)))

    eventually(lambda: engine.provider.seen == 4, 5.0)  # and none of them has ended
    gate.open()
    assert running.result(RUN_S) == "done"
    assert lowered.changed == ("openai: concurrency none -> 1",)
    assert raised.changed == ("openai: requests_per_minute none -> 60000", "openai: concurrency 1 -> 4")
    assert engine.runtime.dispatcher.rates["openai"].concurrency == 4


def test_a_key_that_was_rotated_is_used_by_the_next_call_and_the_one_under_way_goes_on(
    engine: Engine,
) -> None:
    gate = engine.gate()

    async def first_waits(number: int) -> HttpResponse:
        if number == 1:
            await gate.passed()
        return reply()

    keyed = Keyed(first_waits)
    before = engine.runtime.links["openai"]
    engine.runtime.links["openai"] = replace(before, transport=keyed)
    try:
        running = engine.begin_run(planned(engine, "key", 1))
        eventually(lambda: keyed.keys, 5.0)
        answer = reloaded(engine, openai_with(engine, api_key=Secret("sk-rotated")))
        assert engine.run(planned(engine, "key again", 1)) == "done"
        gate.open()
        assert running.result(RUN_S) == "done"
    finally:
        engine.runtime.links["openai"] = before
    assert keyed.keys == ["Bearer sk-test", "Bearer sk-rotated"]
    assert answer.changed == ("openai: api_key changed",)


def test_models_that_are_taken_away_are_planned_no_more(engine: Engine) -> None:
    reloaded(engine, openai_with(engine, models=("another",)))
    batch_id = engine.stores.batch([chat_line("c", "x", model="gpt-4o-mini")])
    assert engine.runtime.plan(batch_id) == "1 problems"


def test_a_file_that_cannot_be_read_changes_nothing_and_the_answer_says_why(
    engine: Engine, tmp_path: Path
) -> None:
    wrong, settings = tmp_path / "batchwright.toml", engine.runtime.settings
    wrong.write_text('[providers.openai.limits]\nrequests_per_minute = "many"\n', encoding="utf-8")
    link = engine.runtime.links["openai"]
    rates, key = link.rates, link.api_key()
    engine.runtime.reloading.load = lambda: load_settings({}, config_file=wrong)

    answer = engine.begin(engine.runtime.reloading.reload()).result(RUN_S)

    assert answer.error is not None and "requests_per_minute" in answer.error and answer.changed == ()
    assert engine.runtime.settings is settings
    assert (link.rates, link.api_key()) == (rates, key)


def test_a_reload_that_breaks_inside_us_leaves_the_worker_as_it_was(engine: Engine) -> None:
    settings = engine.runtime.settings
    engine.runtime.reloading.load = lambda: 1 // 0  # type: ignore[assignment, return-value]
    answer = engine.begin(engine.runtime.reloading.reload()).result(RUN_S)
    assert answer.error == "ZeroDivisionError; its log says more"
    assert engine.runtime.settings is settings


def test_a_worker_hears_through_the_database_that_settings_are_to_be_read_and_answers_once(
    engine: Engine,
) -> None:
    reloading, store = engine.runtime.reloading, engine.runtime.stores.reloads
    reads: list[int] = []
    new = openai_with(engine, limits=Limits(concurrency=7))

    def load() -> Settings:
        reads.append(1)
        return new

    reloading.load = load
    engine.begin(reloading.look()).result(RUN_S)
    generation = store.ask()

    engine.begin(reloading.look()).result(RUN_S)
    engine.begin(reloading.look()).result(RUN_S)

    assert len(reads) == 1
    assert store.answers(generation) == [Answer(engine.runtime.owner, ["openai: concurrency none -> 7"], [])]


def test_a_worker_that_was_starting_while_somebody_asked_reads_and_answers_too(engine: Engine) -> None:
    store = engine.runtime.stores.reloads
    generation = store.ask()
    new = openai_with(engine, limits=Limits(concurrency=5))
    starting = Reloading(engine.runtime, lambda: new)

    engine.begin(starting.look()).result(RUN_S)

    assert Answer(engine.runtime.owner, ["openai: concurrency none -> 5"], []) in store.answers(generation)


def test_a_signal_to_a_worker_that_has_stopped_breaks_nothing(engine: Engine) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    Reloading(Mock(loop=loop), engine.runtime.reloading.load).soon()
