"""The moves of a batch in a real MongoDB: each from its sources only, each once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from tests.support.batches import Stores
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core import states
from workers.core.states import BATCH_MOVES, BatchStatus, Move
from workers.core.tally import Tally
from workers.store.batch_watch import BatchWatch
from workers.store.batches import Batches
from workers.store.mongo import Doc

pytestmark = pytest.mark.integration
FINAL = {"counts": Tally().as_dict()}


def carry_out(stores: Stores, move: Move[BatchStatus], batch_id: str, fence: int) -> bool:
    batches = stores.batches
    if move is states.START:
        return batches.start(batch_id, fence, total=3, model="$m", repeats=1)
    if move is states.FAIL:
        return batches.fail(batch_id, [{"code": "$x"}])
    if move is states.CANCEL:
        return batches.cancel(batch_id)
    if move is states.FINALIZE:
        return batches.finalize(batch_id)
    return batches.end(move, batch_id, FINAL)


@pytest.mark.parametrize("move", BATCH_MOVES, ids=lambda move: str(move.name))
def test_a_move_is_made_from_its_sources_only_and_stamps_its_time(
    stores: Stores, move: Move[BatchStatus]
) -> None:
    for status in BatchStatus:
        batch_id = stores.batch(status=str(status), plan={"fence": 4, "opened": False})
        assert carry_out(stores, move, batch_id, 4) == (status in move.sources), status
        after = stores.state(batch_id)
        assert after["status"] == (move.target if status in move.sources else status)
        if status in move.sources:
            assert after[f"{move.target}_at"] == pytest.approx(after["created_at"], abs=30)


def test_an_ending_is_set_once(stores: Stores) -> None:
    batch_id = stores.batch()
    stores.start(batch_id)
    assert stores.batches.cancel(batch_id)
    assert not stores.batches.cancel(batch_id)
    assert not stores.batches.finalize(batch_id)
    state = stores.state(batch_id)
    assert (state["status"], state["ending"]) == ("cancelling", "cancelled")


def test_a_window_that_is_over_sets_the_ending_and_shows_in_progress(stores: Stores) -> None:
    over = stores.batch(window_ends=datetime.now(UTC) - timedelta(seconds=1))
    later, validating = stores.batch(), stores.batch(window_ends=datetime.now(UTC) - timedelta(seconds=1))
    stores.start(over)
    stores.start(later)
    assert [stores.batches.end_windows(10) for _ in range(2)] == [[over], []]
    assert [stores.state(each)["ending"] for each in (later, validating)] == [None, None]
    assert (stores.state(over)["status"], stores.state(over)["ending"]) == ("in_progress", "expired")


def test_one_planner_holds_the_plan_and_the_next_gets_a_higher_fence(stores: Stores) -> None:
    batch_id, together = stores.batch(), threading.Barrier(12)

    def claim(number: int) -> int | None:
        together.wait()
        claimed = stores.batches.claim_plan(batch_id, f"p{number}", 0.3)
        return int(claimed["plan"]["fence"]) if claimed else None

    with ThreadPoolExecutor(12) as threads:
        fences = [fence for fence in threads.map(claim, range(12)) if fence]
    assert fences == [1]
    second = eventually(lambda: stores.batches.claim_plan(batch_id, "late", 60.0), 5.0)
    assert second is not None and second["plan"]["fence"] == 2
    assert not stores.batches.renew_plan(batch_id, 1, 60.0), "the first one has lost it"
    assert not stores.batches.start(batch_id, 1, total=1, model=None, repeats=0)
    assert stores.batches.renew_plan(batch_id, 2, 60.0)
    assert stores.batches.start(batch_id, 2, total=1, model=None, repeats=0)


def test_a_started_batch_is_claimed_again_only_to_be_opened(stores: Stores) -> None:
    batch_id = stores.batch()
    fence = stores.start(batch_id, total=2)
    stores.db["batch_jobs"].update_one({"_id": batch_id}, [{"$set": {"plan.lease_until": "$$NOW"}}])
    again = stores.batches.claim_plan(batch_id, "other", 60.0)
    assert again is not None and again["total"] == 2 and again["plan"]["fence"] == fence + 1
    stores.batches.opened(batch_id, fence + 1)
    stores.db["batch_jobs"].update_one({"_id": batch_id}, [{"$set": {"plan.lease_until": "$$NOW"}}])
    assert stores.batches.claim_plan(batch_id, "third", 60.0) is None


def test_an_idempotency_key_makes_one_batch_per_tenant(stores: Stores) -> None:
    first = stores.batch(idempotency_key="k")
    doc = stores.state(first)
    assert not stores.batches.insert({**doc, "_id": "batch_other"})
    assert stores.batches.insert({**doc, "_id": "batch_theirs", "tenant": "other"})
    assert stores.batches.insert({**doc, "_id": "batch_none", "idempotency_key": None})
    found = stores.batches.by_idempotency_key("default", "k")
    assert found is not None and found["_id"] == first


class Asked(CommandListener):
    """The queries that a client has sent."""

    def __init__(self) -> None:
        self.queries: list[Doc] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find":
            words = ("find", "filter", "projection", "limit", "sort")
            self.queries.append({word: event.command[word] for word in words if word in event.command})

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass


def test_a_key_and_a_lineage_are_found_without_a_look_at_other_batches(
    stores: Stores, store_servers: TestServers
) -> None:
    ids = [stores.batch(idempotency_key=f"k{n}") for n in range(30)]
    stores.batch(root_id=ids[0], generation=1)
    asked = Asked()
    with MongoClient[Doc](store_servers.mongodb_url, event_listeners=[asked]) as client:
        batches = Batches(client[stores.db.name])
        assert batches.by_idempotency_key("default", "k7") is not None
        assert len(batches.lineage(ids[0])) == 2
    plans = [stores.db.command("explain", query, verbosity="executionStats") for query in asked.queries]
    looks = [plan["executionStats"]["totalDocsExamined"] for plan in plans]
    assert len(looks) == 2 and looks[0] == 1 and looks[1] <= 3  # the root once more, for its date


def test_a_lineage_has_no_root_whose_retention_is_over(stores: Stores) -> None:
    """Its results go piece by piece from then on: a merged file would look whole, a retry would miss lines."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    root = stores.batch(status="completed", expire_at=past)
    child = stores.batch(root_id=root, generation=1)
    assert [doc["_id"] for doc in stores.batches.lineage(root)] == [child]


def test_lists_and_lineages_leave_out_what_may_be_long_and_is_never_shown(stores: Stores) -> None:
    """A retry's filter may have a megabyte, and a page a hundred of them."""
    root = stores.batch()
    child = stores.batch(root_id=root, generation=1, retry={"custom_ids": ["x" * 500] * 3})
    assert all("retry" not in doc for doc in stores.batches.page("default", after=None, limit=10))
    assert all("retry" not in doc for doc in stores.batches.lineage(root))
    assert "retry" not in (stores.batches.get(child, "default") or {"retry": 1})
    assert "retry" not in (BatchWatch(stores.db).get(child) or {"retry": 1})
    claimed = stores.batches.claim_plan(child, "test", 60.0)
    assert claimed is not None and claimed["retry"]["custom_ids"]


def test_of_two_retries_of_one_generation_one_is_made(stores: Stores) -> None:
    first = stores.state(stores.batch(root_id="b", generation=1))
    assert not stores.batches.insert({**first, "_id": "batch_other"})
    assert stores.batches.insert({**first, "_id": "batch_next", "generation": 2})
    assert [doc["_id"] for doc in stores.batches.lineage("b", below=2)] == [first["_id"]]


def test_a_tenant_sees_its_own_batches_newest_first(stores: Stores) -> None:
    ids = [f"batch_{n:03d}" for n in range(5)]
    for batch_id in ids:
        stores.batch(_id=batch_id)
    stores.batch(_id="batch_009", tenant="other")
    shown = [doc["_id"] for doc in stores.batches.page("default", after="batch_003", limit=2)]
    assert shown == ["batch_002", "batch_001"]
    assert stores.batches.get("batch_009", "default") is None
    assert stores.batches.get("batch_009", "other") is not None
    assert set(stores.batches.get_many(["batch_001", "batch_009", "batch_x"], "default")) == {"batch_001"}


def test_counts_of_an_ended_batch_do_not_change(stores: Stores) -> None:
    batch_id = stores.batch()
    stores.start(batch_id)
    stores.batches.save_counts(batch_id, {"completed": 1})
    assert stores.state(batch_id)["counts"] == {"completed": 1}
    stores.batches.finalize(batch_id)
    stores.batches.end(states.COMPLETE, batch_id, {"counts": {"completed": 9}})
    stores.batches.save_counts(batch_id, {"completed": 2})
    assert stores.state(batch_id)["counts"] == {"completed": 9}


def test_only_a_running_batch_of_the_tenant_is_paused(stores: Stores) -> None:
    batch_id = stores.batch()
    assert not stores.batches.set_paused(batch_id, "default", paused=True)
    stores.start(batch_id)
    assert not stores.batches.set_paused(batch_id, "other", paused=True)
    assert stores.batches.set_paused(batch_id, "default", paused=True)
    assert stores.batches.flags([batch_id])[batch_id]["paused_at"] is not None
    assert stores.batches.set_paused(batch_id, "default", paused=False)
    assert stores.batches.flags([batch_id])[batch_id]["paused_at"] is None
