"""Let a worker die at a step of something it does, let a healthy one go on, and look at what came of it.

    steps = died_at(engine, CASES["split"], 3, "after")     # None: it has lived to the end of the action
    number = dies_everywhere(engine, CASES["split"], "after")

What it does stands in death_cases.py, how it dies in dying.py, what must be true then in rescue.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from tests.support.batches import chat_line
from tests.support.dying import How, Process, mortal
from tests.support.engine import Engine, always_answers, open_engine
from tests.support.hand_over import FIRST_AND_SECOND
from tests.support.paid_provider import Oracle
from tests.support.rescue import at_death, must_be_whole, rescue
from tests.support.servers import TestServers
from workers.store.mongo import Doc

# One dollar for each output token: an answer costs 3 dollars.
_TOML = FIRST_AND_SECOND + '\n[prices."m-*"]\ninput_usd = 0\noutput_usd = 1_000_000\n'
_SETTINGS: dict[str, Any] = {"BATCHWRIGHT_SHARD_MAX_ITEMS": "3", "BATCHWRIGHT_WORKER_DRAIN_GRACE_S": "0.02"}
_STEPS_AT_MOST = 80
_names = count()


@contextmanager
def open_deaths(servers: TestServers, directory: Any) -> Iterator[Engine]:
    """An engine of two providers, whose shards have three items at most."""
    with open_engine(servers, directory, toml=_TOML, **_SETTINGS) as engine:
        yield engine


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what waits for company not wait, and each document of a plan a write of its own."""
    monkeypatch.setattr("workers.engine.recorder.FLUSH_EVERY_S", 0.0)
    monkeypatch.setattr("workers.engine.moving.GATHER_S", 0.0)
    monkeypatch.setattr("workers.engine.shelf.GATHER_S", 0.0)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr("workers.planning.SHARDS_AT_ONCE", 2)
    monkeypatch.setattr("workers.planning.REJECTED_AT_ONCE", 2)


@dataclass
class Scene:
    """One batch on one engine, and who answers it."""

    engine: Engine
    batch_id: str
    prompts: dict[str, str]
    first: Oracle
    second: Oracle

    def shards(self, **where: Any) -> list[str]:
        """The ids of the batch's shards."""
        found = self.engine.stores.db["batch_shards"].find({"batch_id": self.batch_id, **where}, {"_id": 1})
        return sorted(doc["_id"] for doc in found)

    def plan(self) -> None:
        """Bring it to in_progress, in good health."""
        assert self.engine.runtime.plan(self.batch_id).endswith("items")

    def set_shards(self, **new: Any) -> None:
        """Lay out what an earlier life has left in every shard."""
        self.engine.stores.db["batch_shards"].update_many({"batch_id": self.batch_id}, {"$set": new})

    def set_batch(self, **new: Any) -> None:
        self.engine.stores.db["batch_jobs"].update_one({"_id": self.batch_id}, {"$set": new})


Step = Callable[[Scene], None]
Act = Callable[[Scene, Process], object]


@dataclass(frozen=True)
class Case:
    """An action, what was before it, and how the batch ends when somebody goes on.

    Attributes:
        act: what the mortal process does; gives None if it died.
        texts: the prompts of the items.
        bad: lines that cannot be read, by place.
        body: what their requests say besides.
        accepted: whether the items get results at all.
        after: what others do before anybody goes on.
    """

    name: str
    act: Act
    before: Step = Scene.plan
    texts: tuple[str, ...] = ("a", "b", "c")
    bad: tuple[int, ...] = ()
    changes: Doc = field(default_factory=dict)
    ends: tuple[str, ...] = ("completed",)
    accepted: bool = True
    body: Doc = field(default_factory=dict)
    after: Step = lambda _: None
    patches: tuple[tuple[str, Any], ...] = ()


def died_at(engine: Engine, case: Case, step: int | str, how: How) -> list[str] | None:
    """Let the action die at this step, let the engine go on, and look at what came of it; None if it did not die."""
    scene = _scene(engine, case)
    case.before(scene)
    with mortal(engine) as process:
        process.life.ends_at(step, how)
        ended = case.act(scene, process)
        died = process.life.over.done()
        assert died == (ended is None)
    if how == "halfway" and died and not process.life.split:
        return process.life.steps  # one document has no half: `before` says the same
    scene.first.meanwhile.clear()  # it died before it came to that
    before = at_death(engine, scene.batch_id, scene.first)
    case.after(scene)
    batch = rescue(engine, scene.batch_id)
    assert batch["status"] in case.ends
    must_be_whole(engine, batch, scene.first, before, scene.prompts if case.accepted else None)
    return list(process.life.steps) if died else None


def dies_everywhere(engine: Engine, case: Case, how: How) -> int:
    """Die at each step of the action in turn; gives how many it has."""
    for step in range(_STEPS_AT_MOST):
        try:
            steps = died_at(engine, case, step, how)
        except (AssertionError, pytest.fail.Exception) as error:
            raise AssertionError(f"{case.name}: died {how} step {step}: {error}") from error
        if steps is None:
            return step
    pytest.fail(f"{case.name} has not ended after {_STEPS_AT_MOST} steps")


def _scene(engine: Engine, case: Case) -> Scene:
    name = f"{case.name} {next(_names)}"
    texts = {f"c{n}": f"{name} {text}" for n, text in enumerate(case.texts)}
    lines = [chat_line(id_, text, model="m-1", max_tokens=4, **case.body) for id_, text in texts.items()]
    for place in case.bad:
        lines.insert(place, b'{"custom_id": "bad%d", "method": "POST"}' % place)
        texts = dict([*texts.items()][:place]) | {f"bad{place}": ""} | dict([*texts.items()][place:])
    engine.play(always_answers)
    first = Oracle()
    second = Oracle(called=first.called, paid=first.paid)
    for link_name, link in list(engine.runtime.links.items()):
        oracle = second if link_name == "second" else first
        engine.runtime.links[link_name] = replace(link, transport=oracle)
    batch_id = engine.stores.batch(lines, **case.changes)
    return Scene(engine, batch_id, texts, first, second)
