"""The actions of a worker that write more than once, by name: what was before each, and what it does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.batches import records
from tests.support.deaths import Case, Scene, Step
from tests.support.dying import Process
from tests.support.engine import reply
from tests.support.eventually import eventually
from tests.support.hand_over import no_quota
from workers.core.budget import new_budget
from workers.core.errors import TransportError
from workers.core.messages import ItemError, Result
from workers.store.mongo import Doc

# --- what a worker does


def _plans(scene: Scene, process: Process) -> object:
    return process.does(lambda runtime: runtime.plan(scene.batch_id))


def _runs(scene: Scene, process: Process) -> object:
    return process.runs(*scene.shards(status={"$in": ["queued", "dispatched"]}))


def _runs_all(scene: Scene, process: Process) -> object:
    """Every shard, and those that come of them."""
    done: list[str] = []
    seen: set[str] = set()
    while left := [id_ for id_ in scene.shards(status={"$in": ["queued", "dispatched"]}) if id_ not in seen]:
        seen |= set(left)
        became = process.runs(*left)
        if became is None:
            return None
        done += became
    return done


def _cancels(scene: Scene, process: Process) -> object:
    def act(runtime: Any) -> str:
        runtime.stores.batches.cancel(scene.batch_id)
        return str(runtime.finalizer.advance(scene.batch_id))

    return process.does(act)


def _ends_its_window(scene: Scene, process: Process) -> object:
    def act(runtime: Any) -> str:
        runtime.stores.batches.end_windows(10)
        return str(runtime.finalizer.advance(scene.batch_id))

    return process.does(act)


def _drains(scene: Scene, process: Process) -> object:
    """Its first call does not end; it is told to drain, and cuts it off."""

    async def drained() -> None:
        draining = asyncio.ensure_future(process.runtime.steward.drain())
        await asyncio.gather(draining, asyncio.Event().wait())

    scene.first.meanwhile[scene.prompts["c0"]] = drained
    return _runs(scene, process)


def _is_cancelled_in_a_call(scene: Scene, process: Process) -> object:
    (shard,) = scene.shards()

    def told() -> bool:
        active = process.runtime.steward.active.get(shard)
        return process.life.over.done() or (active is not None and active.stop is not None)

    async def cancelled() -> None:
        await asyncio.to_thread(scene.engine.stores.batches.cancel, scene.batch_id)
        await asyncio.to_thread(eventually, told, 5.0)

    scene.first.meanwhile[scene.prompts["c0"]] = cancelled
    return _runs(scene, process)


# --- what was before


def _retries_all_but_first(scene: Scene) -> None:
    """It is the retry of a batch on the same file, whose first line was answered and whose others were not."""
    stores, batch = scene.engine.stores, scene.engine.stores.state(scene.batch_id)
    parent_id, named = f"{scene.batch_id}-parent", list(scene.prompts)
    made = {"_id": parent_id, "status": "completed", "in_progress_at": 1.0, "total": len(named)}
    stores.db["batch_jobs"].insert_one({**batch, **made})
    late = ItemError("timeout", "no answer")
    rows = [
        Result(line, name, "call", 200, b"{}") if line == 1 else Result(line, name, "call", error=late)
        for line, name in enumerate(named, start=1)
    ]
    stores.results.insert(records(parent_id, rows))
    scene.set_batch(parent_id=parent_id, root_id=parent_id, generation=1, retry={})
    del scene.prompts[named[0]]


def _refused_once(scene: Scene) -> None:
    """Every item is told to come back later."""
    scene.plan()
    for text in scene.prompts.values():
        scene.first.trouble[text] = [reply(503)]


def _refused_but_one(scene: Scene) -> None:
    _refused_once(scene)
    del scene.first.trouble[scene.prompts["c0"]]


def _misunderstood_once(scene: Scene) -> None:
    """Every item's first answer does not match its schema, and is paid all the same."""
    scene.plan()
    for text in scene.prompts.values():
        scene.first.trouble[text] = [reply(text="no object")]


def _lost_once(scene: Scene) -> None:
    """Of every item's first call nobody knows what became of it."""
    scene.plan()
    for text in scene.prompts.values():
        scene.first.trouble[text] = [TransportError("reset", bytes_sent=True)]


def _nobody_pays(scene: Scene) -> None:
    """Two of the items have to go to another provider."""
    scene.plan()
    for text in list(scene.prompts.values())[:2]:
        scene.first.never[text] = no_quota()


def _under_a_months_ceiling(scene: Scene) -> None:
    """It belongs to a tenant of its own, whose months have a ceiling."""
    engine, tenant = scene.engine, scene.batch_id.removeprefix("batch_")
    engine.stores.tenants.ensure(tenant)
    engine.stores.db["tenants"].update_one({"_id": tenant}, {"$set": {"max_cost_usd_per_month": 100.0}})
    file_id = engine.stores.state(scene.batch_id)["input_file_id"]
    engine.stores.db["files"].update_one({"_id": file_id}, {"$set": {"tenant": tenant}})
    scene.set_batch(tenant=tenant)
    scene.plan()


def _has_killed(times: int) -> Step:
    def before(scene: Scene) -> None:
        scene.plan()
        scene.set_shards(takeovers=times)

    return before


def _ran_in_part(scene: Scene) -> None:
    """One shard is done, the others are queued."""
    scene.plan()
    assert scene.engine.run(scene.shards()[0]) == "done"


def _window_is_over(scene: Scene) -> None:
    _ran_in_part(scene)
    scene.set_batch(window_ends=datetime.now(UTC) - timedelta(seconds=1))


def _was_cancelled(scene: Scene) -> None:
    """A shard is claimed in the moment before the cancel."""
    _ran_in_part(scene)
    assert scene.engine.stores.batches.cancel(scene.batch_id)


def _moved_and_cancelled(scene: Scene) -> None:
    """A shard has handed items over, and its children are not there yet."""
    _nobody_pays(scene)
    (shard,) = scene.shards()
    scene.engine.run(shard)
    for child in scene.engine.children(shard):
        scene.engine.stores.db["batch_shards"].delete_one({"_id": child["_id"]})
    assert scene.engine.stores.batches.cancel(scene.batch_id)


def _is_cancelled(scene: Scene) -> None:
    scene.engine.stores.batches.cancel(scene.batch_id)


_TWO = ("a", "b", "c", "d")
_SCHEMA: Doc = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
}
_MONEY: Doc = {"budget": new_budget(100.0)}
_PARKS: tuple[tuple[str, Any], ...] = (("workers.engine.shard.must_park", lambda _: True),)

_LOOKS_OFTEN: tuple[tuple[str, Any], ...] = (("workers.engine.steward.READ_FLAGS_EVERY_S", 0.01),)

_ALL = (
    Case("plan", _plans, lambda _: None, (*"abcdefgh",)),
    Case(
        "plan with rejected lines",
        _plans,
        lambda _: None,
        (*"abcd",),
        (1, 2, 4),
        {"options": {"invalid_lines": "skip"}},
    ),
    Case("plan that fails", _plans, lambda _: None, (*"abcdefgh",), (8,), ends=("failed",), accepted=False),
    Case("plan of a retry", _plans, _retries_all_but_first, (*"abcdefgh",)),
    Case("run", _runs),
    Case("run of two shards", _runs, texts=_TWO),
    Case("retries", _runs, _refused_once),
    Case("asks again", _runs, _misunderstood_once, body=_SCHEMA),
    Case("unknown outcomes", _runs, _lost_once),
    Case("park", _runs_all, _refused_once, patches=_PARKS),
    Case("hand-over", _runs_all, _nobody_pays),
    Case("split", _runs_all, _has_killed(2)),
    Case("condemn", _runs, _has_killed(4), ("a",)),
    Case("cancel", _cancels, _ran_in_part, (*"abcdefgh",), ends=("cancelled", "completed")),
    Case("cancel of a shard in hands", _runs, _was_cancelled, _TWO, ends=("cancelled",)),
    Case("cancel in a call", _is_cancelled_in_a_call, ends=("cancelled", "completed"), patches=_LOOKS_OFTEN),
    Case("drain", _drains),
    Case("drain among retries", _drains, _refused_but_one),
    Case("cancel of what has moved", _cancels, _moved_and_cancelled, ends=("cancelled",)),
    Case("window end", _ends_its_window, _window_is_over, (*"abcdefgh",), ends=("expired",)),
    Case("money", _runs_all, texts=_TWO, changes=_MONEY),
    Case("money and a hand-over", _runs_all, _nobody_pays, changes=_MONEY),
    Case("money and a split", _runs_all, _has_killed(2), changes=_MONEY),
    Case("money and retries", _runs_all, _refused_once, changes=_MONEY, patches=_PARKS),
    Case("money and a cancel", _cancels, _ran_in_part, _TWO, changes=_MONEY, ends=("cancelled", "completed")),
    Case("money of a month", _runs_all, _under_a_months_ceiling, _TWO),
    Case("money of a month and of a batch", _runs_all, _under_a_months_ceiling, changes=_MONEY),
    Case(
        "money of a month and what is then cancelled",
        _runs,
        _under_a_months_ceiling,
        ends=("cancelled", "completed"),
        after=_is_cancelled,
    ),
    Case("run of what is then cancelled", _runs, ends=("cancelled", "completed"), after=_is_cancelled),
    Case(
        "money and what is then cancelled",
        _runs,
        changes=_MONEY,
        ends=("cancelled", "completed"),
        after=_is_cancelled,
    ),
    Case("twins in one shard", _runs, texts=("a", "a", "b")),
    Case("twins in two shards", _runs, texts=("a", "b", "c", "a", "b")),
)
CASES = {case.name: case for case in _ALL}
