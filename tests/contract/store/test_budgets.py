"""The ceiling of a batch's money in a real MongoDB: held before calls, settled after them, never forgotten."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.batches import Stores
from workers.core.budget import Money, carried_usd, money_of, new_budget
from workers.core.identity import shard_id
from workers.store.budgets import Budgets

pytestmark = pytest.mark.integration


@pytest.fixture
def budgets(stores: Stores) -> Budgets:
    return Budgets(stores.db)


def limited(stores: Stores, limit_usd: float) -> str:
    """A running batch with this ceiling."""
    batch_id = stores.batch(budget=new_budget(limit_usd))
    stores.start(batch_id)
    return batch_id


def money(stores: Stores, batch_id: str) -> Money:
    return money_of(stores.state(batch_id)["budget"])


def test_a_hold_is_granted_up_to_the_ceiling_and_not_beyond(stores: Stores, budgets: Budgets) -> None:
    batch_id = limited(stores, 0.3)
    one, two, three = (shard_id(batch_id, seq) for seq in (1, 2, 3))
    assert budgets.hold(batch_id, one, 1, settled_usd=0.0, in_flight_usd=0.1).granted
    assert budgets.hold(batch_id, two, 1, settled_usd=0.0, in_flight_usd=0.1).granted
    refused = budgets.hold(batch_id, three, 1, settled_usd=0.0, in_flight_usd=0.2)
    assert not refused.granted
    assert refused.free_usd == pytest.approx(0.1)
    assert refused.others_in_flight_usd == pytest.approx(0.2)
    assert refused.limit_usd == 0.3
    assert money(stores, batch_id).in_flight_usd == pytest.approx(0.2), "a refusal writes nothing"
    assert budgets.hold(batch_id, three, 1, settled_usd=0.0, in_flight_usd=0.1).granted, "0.1 * 3 is 0.3"


def test_a_hold_takes_the_place_of_the_same_shards_last_one(stores: Stores, budgets: Budgets) -> None:
    batch_id = limited(stores, 1.0)
    shard = shard_id(batch_id, 1)
    for _ in range(3):
        assert budgets.hold(batch_id, shard, 1, settled_usd=0.0, in_flight_usd=0.9).granted
    assert budgets.hold(batch_id, shard, 1, settled_usd=0.5, in_flight_usd=0.5).granted
    assert money(stores, batch_id) == Money(limit_usd=1.0, spent_usd=0.5, in_flight_usd=0.5, lost_usd=0.0)


def test_settling_frees_what_calls_did_not_cost_and_may_pass_the_ceiling(
    stores: Stores, budgets: Budgets
) -> None:
    batch_id = limited(stores, 1.0)
    one, two = shard_id(batch_id, 1), shard_id(batch_id, 2)
    assert budgets.hold(batch_id, one, 1, settled_usd=0.0, in_flight_usd=1.0).granted
    assert not budgets.hold(batch_id, two, 1, settled_usd=0.0, in_flight_usd=0.5).granted
    assert budgets.settle(batch_id, one, 1, settled_usd=0.25)
    assert budgets.hold(batch_id, two, 1, settled_usd=0.0, in_flight_usd=0.5).granted
    assert budgets.settle(batch_id, one, 1, settled_usd=2.0, in_flight_usd=0.5)
    assert money(stores, batch_id) == Money(limit_usd=1.0, spent_usd=2.0, in_flight_usd=1.0, lost_usd=0.0)


def test_a_closed_hold_is_spent_once(stores: Stores, budgets: Budgets) -> None:
    batch_id = limited(stores, 1.0)
    shard = shard_id(batch_id, 1)
    budgets.hold(batch_id, shard, 1, settled_usd=0.0, in_flight_usd=0.75)
    assert [budgets.close(batch_id, shard, 1, settled_usd=0.5) for _ in range(3)] == [True, False, False]
    assert stores.state(batch_id)["budget"]["holds"] == {}
    assert money(stores, batch_id) == Money(limit_usd=1.0, spent_usd=0.5, in_flight_usd=0.0, lost_usd=0.0)
    assert not budgets.close(batch_id, shard_id(batch_id, 2), 1, settled_usd=9.0), "it never held anything"


def test_a_call_of_unknown_outcome_counts_as_lost_when_its_shard_ends(
    stores: Stores, budgets: Budgets
) -> None:
    batch_id = limited(stores, 1.0)
    shard = shard_id(batch_id, 1)
    budgets.hold(batch_id, shard, 1, settled_usd=0.0, in_flight_usd=0.75)
    assert budgets.close(batch_id, shard, 1, settled_usd=0.5, lost_usd=0.25)
    assert money(stores, batch_id) == Money(limit_usd=1.0, spent_usd=0.5, in_flight_usd=0.0, lost_usd=0.25)


def test_what_a_lost_worker_had_in_flight_stays_held_under_every_later_lease(
    stores: Stores, budgets: Budgets
) -> None:
    batch_id = limited(stores, 1.0)
    shard, other = shard_id(batch_id, 1), shard_id(batch_id, 2)
    budgets.hold(batch_id, shard, 1, settled_usd=0.125, in_flight_usd=0.5)
    refused = budgets.hold(batch_id, shard, 2, settled_usd=0.25, in_flight_usd=0.5)
    assert not refused.granted
    assert refused.free_usd == pytest.approx(0.25), "0.5 may have been spent by lease 1"
    assert budgets.hold(batch_id, shard, 2, settled_usd=0.25, in_flight_usd=0.25).granted
    assert not budgets.hold(batch_id, other, 1, settled_usd=0.0, in_flight_usd=0.01).granted
    assert budgets.settle(batch_id, shard, 2, settled_usd=0.375)
    assert money(stores, batch_id) == Money(limit_usd=1.0, spent_usd=0.375, in_flight_usd=0.0, lost_usd=0.5)
    assert budgets.close(batch_id, shard, 2, settled_usd=0.375)
    assert money(stores, batch_id) == Money(limit_usd=1.0, spent_usd=0.375, in_flight_usd=0.0, lost_usd=0.5)


def test_answers_that_were_paid_and_never_recorded_are_lost_and_not_forgotten(
    stores: Stores, budgets: Budgets
) -> None:
    batch_id = limited(stores, 1.0)
    shard = shard_id(batch_id, 1)
    budgets.settle(batch_id, shard, 1, settled_usd=0.5)
    for _ in range(3):  # lease 2 finds results for half of it
        assert budgets.settle(batch_id, shard, 2, settled_usd=0.25)
    assert money(stores, batch_id) == Money(limit_usd=1.0, spent_usd=0.25, in_flight_usd=0.0, lost_usd=0.25)
    assert budgets.close(batch_id, shard, 3, settled_usd=0.125)
    assert money(stores, batch_id) == Money(limit_usd=1.0, spent_usd=0.125, in_flight_usd=0.0, lost_usd=0.375)


@pytest.mark.parametrize(("fence", "settled_usd"), [(1, 0.5), (1, 0.25), (2, 0.5), (2, 0.25), (2, 0.75)])
def test_the_database_counts_losses_as_the_pure_rule_does(
    stores: Stores, budgets: Budgets, fence: int, settled_usd: float
) -> None:
    batch_id = limited(stores, 10.0)
    shard = shard_id(batch_id, 1)
    budgets.hold(batch_id, shard, 1, settled_usd=0.5, in_flight_usd=0.125)
    (hold,) = stores.state(batch_id)["budget"]["holds"].values()
    budgets.settle(batch_id, shard, fence, settled_usd=settled_usd)
    assert money(stores, batch_id).lost_usd == carried_usd(hold, fence, settled_usd)


def test_a_shard_that_was_settled_before_it_was_given_back_loses_nothing(
    stores: Stores, budgets: Budgets
) -> None:
    batch_id = limited(stores, 1.0)
    shard = shard_id(batch_id, 1)
    budgets.hold(batch_id, shard, 1, settled_usd=0.0, in_flight_usd=0.5)
    budgets.settle(batch_id, shard, 1, settled_usd=0.25)
    assert budgets.hold(batch_id, shard, 2, settled_usd=0.25, in_flight_usd=0.75).granted


def test_a_superseded_lease_holds_settles_and_closes_nothing(stores: Stores, budgets: Budgets) -> None:
    batch_id = limited(stores, 1.0)
    shard = shard_id(batch_id, 1)
    budgets.hold(batch_id, shard, 2, settled_usd=0.0, in_flight_usd=0.5)
    before = stores.state(batch_id)["budget"]
    late = budgets.hold(batch_id, shard, 1, settled_usd=0.0, in_flight_usd=0.25)
    assert not late.granted and late.superseded
    assert not budgets.settle(batch_id, shard, 1, settled_usd=0.0)
    assert not budgets.close(batch_id, shard, 1, settled_usd=0.0)
    assert stores.state(batch_id)["budget"] == before


def test_a_shard_of_a_shard_has_a_hold_of_its_own(stores: Stores, budgets: Budgets) -> None:
    batch_id = limited(stores, 1.0)
    parent = shard_id(batch_id, 1)
    budgets.hold(batch_id, parent, 1, settled_usd=0.0, in_flight_usd=0.5)
    assert not budgets.hold(batch_id, f"{parent}.17", 1, settled_usd=0.0, in_flight_usd=0.75).granted
    assert budgets.hold(batch_id, f"{parent}.17", 1, settled_usd=0.0, in_flight_usd=0.5).granted
    assert len(stores.state(batch_id)["budget"]["holds"]) == 2


def test_without_a_ceiling_everything_is_granted_and_nothing_written(
    stores: Stores, budgets: Budgets
) -> None:
    batch_id = stores.batch()
    before = stores.state(batch_id)
    shard = shard_id(batch_id, 1)
    assert budgets.hold(batch_id, shard, 1, settled_usd=1e9, in_flight_usd=1e9).granted
    assert not budgets.settle(batch_id, shard, 1, settled_usd=1.0)
    assert not budgets.close(batch_id, shard, 1, settled_usd=1.0)
    assert not budgets.raise_limit(batch_id, "default", 5.0)
    assert stores.state(batch_id) == before


def test_a_ceiling_moves_up_only_and_only_for_its_tenant(stores: Stores, budgets: Budgets) -> None:
    batch_id = limited(stores, 1.0)
    assert not budgets.raise_limit(batch_id, "other", 5.0)
    assert [budgets.raise_limit(batch_id, "default", limit) for limit in (2.0, 2.0, 1.5)] == [
        True,
        True,
        False,
    ]
    assert money(stores, batch_id).limit_usd == 2.0
    assert budgets.hold(batch_id, shard_id(batch_id, 1), 1, settled_usd=0.0, in_flight_usd=2.0).granted


def test_a_batch_rests_at_the_ceiling_that_was_seen_and_at_no_newer_one(
    stores: Stores, budgets: Budgets
) -> None:
    validating = stores.batch(budget=new_budget(1.0))
    assert not budgets.pause_for_budget(validating, limit_usd=1.0)
    batch_id = limited(stores, 1.0)
    budgets.raise_limit(batch_id, "default", 2.0)
    assert not budgets.pause_for_budget(batch_id, limit_usd=1.0), "there is new money"
    assert budgets.pause_for_budget(batch_id, limit_usd=2.0)
    assert not budgets.pause_for_budget(batch_id, limit_usd=2.0), "it rests already"
    doc = stores.state(batch_id)
    assert doc["paused_at"] is not None and doc["pause_reason"] == "budget"
    cancelled = limited(stores, 1.0)
    stores.batches.cancel(cancelled)
    assert not budgets.pause_for_budget(cancelled, limit_usd=1.0)


@pytest.mark.parametrize("seed", range(3))
def test_eight_shards_at_once_never_hold_more_than_the_ceiling(
    stores: Stores, budgets: Budgets, seed: int
) -> None:
    """Each holds, spends at most what it holds, settles, is lost and taken over, and closes, in any order."""
    batch_id, together = limited(stores, 1.0), threading.Barrier(8)

    def work(number: int) -> tuple[float, list[float]]:
        chance, shard = random.Random(seed * 100 + number), shard_id(batch_id, number)
        fence, spent_usd, recorded_usd = 1, 0.0, 0.0
        seen: list[float] = []
        together.wait()
        for _ in range(12):
            in_flight_usd = chance.uniform(0.01, 0.15)
            if budgets.hold(
                batch_id, shard, fence, settled_usd=recorded_usd, in_flight_usd=in_flight_usd
            ).granted:
                cost_usd = in_flight_usd * chance.random()
                spent_usd += cost_usd
                died = chance.random()
                if died < 0.8:
                    budgets.settle(batch_id, shard, fence, settled_usd=recorded_usd + cost_usd)
                if died < 0.3 or died > 0.9:
                    fence += 1  # the worker died with or without a word; the answer was never recorded
                    continue
                recorded_usd += cost_usd
            state = money(stores, batch_id)
            seen.append(state.spent_usd + state.in_flight_usd + state.lost_usd)
        budgets.close(batch_id, shard, fence, settled_usd=recorded_usd)
        return spent_usd, seen

    with ThreadPoolExecutor(8) as threads:
        ended = list(threads.map(work, range(8)))
    assert max(total for _, seen in ended for total in seen) <= 1.0 + 1e-6
    assert sum(spent for spent, _ in ended) <= 1.0 + 1e-6, "not even what nobody recorded passes it"
    final = money(stores, batch_id)
    assert final.in_flight_usd == 0.0
    assert final.spent_usd + final.lost_usd >= sum(spent for spent, _ in ended) - 1e-9
