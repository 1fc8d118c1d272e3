"""What the sweeper brings on, and what cannot keep it from it: gaps, bad documents, and long rows in front."""

from __future__ import annotations

import time
from typing import cast

import pytest

from tests.support.sweeping import Site
from workers.core.silence import Clocks
from workers.finalizer import Finalizer
from workers.store.ledger import Ledger
from workers.store.mongo import NEVER

pytestmark = pytest.mark.integration


def asleep(site: Site, *, wall_s: float) -> None:
    """The machine was suspended for so long since the sweeper's last look; the other clock stood still."""
    site.sweeper._looked = Clocks(time.time() - wall_s, time.monotonic())


def test_a_lease_that_ran_out_is_taken_back_behind_many_that_did_not(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sweeper.PAGE", 1)
    shards = site.shards(site.started(8, per_shard=1))
    for shard_id in shards:
        site.claim(shard_id)
    for shard_id in shards[-3:]:
        site.lease_over(shard_id)
    site.sweep()
    assert [site.stores.shard(one)["status"] for one in shards] == ["leased"] * 5 + ["queued"] * 3


def test_after_the_machine_was_asleep_no_lease_is_taken_away_for_one_lease(site: Site) -> None:
    # given a laptop that was closed with a shard under way
    (shard_id,) = site.shards(site.started(1))
    fence = site.claim(shard_id)["fence"]
    site.lease_over(shard_id)
    asleep(site, wall_s=3600)
    # when it is opened, and the sweeper is quicker than the worker
    site.sweep()
    assert site.stores.shard(shard_id)["status"] == "leased"
    # then the worker renews and goes on
    assert site.stores.shards.renew({shard_id: fence}, 60.0) == {shard_id}
    site.sweeper._silent_until = 0.0
    site.sweep()
    assert site.stores.shard(shard_id)["status"] == "leased"


def test_a_worker_that_did_not_wake_up_loses_its_lease_after_the_silence(site: Site) -> None:
    (shard_id,) = site.shards(site.started(1))
    site.claim(shard_id)
    site.lease_over(shard_id)
    asleep(site, wall_s=3600)
    site.sweep()
    assert 59 < site.sweeper._silent_until - time.monotonic() <= 60
    site.sweeper._silent_until = time.monotonic()
    site.sweep()
    assert site.stores.shard(shard_id)["status"] == "queued"


def test_a_broken_document_keeps_no_other_batch_from_its_end(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = site.started(2), site.started(2)
    site.stores.db["batch_shards"].update_one({"batch_id": broken}, {"$set": {"items": "no such thing"}})
    for batch_id in (broken, whole):
        assert site.stores.batches.cancel(batch_id)
    site.sweep()
    assert site.stores.state(broken)["status"] == "cancelling"
    assert site.stores.state(whole)["status"] == "cancelled"
    assert f"{broken} is left as it is" in caplog.text


def test_a_batch_whose_last_worker_died_before_it_said_so_is_completed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sweeper.PAGE", 2)
    waiting = [site.started(1) for _ in range(4)]
    batch_id = site.started(1)
    site.answer(site.shards(batch_id)[0])
    site.sweep()
    assert site.stores.state(batch_id)["status"] == "completed"
    assert {site.stores.state(one)["status"] for one in waiting} == {"in_progress"}


def test_a_child_that_its_parent_only_promised_is_made_before_the_batch_could_end_without_it(
    site: Site,
) -> None:
    # given a parent that is done, and whose child was never inserted
    batch_id = site.started(2)
    (parent,) = site.shards(batch_id)
    doc = site.claim(parent)
    child = f"{parent}.other.1"
    moved = [{"child_id": child, "provider": "other", "lines": [1, 2]}]
    assert site.stores.shards.move_out(parent, doc["fence"], moved)
    site.stores.db["batch_shards"].update_one({"_id": parent}, {"$set": {"status": "done"}})
    # when the sweeper comes by
    site.sweep()
    # then the batch goes on, and ends with every answer
    assert site.stores.state(batch_id)["status"] == "in_progress"
    site.answer(child)
    site.sweep()
    batch = site.stores.state(batch_id)
    assert (batch["status"], batch["counts"]["completed"]) == ("completed", 2)


def test_plans_are_published_for_batches_that_nobody_plans(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sweeper.PLANS_AT_ONCE", 2)
    planned, started = site.stores.batch(), site.started(1)
    waiting = [site.stores.batch() for _ in range(3)]
    assert site.stores.batches.claim_plan(planned, "planner", 60.0)
    unopened = site.stores.batch()
    site.stores.start(unopened)
    site.stores.db["batch_jobs"].update_one({"_id": unopened}, [{"$set": {"plan.lease_until": "$$NOW"}}])
    for _ in range(3):
        site.sweep()
    assert set(site.queue.plans[:4]) == {*waiting, unopened}, "each has its turn before one has a second"
    assert started not in site.queue.plans and planned not in site.queue.plans


def test_shards_that_were_left_the_wrong_way_follow_their_batch(site: Site) -> None:
    # given a shard that went back into the queue of a paused batch, and one that rests though nobody pauses its batch
    resting, going = site.started(1), site.started(1)
    assert site.stores.batches.set_paused(resting, "default", paused=True)
    (paused,), (free,) = site.shards(resting), site.shards(going)
    doc = site.claim(free)
    assert site.stores.shards.release(free, doc["fence"], wait_s=-1, reason="paused")
    # when
    site.sweep()
    # then
    assert site.stores.shard(paused)["next_at"] == NEVER and site.stores.shard(paused)["reason"] == "paused"
    assert site.stores.shard(free)["next_at"] < NEVER and site.stores.shard(free)["reason"] is None


def test_a_batch_that_took_all_the_time_and_has_not_ended_brings_the_next_round_sooner(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        """Closes shards for as long as it may, and never all of them."""

        def advance(self, _: str, *, within_s: float = 0.0) -> None:
            until = time.monotonic() + within_s
            while time.monotonic() <= until:
                pass

    site.sweep()
    assert not site.sweeper._behind
    assert site.stores.batches.cancel(site.started(2))
    monkeypatch.setattr("workers.sweeper.STEP_S", 0.02)
    site.sweeper.finalizer = cast("Finalizer", Slow())
    site.sweep()
    assert site.sweeper._behind


def test_only_one_process_sweeps_at_a_time(site: Site) -> None:
    site.sweep()
    other = Site(site.stores)
    other.sweeper.owner = "other"
    assert not other.sweeper.sweep()


def test_what_batches_have_cost_is_summed_before_anybody_asks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.store.ledger.PART_ROWS", 2)
    ledger = Ledger(site.stores.db)
    for number in range(5):
        ledger.book({"_id": f"batch_{number}", "tenant": f"t{number % 2}", "created_at": 0.0}, [], [])
    site.sweep()
    parts = [doc["tenant"] for doc in site.stores.db["usage_parts"].find()]
    assert sorted(parts) == ["t0", "t1"], "what is too little for a part is left"


def test_the_api_sweeps_only_while_no_worker_lives(site: Site) -> None:
    # given an API's sweeper, and work for it
    site.sweeper.if_no_worker_lives = True
    batch_id = site.started(1)
    site.window_over(batch_id)
    # when a worker lives, then it is left to that one
    site.nouns.processes.beat("w1@h:1", providers=["sim"], slots=1)
    assert not site.sweeper.sweep()
    # when it has gone, then the API does it
    site.nouns.processes.leave("w1@h:1")
    assert site.sweeper.sweep()
    assert site.stores.state(batch_id)["ending"] == "expired"
