"""Planners that die, or come back late: every line stands in exactly one shard, and what has started stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.apart import apart
from tests.support.batches import Stores, chat_line, open_stores
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.choose import Chosen
from workers.core.messages import unpack_items
from workers.core.planner import ShardLimits
from workers.finalizer import Finalizer
from workers.planning import SHARDS_AT_ONCE, Planning
from workers.store import stores as nouns

pytestmark = pytest.mark.integration
LINES = 100
# By the time a planner meets this line's model it has stored twenty shards of three, and more are open.
TURN = SHARDS_AT_ONCE * 3 + 10


class Died(Exception):
    """A planner's process ended."""


@pytest.fixture(scope="module")
def stores(servers: TestServers) -> Iterator[Stores]:
    own = apart(servers, "planning")
    opened = open_stores(own)
    own.empty()
    yield opened
    opened.db.client.close()


class Planner:
    """A planner's process; at the turn of the file it dies, or waits to be let on."""

    def __init__(self, stores: Stores, name: str, *, max_items: int, lease_s: float = 60.0) -> None:
        self.dies = False
        self.waits = False
        self.at_turn, self.go_on = threading.Event(), threading.Event()
        limits = ShardLimits(max_items, 4 << 20, 32 << 20)
        self.planning = Planning(
            nouns.stores_of(stores.db),
            name,
            lease_s,
            self._choose,
            lambda _: True,
            lambda _: limits,
            max_requests=1000,
            max_line_bytes=1 << 20,
        )

    def _choose(self, _: str, model: str, __: Mapping[str, Any]) -> Chosen:
        if model == "sim-turn":
            if self.dies:
                raise Died
            if self.waits:
                self.at_turn.set()
                assert self.go_on.wait(10.0)
        return Chosen("sim", model)


def batch(stores: Stores) -> str:
    models = ["sim-turn" if n == TURN else "sim-small" for n in range(1, LINES + 1)]
    return stores.batch([chat_line(f"c{n}", f"q {n}", model=model) for n, model in enumerate(models)])


def planned_lines(stores: Stores, batch_id: str) -> list[int]:
    shards = stores.db["batch_shards"].find({"batch_id": batch_id})
    return sorted(item.line for shard in shards for item in unpack_items(shard["items"]))


def test_a_plan_repeated_with_other_shard_limits_neither_loses_nor_doubles_a_line(stores: Stores) -> None:
    # given a planner that died when it had stored a part
    batch_id = batch(stores)
    first, second = Planner(stores, "p1", max_items=3), Planner(stores, "p2", max_items=7)
    first.dies = True
    with pytest.raises(Died):
        first.planning.plan(batch_id)
    assert 0 < len(planned_lines(stores, batch_id)) < LINES
    ended = {"plan.lease_until": {"$subtract": ["$$NOW", 1000]}}
    stores.db["batch_jobs"].update_one({"_id": batch_id}, [{"$set": ended}])
    # when another one, which cuts elsewhere, plans the batch again
    assert second.planning.plan(batch_id) == f"{LINES} items"
    # then
    assert planned_lines(stores, batch_id) == list(range(1, LINES + 1))
    assert stores.state(batch_id)["total"] == LINES


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled meanwhile", "going on"])
def test_a_late_planner_leaves_the_shards_of_a_started_batch_alone(stores: Stores, cancelled: bool) -> None:
    # given a planner that sleeps for longer than its lease, and another one that starts the batch meanwhile
    batch_id = batch(stores)
    late, second = Planner(stores, "p1", max_items=3, lease_s=0.02), Planner(stores, "p2", max_items=7)
    late.waits = True
    with ThreadPoolExecutor(1) as thread:
        planning = thread.submit(late.planning.plan, batch_id)
        assert late.at_turn.wait(10.0)
        eventually(lambda: second.planning.plan(batch_id) == f"{LINES} items", 5.0)
        if cancelled:
            assert stores.batches.cancel(batch_id)
        # when it wakes up
        late.go_on.set()
        assert planning.result(10.0) == "lost"
    # then it has neither added nor removed anything
    assert planned_lines(stores, batch_id) == list(range(1, LINES + 1))
    status = Finalizer(nouns.stores_of(stores.db)).advance(batch_id)
    assert status == ("cancelled" if cancelled else "in_progress")
    assert len(stores.results.recorded(batch_id, 1, LINES)) == (LINES if cancelled else 0)


def test_a_batch_that_was_refused_at_its_create_is_never_planned(stores: Stores) -> None:
    """Its maker may have died between the two writes, and its file may be there: deleted, or no input file."""
    refusal = {"code": "invalid_request", "message": "no", "param": "file_id", "line": None}
    batch_id = stores.batch([chat_line("c1", "q")], refusal=refusal)
    Planner(stores, "p1", max_items=3).planning.plan(batch_id)
    assert (stores.state(batch_id)["status"], stores.state(batch_id)["errors"]) == ("failed", [refusal])
    assert planned_lines(stores, batch_id) == []


def test_a_file_that_is_gone_is_missed_in_the_name_of_its_own_tenant(stores: Stores) -> None:
    batch_id = stores.batch(tenant="acme", input_file_id="file-gone")
    Planner(stores, "p1", max_items=3).planning.plan(batch_id)
    text = "Cannot find file file-gone, or organization acme does not have access to it."
    assert stores.state(batch_id)["errors"][0]["message"] == text
