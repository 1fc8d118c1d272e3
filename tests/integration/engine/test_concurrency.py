"""A provider that takes so many calls at once gets no more from anybody, and as many as it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, open_engine, reply
from tests.support.servers import TestServers
from workers.core.messages import HttpResponse

pytestmark = [pytest.mark.integration, pytest.mark.stack]
LIMIT = 3
TOML = f"""
[providers.narrow]
kind = "openai"
base_url = "http://127.0.0.1:9"
models = ["narrow-*"]
[providers.narrow.limits]
concurrency = {LIMIT}
"""


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("narrow"), toml=TOML) as opened:
        yield opened


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are recorded sooner than a user's are."""
    monkeypatch.setattr("workers.engine.recorder.FLUSH_EVERY_S", 0.01)


class Watched:
    """A provider that knows how many calls it has at once."""

    def __init__(self, takes_s: float) -> None:
        self._takes_s, self._now, self.most = takes_s, 0, 0

    async def script(self, _: int) -> HttpResponse:
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(self._takes_s)
        self._now -= 1
        return reply()


def prompts(name: str, count: int) -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}", model="narrow-1") for n in range(count)]


def test_shards_of_two_processes_have_no_more_calls_under_way_than_the_limit(engine: Engine) -> None:
    provider = Watched(0.005)
    engine.play(provider.script)
    plans = [engine.plan(prompts(f"both {n}", 4)) for n in range(3)]
    with engine.another_process() as other:
        runs = [engine.begin_run(shard) for _, shard in plans[:2]]
        runs.append(asyncio.run_coroutine_threadsafe(other.steward.run_shard(plans[2][1]), other.loop))
        assert [run.result(10.0) for run in runs] == ["done"] * 3
    assert provider.most == LIMIT and engine.provider.seen == 12
    assert [engine.counts(batch_id)["completed"] for batch_id, _ in plans] == [4] * 3
    assert engine.slots_in_use == 0


def test_a_call_that_ends_makes_room_for_the_next_one_at_once(engine: Engine) -> None:
    # Eighteen calls in threes: were each three to wait for the next look, it could never be under a second and a
    # quarter. A machine with much to do takes as long now and then, and is asked again.
    for attempt in range(5):
        provider = Watched(0.0)
        engine.play(provider.script)
        plans = [engine.plan(prompts(f"at once {attempt} {n}", 9)) for n in range(2)]
        began = time.monotonic()
        runs = [engine.begin_run(shard) for _, shard in plans]
        assert [run.result(10.0) for run in runs] == ["done"] * 2
        took_s = time.monotonic() - began
        assert provider.most == LIMIT
        waits = [row.get("waited_s", {}) for batch_id, _ in plans for row in engine.rows(batch_id)]
        assert {reason for each in waits for reason in each} == {"concurrency"}
        if took_s < 1.0:
            break
    assert took_s < 1.0
