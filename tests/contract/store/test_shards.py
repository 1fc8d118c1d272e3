"""Shards in a real MongoDB: one claim wins, every write needs its fence, nothing is lost between two leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tests.support.batches import Stores
from tests.support.eventually import eventually
from workers.core import handover, poison
from workers.core.choose import Chosen
from workers.core.fairness import Sent
from workers.core.history import History
from workers.core.messages import unpack_items
from workers.core.states import SHARD_MOVES, ShardStatus
from workers.core.tally import Tally
from workers.store.mongo import EPOCH, NEVER, Doc
from workers.store.shard_docs import child_docs

pytestmark = pytest.mark.integration
LEASE_S = 60.0


def claimed(stores: Stores, shard_id: str, *, lease_s: float = LEASE_S) -> Doc:
    doc = stores.shards.claim(shard_id, "w", lease_s)
    assert doc is not None
    return doc


def run_out(stores: Stores, shard_id: str) -> None:
    """The lease of this shard is over."""
    stores.db["batch_shards"].update_one({"_id": shard_id}, {"$set": {"lease_until": EPOCH}})


def taken_away(stores: Stores, shard_id: str) -> None:
    """The lease of this shard is over, and the sweeper has seen it."""
    run_out(stores, shard_id)
    assert stores.shards.expire(10) == 1


# --- planning and dispatch


def test_planning_twice_changes_nothing(stores: Stores) -> None:
    ids = stores.queued("b", 2, 3)
    before = stores.shard(ids[0])
    assert stores.queued("b", 2, 3) == ids
    assert stores.shard(ids[0]) == before and stores.db["batch_shards"].count_documents({}) == 2


def test_a_planned_shard_does_not_run_before_its_batch_opens_it(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 1)
    stores.db["batch_shards"].update_one({"_id": shard_id}, {"$set": {"next_at": NEVER}})
    assert stores.shards.claim(shard_id, "w", LEASE_S) is None
    assert stores.dispatches.waiting("sim", 10) == []
    assert stores.shards.open("b") == 1
    assert [one.shard_id for one in stores.dispatches.waiting("sim", 10)] == [shard_id]


def test_waiting_gives_each_tenant_its_best_by_priority_and_age(stores: Stores) -> None:
    large, small = stores.queued("b1", *[1] * 5), stores.queued("b2", 1, tenant="small")
    stores.db["batch_shards"].update_one({"_id": large[4]}, {"$set": {"priority": 3}})
    stores.queued("b3", 1, provider="other")
    found = {one.shard_id for one in stores.dispatches.waiting("sim", per_tenant=2)}
    assert found == {large[4], large[0], *small}
    assert sorted(stores.dispatches.providers_with_work()) == ["other", "sim"]


def test_dispatchers_that_race_mark_each_shard_for_one_of_them(stores: Stores) -> None:
    ids, together = stores.queued("b", *[1] * 60), threading.Barrier(6)

    def dispatch(number: int) -> list[str]:
        together.wait()
        return stores.dispatches.dispatch(ids, f"token{number}")

    with ThreadPoolExecutor(6) as threads:
        marked = [shard_id for ours in threads.map(dispatch, range(6)) for shard_id in ours]
    assert sorted(marked) == ids
    out = stores.dispatches.out("sim")
    assert (out.shards, out.tokens) == (60, {"default": 6000, "b": 6000})


def test_what_nobody_claims_in_time_is_recalled(stores: Stores) -> None:
    ids = stores.queued("b", 1, 1)
    stores.dispatches.dispatch(ids[:1], "t")
    assert stores.dispatches.recall("sim", 60.0) == 0
    assert stores.dispatches.recall("other", 0.0) == 0
    assert eventually(lambda: stores.dispatches.recall("sim", 0.0), 5.0) == 1
    sent = {one.shard_id: one.sent_s for one in stores.dispatches.waiting("sim", 10)}
    assert abs(sent[ids[0]] - time.time()) < 60 and sent[ids[1]] == 0.0
    assert stores.shard(ids[0])["status"] == "queued" and stores.dispatches.providers_dispatched() == []


# --- claims


def test_sixteen_threads_claim_sixty_four_shards_and_none_twice(stores: Stores) -> None:
    ids, together = stores.queued("b", *[1] * 64), threading.Barrier(16)

    def claim_all(number: int) -> list[str]:
        together.wait()
        turned = ids[number * 4 :] + ids[: number * 4]
        return [one for one in turned if stores.shards.claim(one, f"w{number}", LEASE_S)]

    with ThreadPoolExecutor(16) as threads:
        got = [shard_id for mine in threads.map(claim_all, range(16)) for shard_id in mine]
    assert sorted(got) == ids
    assert set(stores.db["batch_shards"].distinct("fence")) == {1}


def test_the_fence_rises_with_every_claim_and_an_old_one_writes_nothing(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 1)
    first = claimed(stores, shard_id)
    taken_away(stores, shard_id)
    second = claimed(stores, shard_id)
    assert (first["fence"], second["fence"]) == (1, 2)
    old = first["fence"]
    refused = [
        stores.shards.set_started(shard_id, old, 1),
        stores.shards.release(shard_id, old),
        stores.shards.move_out(shard_id, old, [{"child_id": "c", "provider": "sim", "lines": [1]}]),
        stores.shards.finish(shard_id, old, Tally(recorded=1)),
        stores.shards.close({shard_id: Tally()}, fence=old),
        stores.shards.settle_prior(shard_id, old, 1),
        bool(stores.shards.renew({shard_id: old}, LEASE_S)),
    ]
    stores.shards.save_tallies({(shard_id, old): Tally(recorded=7)})
    assert refused == [False] * len(refused)
    after = stores.shard(shard_id)
    assert (after["status"], after["fence"], after["counts"]["recorded"]) == ("leased", 2, 0)


def test_a_lease_is_renewed_by_its_fence_even_after_its_time(stores: Stores) -> None:
    ids = stores.queued("b", 1, 1)
    held = {shard_id: int(claimed(stores, shard_id)["fence"]) for shard_id in ids}
    run_out(stores, ids[0])
    stores.shards.finish(ids[1], 1, Tally(recorded=1))
    assert stores.shards.renew(held, LEASE_S) == {ids[0]}
    assert stores.shards.claim(ids[0], "other", LEASE_S) is None


def test_expired_leases_go_back_to_the_queue_and_count_as_vanished_workers(stores: Stores) -> None:
    ids = stores.queued("b", 1, 1)
    for shard_id in ids:
        claimed(stores, shard_id)
    run_out(stores, ids[0])
    assert stores.shards.expire(10) == 1
    after = stores.shard(ids[0])
    assert (after["status"], after["reason"], after["takeovers"]) == ("queued", "lease_expired", 1)
    again = claimed(stores, ids[0])
    assert (again["fence"], again["takeovers"]) == (2, 1), "the sweep counted it, the claim must not again"


def test_a_lease_that_is_over_is_taken_by_no_late_message_but_only_after_the_sweep(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 1)
    held = {shard_id: int(claimed(stores, shard_id)["fence"])}
    run_out(stores, shard_id)
    # A machine wakes: a message that comes before the holder has renewed must not cost it its calls.
    assert stores.shards.claim(shard_id, "other", LEASE_S) is None
    assert stores.shards.renew(held, LEASE_S) == {shard_id}
    taken_away(stores, shard_id)
    assert claimed(stores, shard_id)["fence"] == 2 and not stores.shards.renew(held, LEASE_S)


# --- parking


def test_a_parked_shard_rests_until_its_time_and_keeps_its_attempts(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 2)
    fence = claimed(stores, shard_id)["fence"]
    history = History(2, unknown=1, calls=2, waiting=("limit", 9.5)).to_doc()
    assert stores.shards.release(
        shard_id, fence, wait_s=60.0, reason="limit", attempts={"1": history}, unknown=1
    )
    after = stores.shard(shard_id)
    assert (after["status"], after["reason"], after["attempts"]) == ("queued", "limit", {"1": history})
    assert after["possibly_repeated"] == 1
    assert stores.shards.claim(shard_id, "w", LEASE_S) is None
    assert stores.dispatches.waiting("sim", 10) == [] and stores.dispatches.dispatch([shard_id], "t") == []
    (row,) = stores.shards.by_state("b")
    assert (row["provider"], row["status"], row["reason"], row["shards"]) == ("sim", "queued", "limit", 1)
    assert row["next_at"] - row["since"] == timedelta(seconds=60)


def test_a_shard_that_is_due_does_not_hide_what_the_others_rest_for(stores: Stores) -> None:
    due, resting = stores.queued("b", 1, 1)
    for shard_id, wait_s in ((due, 0.0), (resting, 60.0)):
        assert stores.shards.release(
            shard_id, claimed(stores, shard_id)["fence"], wait_s=wait_s, reason="limit"
        )
    (row,) = stores.shards.by_state("b")
    assert (row["shards"], row["next_at"]) == (2, stores.shard(resting)["next_at"])


def test_a_released_shard_is_free_at_once(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 1)
    stores.shards.release(shard_id, claimed(stores, shard_id)["fence"], reason="drain")
    again = claimed(stores, shard_id)
    assert again["fence"] == 2 and again["reason"] is None and again["takeovers"] == 0


def test_a_pause_holds_back_what_is_not_leased_until_it_is_let_go(stores: Stores) -> None:
    queued, dispatched, leased, ended = stores.queued("b", 1, 1, 1, 1)
    stores.dispatches.dispatch([dispatched], "t")
    claimed(stores, leased)
    stores.shards.finish(ended, claimed(stores, ended)["fence"], Tally(recorded=1))
    stores.shards.hold_back("b")
    assert [stores.shards.claim(one, "w", LEASE_S) for one in (queued, dispatched)] == [None, None]
    assert [stores.shard(one)["status"] for one in (leased, ended)] == ["leased", "done"]
    stores.shards.let_go("b")
    assert claimed(stores, queued) and claimed(stores, dispatched)


def test_a_rest_that_the_provider_asked_for_outlasts_a_resume(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 1)
    stores.shards.release(shard_id, claimed(stores, shard_id)["fence"], wait_s=60.0, reason="paused")
    stores.shards.let_go("b")
    assert stores.shards.claim(shard_id, "w", LEASE_S) is None


# --- what a lost lease may have called


def test_calls_without_a_result_are_settled_once_as_possibly_repeated(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 9)
    assert stores.shards.set_started(shard_id, claimed(stores, shard_id)["fence"], 5)
    taken_away(stores, shard_id)
    second = claimed(stores, shard_id)
    assert second["prior"] == [{"fence": 1, "started": 5}] and second["started"] == 0
    taken_away(stores, shard_id)
    third = claimed(stores, shard_id)
    assert third["prior"] == [{"fence": 1, "started": 5}], "the second one started nothing"
    assert stores.shards.settle_prior(shard_id, 3, 4)
    assert not stores.shards.settle_prior(shard_id, 3, 4)
    after = stores.shard(shard_id)
    assert (after["possibly_repeated"], after["prior"]) == (4, [])
    assert stores.shards.summed("b").possibly_repeated == 4


def test_what_a_lease_started_survives_its_sweep_but_not_an_orderly_return(stores: Stores) -> None:
    swept, returned = stores.queued("b", 9, 9)
    for shard_id in (swept, returned):
        stores.shards.set_started(shard_id, claimed(stores, shard_id)["fence"], 6)
    taken_away(stores, swept)
    stores.shards.release(returned, 1)
    priors = [claimed(stores, shard_id)["prior"] for shard_id in (swept, returned)]
    assert priors == [[{"fence": 1, "started": 6}], []]


# --- moving and ending


def test_a_shard_is_done_only_when_recorded_and_moved_make_its_size(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 5)
    doc = claimed(stores, shard_id)
    assert not stores.shards.finish(shard_id, 1, Tally(recorded=4))
    assert not stores.shards.finish(shard_id, 1, Tally(recorded=6))
    moved = [{"child_id": f"{shard_id}.4", "provider": "sim", "lines": [4, 5]}]
    assert stores.shards.move_out(shard_id, doc["fence"], moved)
    assert not stores.shards.finish(shard_id, 1, Tally(recorded=5))
    assert stores.shards.finish(shard_id, 1, Tally(recorded=3))
    assert not stores.shards.finish(shard_id, 1, Tally(recorded=3)), "done is done"
    assert stores.shard(shard_id)["status"] == "done" and not stores.shards.any_open("b")


def test_moved_parts_become_children_that_run_at_once_and_only_once(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 4, tenant="t9")
    doc = claimed(stores, shard_id)
    step = poison.decide(2, unpack_items(doc["items"]))
    assert isinstance(step, poison.Split)
    moved = poison.parts(doc, step)
    stores.shards.move_out(shard_id, doc["fence"], moved)
    parent = stores.shard(shard_id)
    missing = stores.shards.children_missing(parent["moved"])
    assert [part["child_id"] for part in missing] == [part["child_id"] for part in moved]
    for _ in range(2):
        stores.shards.insert_missing(child_docs(parent, missing))
    assert stores.shards.children_missing(parent["moved"]) == []
    children = [claimed(stores, part["child_id"]) for part in moved]
    assert [[item.line for item in unpack_items(child["items"])] for child in children] == [[1, 2], [3, 4]]
    for child in children:
        assert (child["batch_id"], child["tenant"], child["takeovers"]) == ("b", "t9", 1)
    assert sum(child["est_tokens"] for child in children) == doc["est_tokens"]


# --- hand-over


def move(stores: Stores, parent: Doc, lines: list[int], provider: str, **more: Any) -> list[Doc]:
    """Hand lines of a claimed shard over, as the engine does; gives the children as they are inserted."""
    chosen = Chosen(provider, f"{provider}-large", ("m: another one",))
    moved = handover.parts(parent, dict.fromkeys(lines, chosen), more.pop("histories", {}))
    assert stores.shards.move_out(parent["_id"], parent["fence"], moved, **more)
    fresh = stores.shard(parent["_id"])
    stores.shards.insert_missing(child_docs(fresh, stores.shards.children_missing(fresh["moved"])))
    return [stores.shard(part["child_id"]) for part in moved]


def lines_of(doc: Doc) -> list[int]:
    return [item.line for item in unpack_items(doc["items"])]


def test_handed_over_items_are_a_shard_of_another_provider_with_all_they_have_been_through(
    stores: Stores,
) -> None:
    (shard_id,) = stores.queued("b", 5, tenant="t9")
    parent = claimed(stores, shard_id)
    (child,) = move(stores, parent, [2, 4], "other", histories={4: History(3, unknown=1, calls=3)})
    assert (child["provider"], child["tenant"], child["batch_id"], child["seq"]) == ("other", "t9", "b", 1)
    assert (child["tried"], handover.chosen_of(child)) == (
        ["sim"],
        Chosen("other", "other-large", ("m: another one",)),
    )
    assert lines_of(child) == [2, 4]
    assert child["attempts"] == {"4": History(unknown=1, calls=3).to_doc()}
    assert [one.shard_id for one in stores.dispatches.waiting("other", 10)] == [child["_id"]]
    assert stores.dispatches.dispatch([child["_id"]], "t") == [child["_id"]]
    assert not stores.shards.finish(shard_id, 1, Tally(recorded=5))
    assert stores.shards.finish(shard_id, 1, Tally(recorded=3))
    assert stores.shards.any_open("b"), "the batch waits for its child"
    assert stores.shards.finish(child["_id"], claimed(stores, child["_id"])["fence"], Tally(recorded=2))
    assert not stores.shards.any_open("b")
    assert stores.shards.summed("b").handed_over == 2
    assert stores.shards.providers_of([shard_id, child["_id"], "gone"]) == {
        shard_id: "sim",
        child["_id"]: "other",
    }


def test_a_hand_over_that_is_written_twice_moves_once(stores: Stores) -> None:
    """The first write's answer may be lost; nobody knows then whether it happened."""
    (shard_id,) = stores.queued("b", 4)
    parent = claimed(stores, shard_id)
    moved = handover.parts(parent, {3: Chosen("other", "m")}, {})
    for _ in range(2):
        assert stores.shards.move_out(shard_id, 1, moved, unknown=1)
    after = stores.shard(shard_id)
    assert (len(after["moved"]), after["possibly_repeated"]) == (1, 1)
    assert not stores.shards.move_out(shard_id, 2, moved), "another lease's fence"


def test_two_hand_overs_of_one_lease_are_two_children_even_at_one_provider(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 4)
    parent = claimed(stores, shard_id)
    (first,), (second,) = move(stores, parent, [1, 3], "other"), move(stores, parent, [2], "other")
    assert (lines_of(first), lines_of(second)) == ([1, 3], [2])
    assert stores.shards.finish(shard_id, 1, Tally(recorded=1))


def test_what_may_be_repeated_is_counted_by_the_parent_once(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 5)
    parent = claimed(stores, shard_id)
    stores.shards.set_started(shard_id, 1, 5)
    (child,) = move(stores, parent, [1, 2], "other", started=3, unknown=1)
    assert (child["possibly_repeated"], child["prior"], child["started"]) == (0, [], 0)
    taken_away(stores, shard_id)
    again = claimed(stores, shard_id)
    assert again["prior"] == [{"fence": 1, "started": 3}], (
        "the moved items' calls are no longer its to settle"
    )
    stores.shards.settle_prior(shard_id, again["fence"], 3)
    assert stores.shards.summed("b").possibly_repeated == 4


def test_a_child_parks_is_taken_over_split_and_handed_on_like_any_other_shard(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 4)
    (child,) = move(stores, claimed(stores, shard_id), [1, 2, 3], "other", histories={3: History(calls=2)})
    child_id = child["_id"]
    waiting = {"2": History(1, calls=1, waiting=("retry", 5.0)).to_doc()} | child["attempts"]
    stores.shards.release(child_id, claimed(stores, child_id)["fence"], reason="retry", attempts=waiting)
    assert claimed(stores, child_id)["tried"] == ["sim"]
    taken_away(stores, child_id)
    taken = claimed(stores, child_id)
    assert (taken["takeovers"], taken["attempts"]) == (1, waiting)

    step = poison.decide(poison.SUSPECT_AFTER, unpack_items(taken["items"]))
    assert isinstance(step, poison.Split)
    halves = poison.parts(taken, step)
    assert stores.shards.move_out(child_id, taken["fence"], halves)
    stores.shards.insert_missing(child_docs(stores.shard(child_id), halves))
    first, second = (claimed(stores, part["child_id"]) for part in halves)
    assert (first["provider"], first["tried"], first["model"]) == ("other", ["sim"], "other-large")
    assert (first["attempts"], second["attempts"]) == ({}, waiting), "each has its own items' histories"

    (third,) = move(stores, second, [2, 3], "third")
    assert (third["tried"], third["model"], third["provider"]) == (["sim", "other"], "third-large", "third")
    with pytest.raises(ValueError, match="was at sim before"):
        handover.parts(third, {2: Chosen("sim", "m")}, {})
    assert stores.shards.finish(child_id, taken["fence"], Tally())
    assert stores.shards.finish(second["_id"], second["fence"], Tally())
    assert stores.shards.summed("b").handed_over == 5, "three of them once, two twice"


def test_whoever_claims_a_parent_can_insert_the_children_it_only_promised(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 2)
    parent = claimed(stores, shard_id)
    moved = handover.parts(parent, {1: Chosen("other", "m")}, {1: History(calls=1)})
    stores.shards.move_out(shard_id, 1, moved)
    stores.shards.release(shard_id, 1)
    again = claimed(stores, shard_id)
    stores.shards.insert_missing(child_docs(again, stores.shards.children_missing(again["moved"])))
    assert stores.shard(moved[0]["child_id"])["attempts"] == {"1": History(calls=1).to_doc()}


def test_a_free_shard_is_closed_from_the_queue_and_a_leased_one_by_its_holder(stores: Stores) -> None:
    free, dispatched, leased, done = stores.queued("b", 1, 1, 1, 1)
    stores.dispatches.dispatch([dispatched], "t")
    fence = claimed(stores, leased)["fence"]
    stores.shards.finish(done, claimed(stores, done)["fence"], Tally(recorded=1))
    assert {doc["_id"] for doc in stores.shards.to_close("b", 10)} == {free, dispatched}

    def close(shard_id: str, held: int | None) -> int:
        return stores.shards.close({shard_id: Tally(recorded=1, never_ran=1)}, fence=held)

    assert [close(one, None) for one in (free, dispatched, leased, done)] == [1, 1, 0, 0]
    assert close(leased, fence) and not close(done, 1) and not close(free, None)
    assert not stores.shards.any_open("b")
    assert stores.shards.summed("b").total.never_ran == 3


@pytest.mark.parametrize("status", list(ShardStatus))
def test_no_move_is_made_from_a_status_that_its_table_does_not_name(
    stores: Stores, status: ShardStatus
) -> None:
    shards = stores.shards
    moves: dict[str, Callable[[str], Any]] = {
        "dispatch": lambda one: stores.dispatches.dispatch([one], "t"),
        "recall": lambda one: stores.dispatches.recall("sim", -1.0),
        "claim": lambda one: shards.claim(one, "w", LEASE_S),
        "release": lambda one: shards.release(one, 3),
        "expire": lambda one: shards.expire(10),
        "finish": lambda one: shards.finish(one, 3, Tally(recorded=1)),
        "close": lambda one: shards.close({one: Tally()}, fence=3) or shards.close({one: Tally()}),
        "hold_back": lambda one: shards.hold_back("b"),
    }
    changes = {
        "status": str(status),
        "fence": 3,
        "lease_until": EPOCH,
        "dispatch": {"at": EPOCH, "token": "x"},
    }
    for name, move in moves.items():
        stores.db["batch_shards"].delete_many({})
        (shard_id,) = stores.queued("b", 1)
        stores.db["batch_shards"].update_one({"_id": shard_id}, {"$set": changes})
        before = stores.shard(shard_id)
        move(shard_id)
        legal = [table for table in SHARD_MOVES if table.name == name and status in table.sources]
        after = stores.shard(shard_id)
        assert (after != before) == bool(legal), f"{name} from {status}"
        assert after["status"] == (legal[0].target if legal else status), f"{name} from {status}"


def test_what_is_out_and_not_started_is_counted_until_it_has_had_time_to_start(stores: Stores) -> None:
    # given a shard on its way, one with four of ten called, and one that waits for others' calls since long
    sent, called, waits, _ = stores.queued("batch_1", 10, 10, 10, 10)
    stores.dispatches.dispatch([sent, called, waits], "t")
    held = stores.shards.claim(called, "w", 60.0)
    assert held is not None and stores.shards.set_started(called, held["fence"], 4)
    long_ago = {"$subtract": ["$$NOW", 60_000]}
    stores.db["batch_shards"].update_one({"_id": waits}, [{"$set": {"dispatch.at": long_ago}}])
    # then
    out = stores.dispatches.out("sim")
    assert (out.shards, out.unstarted_items, out.unstarted_tokens) == (3, 16, 1600)


def test_a_provider_waits_for_its_limit_while_a_shard_rests_because_of_it(stores: Stores) -> None:
    resting, _ = stores.queued("batch_1", 1, 1)
    for reason, wait_s, waits in (("limit", 30.0, True), ("retry", 30.0, False), ("limit", 0.0, False)):
        held = stores.shards.claim(resting, "w", 60.0)
        assert held is not None and not stores.dispatches.waits_for_its_limit("sim")
        stores.shards.release(resting, held["fence"], wait_s=wait_s, reason=reason)
        assert stores.dispatches.waits_for_its_limit("sim") == waits
        assert not stores.dispatches.waits_for_its_limit("openai")
        stores.db["batch_shards"].update_one({"_id": resting}, [{"$set": {"next_at": "$$NOW"}}])


def test_what_is_due_and_what_is_out_is_counted_for_the_shares_of_providers(stores: Stores) -> None:
    # given
    ids = stores.queued("batch_1", 1, 1, 1)
    stores.queued("batch_2", 1, tenant="other")
    stores.queued("batch_3", 1, provider="openai")
    stores.dispatches.dispatch(ids[:2], "t")
    claimed(stores, ids[0])
    stores.db["batch_shards"].update_one({"_id": ids[2]}, {"$set": {"next_at": NEVER}})
    # then
    assert stores.dispatches.sent() == {"sim": Sent(2, 2)}
    assert stores.dispatches.due("sim", 9) == 1, "one rests, two are out"
    assert stores.dispatches.due("sim", 9, without={"other"}) == 0
    assert stores.dispatches.waiting("sim", 9, without={"other"}) == []
    assert stores.dispatches.overdue(60.0, ["sim"]) == {} == stores.dispatches.overdue(-1.0, ["openai"])
    late = stores.dispatches.overdue(-1.0, ["sim"])
    assert late == {"sim": {"batch_1": 1}}, "the claimed one is nobody's debt"
    assert stores.dispatches.without_lease(late) == 0, "its batch has another one that runs"
    assert stores.dispatches.without_lease({"sim": {"batch_2": 1}, "openai": {"batch_1": 1}}) == 2
    # and one that goes on without a thread needs none until somebody else has it
    stores.dispatches.unseat(ids, "another")
    assert stores.dispatches.sent() == {"sim": Sent(2, 2)}
    stores.dispatches.unseat(ids, "w")
    assert stores.dispatches.sent() == {"sim": Sent(2, 1)}
    taken_away(stores, ids[0])
    claimed(stores, ids[0])
    assert stores.dispatches.sent() == {"sim": Sent(2, 2)}


def test_a_plan_that_nobody_has_begun_waits_for_a_thread(stores: Stores) -> None:
    batch_id = stores.batch(created_at=0.0)
    assert stores.dispatches.overdue_plans(1.0) == 1
    assert stores.dispatches.overdue_plans(1e12) == 0
    assert stores.batches.claim_plan(batch_id, "planner", 60.0)
    assert stores.dispatches.overdue_plans(1.0) == 0


def test_a_run_that_broke_counts_as_a_lost_lease_and_leaves_its_calls_to_be_settled(stores: Stores) -> None:
    (shard_id,) = stores.queued("b", 3)
    assert stores.shards.set_started(shard_id, claimed(stores, shard_id)["fence"], 2)
    assert not stores.shards.break_off(shard_id, 0, wait_s=0.0, reason="engine_error"), "by its fence alone"
    assert stores.shards.break_off(shard_id, 1, wait_s=0.0, reason="engine_error")
    doc = stores.shard(shard_id)
    assert (doc["status"], doc["reason"], doc["takeovers"]) == ("queued", "engine_error", 1)
    again = claimed(stores, shard_id)
    assert (again["prior"], again["takeovers"]) == ([{"fence": 1, "started": 2}], 1)


def test_a_paused_batch_keeps_no_other_from_its_provider(stores: Stores) -> None:
    stores.queued("batch_1", 1)
    stores.shards.hold_back("batch_1")
    assert not stores.dispatches.waits_for_its_limit("sim")
