"""Who makes a call for all dies, at each of its steps: one follows, all have the answer, none waits for long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.batches import chat_line
from tests.support.dying import How, Process, mortal
from tests.support.engine import Engine, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.identity import shard_id
from workers.core.messages import HttpResponse
from workers.runtime import Runtime

pytestmark = [pytest.mark.integration, pytest.mark.stack]
# The law: waiters have their answer within two seconds, even where nobody tells them.
WAIT_S = 2.0


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("owners")
    with open_engine(servers, directory, BATCHWRIGHT_SHARD_MAX_ITEMS="1") as opened:
        yield opened


@pytest.fixture(scope="module")
def another(engine: Engine) -> Iterator[Runtime]:
    with engine.another_process() as runtime:
        yield runtime


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engine.recorder.FLUSH_EVERY_S", 0.01)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.05)


@dataclass
class Question:
    """One question in three shards: the first is asked by a process that will die, the others wait for it."""

    engine: Engine
    another: Runtime
    text: str

    def __post_init__(self) -> None:
        self.answers = threading.Event()
        self.engine.play(self._script)
        lines = [chat_line(f"c{n}", self.text) for n in range(3)]
        self.batch_id, self.owners_shard = self.engine.plan(lines)

    async def _script(self, call: int) -> HttpResponse:
        if call == 1:
            await asyncio.to_thread(self.answers.wait, 10.0)
        return reply()

    def is_asked(self, owner: Process) -> None:
        """The owner's call is under way, and both the others know that it is."""
        engine, another = self.engine, self.another
        owner.begin(owner.runtime.steward.run_shard(self.owners_shard))
        eventually(lambda: engine.provider.seen == 1, 5.0)
        second, third = (shard_id(self.batch_id, seq) for seq in (2, 3))
        self.waiters = [
            engine.begin_run(second),
            asyncio.run_coroutine_threadsafe(another.steward.run_shard(third), another.loop),
        ]
        eventually(lambda: engine.runtime.sharing._remote and another.sharing._remote, 5.0)

    def flight_runs_out(self) -> None:
        """The time is over for which a dead owner's flight stands."""

        async def run_out() -> None:
            control = self.engine.runtime._control
            for key in await control.keys("flight:*"):
                await control.pexpire(key, 1)

        self.engine.begin(run_out()).result(5.0)

    def all_have_the_answer(self, *, calls: int) -> None:
        """Those who waited now, and the dead one's shard in the hands of somebody else."""
        assert [waiter.result(WAIT_S) for waiter in self.waiters] == ["done", "done"]
        assert self.engine.provider.seen == calls
        self.engine.take_lease_away(self.owners_shard)
        assert self.engine.run(self.owners_shard) == "done"
        counts = self.engine.counts(self.batch_id)
        assert self.engine.provider.seen == calls, "nobody asks once more"
        assert counts["completed"] == 3 and calls - 1 <= counts["possibly_repeated"] <= 1


@pytest.mark.parametrize(
    ("step", "how", "calls"),
    [
        ("redis.keep_answers", "before", 2),
        ("redis.keep_answers", "after", 1),
        ("redis.end_flights", "after", 1),
        ("batch_results.insert_many", "after", 1),
    ],
)
def test_whatever_the_owner_does_last_exactly_one_follows_and_only_if_the_answer_is_lost(
    engine: Engine, another: Runtime, step: str, how: How, calls: int
) -> None:
    question = Question(engine, another, f"{step} {how}")
    with mortal(engine) as owner:
        question.is_asked(owner)
        owner.life.ends_at(step, how)
        question.answers.set()
        owner.life.over.result(5.0)
    question.flight_runs_out()
    question.all_have_the_answer(calls=calls)


def test_an_owner_killed_in_its_call_is_followed_by_exactly_one(engine: Engine, another: Runtime) -> None:
    question = Question(engine, another, "killed in its call")
    with mortal(engine) as owner:
        question.is_asked(owner)
        owner.life.end()
        question.answers.set()
    question.flight_runs_out()
    question.all_have_the_answer(calls=2)


def test_a_wake_up_that_is_lost_costs_the_waiters_no_more_than_their_next_look(
    engine: Engine, another: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.store.flights.FLIGHTS_CHANNEL", "where nobody listens")
    question = Question(engine, another, "lost wake-up")
    with mortal(engine) as owner:
        question.is_asked(owner)
        question.answers.set()
        assert [waiter.result(WAIT_S) for waiter in question.waiters] == ["done", "done"]
        eventually(lambda: engine.stores.state(question.batch_id)["status"] == "completed", 5.0)
    assert engine.provider.seen == 1
