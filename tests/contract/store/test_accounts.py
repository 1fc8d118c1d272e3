"""The ceiling of a tenant's month in a real MongoDB, beside that of a batch; and what is said at its marks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.batches import Stores
from workers.core.budget import Money, money_of, new_budget
from workers.core.identity import shard_id
from workers.store.accounts import Accounts
from workers.store.budgets import Budgets
from workers.store.ledger import Ledger
from workers.store.mongo import Doc
from workers.store.outbox import Outbox

pytestmark = pytest.mark.integration
NOVEMBER_S, DECEMBER_S = 1_796_083_199.0, 1_796_083_200.0
Caps = Callable[[float | None], None]


@pytest.fixture
def accounts(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """Ceilings that are read anew each time."""
    monkeypatch.setattr("workers.store.accounts.CAP_FRESH_S", 0.0)
    stores.db["accounts"].delete_many({})
    for name in ("usage", "batch_jobs", "batch_shards"):
        stores.db[name].delete_many({})
    return Accounts(stores.db)


@pytest.fixture
def cap(stores: Stores) -> Caps:
    def set_cap(cap_usd: float | None) -> None:
        stores.tenants.ensure("default")
        stores.db["tenants"].update_one({"_id": "default"}, {"$set": {"max_cost_usd_per_month": cap_usd}})

    return set_cap


def running(stores: Stores, limit_usd: float | None = None) -> str:
    batch_id = stores.batch(budget=new_budget(limit_usd)) if limit_usd else stores.batch()
    stores.start(batch_id)
    return batch_id


def opened(stores: Stores, accounts: Accounts, batch_id: str, now_s: float = NOVEMBER_S) -> str:
    id_ = accounts.open("default", stores.state(batch_id), now_s=now_s)
    assert id_ is not None
    return id_


def money(accounts: Accounts, id_: str) -> Money:
    doc = accounts.get(id_)
    assert doc is not None
    return money_of(doc["budget"])


def told(doc: Doc | None) -> list[str]:
    return [event["type"] for event in (doc or {}).get("events", ())]


def test_a_tenant_without_a_ceiling_has_no_account_and_writes_nothing(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(None)
    batch_id = running(stores)
    before = stores.state(batch_id)
    assert accounts.open("default", before, now_s=NOVEMBER_S) is None
    assert accounts.open("nobody", before, now_s=NOVEMBER_S) is None
    assert stores.db["accounts"].count_documents({}) == 0 and stores.state(batch_id) == before


def test_batches_of_a_tenant_share_its_month_and_the_next_month_is_another(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(1.0)
    one, two = running(stores), running(stores)
    november = opened(stores, accounts, one)
    assert opened(stores, accounts, two) == november == "default:2026-11"
    assert accounts.hold(november, shard_id(one, 1), 1, settled_usd=0.0, in_flight_usd=0.75).granted
    refused = accounts.hold(november, shard_id(two, 1), 1, settled_usd=0.0, in_flight_usd=0.5)
    assert not refused.granted and refused.free_usd == 0.25 and refused.others_in_flight_usd == 0.75
    december = opened(stores, accounts, two, DECEMBER_S)
    assert accounts.hold(december, shard_id(two, 1), 1, settled_usd=0.0, in_flight_usd=0.5).granted
    assert stores.state(two)["accounts"] == [november, december]


def test_what_a_shard_cost_before_the_month_turned_does_not_count_in_the_new_one(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(1.0)
    batch_id = running(stores)
    shard, december = shard_id(batch_id, 1), opened(stores, accounts, batch_id, DECEMBER_S)
    for fence in (2, 3):  # another lease of the same month counts from where the first one began
        assert accounts.hold(december, shard, fence, settled_usd=50.0, in_flight_usd=0.5).granted
        assert accounts.settle(december, shard, fence, settled_usd=50.25)
    assert accounts.close(december, shard, 3, settled_usd=50.25)
    assert money(accounts, december) == Money(limit_usd=1.0, spent_usd=0.25, in_flight_usd=0.0, lost_usd=0.25)
    assert not accounts.settle(december, shard, 3, settled_usd=60.0), "a late word brings back no hold"


def test_a_ceiling_that_moves_holds_from_the_next_call_on(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(1.0)
    batch_id = running(stores)
    shard, id_ = shard_id(batch_id, 1), opened(stores, accounts, batch_id)
    assert not accounts.hold(id_, shard, 1, settled_usd=0.0, in_flight_usd=2.0).granted
    cap(2.0)
    assert accounts.hold(id_, shard, 1, settled_usd=0.0, in_flight_usd=2.0).granted
    cap(0.5)
    assert accounts.hold(id_, shard, 1, settled_usd=0.0, in_flight_usd=0.75).limit_usd == 0.5
    cap(None)
    assert accounts.hold(id_, shard, 1, settled_usd=0.0, in_flight_usd=99.0).granted


def test_an_account_begins_with_what_the_month_has_cost_until_then(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(10.0)
    batch_id = running(stores)
    share = {"provider": "sim", "model": "m", "cost_usd": 4.0}
    for number, day in enumerate(["2026-10-31", "2026-11-01", "2026-11-30", "2026-12-01"]):
        row = {"tenant": "default", "created_day": day, "ended_day": day, "shares": [share]}
        stores.db["usage"].insert_one({"_id": f"old{number}", **row})
    over_midnight = {
        "tenant": "default",
        "created_day": "2026-10-31",
        "ended_day": "2026-11-01",
        "shares": [share],
    }
    stores.db["usage"].insert_one({"_id": "paid in October", **over_midnight})
    assert money(accounts, opened(stores, accounts, batch_id)).spent_usd == 8.0
    assert Ledger(stores.db).spent_usd("nobody", "2026-11") == 0.0


def test_an_account_that_begins_late_counts_what_running_batches_of_the_month_have_cost(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(10.0)
    batch_id = running(stores)
    (shard,) = stores.queued(batch_id, 5)
    stores.db["batch_shards"].update_one({"_id": shard}, {"$set": {"counts.cost_usd": 6.0}})
    now_s = stores.state(batch_id)["created_at"]
    id_ = opened(stores, accounts, batch_id, now_s)
    assert money(accounts, id_).spent_usd == 6.0
    refused = accounts.hold(id_, shard, 1, settled_usd=6.0, in_flight_usd=5.0)
    assert not refused.granted and refused.free_usd == 4.0, "what it had cost counts once"
    next_month_s = now_s + 32 * 86_400
    assert money(accounts, opened(stores, accounts, batch_id, next_month_s)).spent_usd == 0.0


def test_what_was_spent_while_a_ceiling_was_away_counts_when_it_is_back(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(10.0)
    one, two = running(stores), running(stores)
    id_ = opened(stores, accounts, one)
    assert accounts.hold(id_, shard_id(one, 1), 1, settled_usd=2.0, in_flight_usd=0.0).granted
    assert accounts.settle(id_, shard_id(one, 1), 1, settled_usd=5.0)
    cap(None)
    assert accounts.hold(id_, shard_id(two, 1), 1, settled_usd=0.0, in_flight_usd=99.0).granted
    share = {"provider": "sim", "model": "m", "cost_usd": 9.0}
    row = {"tenant": "default", "created_day": "2026-11-29", "ended_day": "2026-11-30", "shares": [share]}
    stores.db["usage"].insert_one({"_id": "ended meanwhile", **row})
    cap(10.0)
    refused = accounts.hold(id_, shard_id(two, 1), 1, settled_usd=0.0, in_flight_usd=2.0)
    assert not refused.granted and refused.free_usd == 1.0
    assert money(accounts, id_).spent_usd == 9.0, "with what the first batch still holds"


@pytest.mark.parametrize("gone", ["the ceiling in it", "the account"])
def test_a_shard_whose_account_was_touched_by_others_still_has_its_ceiling(
    stores: Stores, accounts: Accounts, cap: Caps, gone: str
) -> None:
    cap(1.0)
    batch_id = running(stores)
    id_ = opened(stores, accounts, batch_id)
    if gone == "the account":
        stores.db["accounts"].delete_one({"_id": id_})
    else:
        stores.db["accounts"].update_one({"_id": id_}, {"$unset": {"budget.limit_usd": ""}})
    refused = accounts.hold(id_, shard_id(batch_id, 1), 1, settled_usd=0.0, in_flight_usd=2.0)
    assert not refused.granted and refused.limit_usd == 1.0


def test_the_end_of_a_batch_leaves_nothing_of_it_held_and_may_be_repeated(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(10.0)
    one, two = running(stores), running(stores)
    id_ = opened(stores, accounts, one)
    accounts.hold(id_, shard_id(one, 1), 1, settled_usd=1.0, in_flight_usd=0.0)
    accounts.hold(id_, shard_id(one, 1), 1, settled_usd=2.0, in_flight_usd=0.5)
    accounts.hold(id_, shard_id(one, 2), 1, settled_usd=0.0, in_flight_usd=0.25)
    accounts.hold(id_, shard_id(two, 1), 1, settled_usd=0.0, in_flight_usd=2.0)
    assert [accounts.fold(id_, one) for _ in range(3)] == [True, False, False]
    assert money(accounts, id_) == Money(limit_usd=10.0, spent_usd=1.0, in_flight_usd=2.0, lost_usd=0.75)
    assert not accounts.close(id_, shard_id(one, 1), 1, settled_usd=2.0), "its worker comes too late"


def test_the_marks_of_a_month_are_said_once_whatever_becomes_of_its_ceiling(
    stores: Stores, accounts: Accounts, cap: Caps
) -> None:
    cap(10.0)
    batch_id = running(stores)
    shard, id_ = shard_id(batch_id, 1), opened(stores, accounts, batch_id)
    accounts.hold(id_, shard, 1, settled_usd=0.0, in_flight_usd=9.0)
    assert told(accounts.get(id_)) == [], "nothing is spent yet"
    for settled_usd in (7.9, 8.0, 8.5):
        accounts.settle(id_, shard, 1, settled_usd=settled_usd)
    doc = accounts.get(id_)
    assert doc is not None and told(doc) == ["tenant.budget_warning"]
    (event,) = doc["events"]
    assert event["data"] == {"id": "default", "limit_usd": 10.0, "spent_usd": 8.0}
    assert event["object"] == "event" and isinstance(event["created_at"], int)
    accounts.reached(id_, limit_usd=10.0)
    cap(20.0)
    accounts.hold(id_, shard, 1, settled_usd=19.0, in_flight_usd=0.0)
    accounts.close(id_, shard, 1, settled_usd=25.0)
    doc = accounts.get(id_)
    assert doc is not None and told(doc) == ["tenant.budget_warning", "tenant.budget_reached"]
    assert [entry["n"] for entry in doc["log"]] == [1, 2]
    assert Outbox(stores.db).collect(10) >= 1 and told(accounts.get(id_)) == []
    row = stores.db["outbox"].find_one({"_id": event["id"]})
    assert row is not None and row["tenant"] == "default" and row["event"] == event


def test_the_marks_of_a_batch_are_said_once_for_each_ceiling(stores: Stores) -> None:
    budgets, batch_id = Budgets(stores.db), running(stores, 10.0)
    shard = shard_id(batch_id, 1)
    budgets.hold(batch_id, shard, 1, settled_usd=0.0, in_flight_usd=10.0)
    for _ in range(2):
        budgets.settle(batch_id, shard, 1, settled_usd=8.5)
    assert told(stores.state(batch_id)) == ["batch.budget_warning"]
    assert budgets.pause_for_budget(batch_id, limit_usd=10.0)
    assert told(stores.state(batch_id))[1:] == ["batch.budget_reached"], "at rest, with too little left"
    budgets.raise_limit(batch_id, "default", 20.0)
    budgets.settle(batch_id, shard, 1, settled_usd=15.0)
    assert len(told(stores.state(batch_id))) == 2
    budgets.close(batch_id, shard, 1, settled_usd=21.0)
    doc = stores.state(batch_id)
    assert told(doc)[2:] == ["batch.budget_warning", "batch.budget_reached"]
    assert len({event["id"] for event in doc["events"]}) == 4
    assert doc["events"][3]["data"] == {"id": batch_id, "limit_usd": 20.0, "spent_usd": 21.0}
    kinds = [entry["type"] for entry in doc["log"]]
    assert [kind for kind in kinds if "budget" in kind] == told(doc)
    assert [entry["n"] for entry in doc["log"]] == list(range(1, len(kinds) + 1))


def test_a_batch_rests_at_its_tenants_ceiling_until_that_very_rest_is_ended(stores: Stores) -> None:
    budgets, batch_id = Budgets(stores.db), running(stores)
    assert budgets.pause_for_tenant(batch_id, "default:2026-11", limit_usd=5.0)
    assert not budgets.pause_for_tenant(batch_id, "default:2026-11", limit_usd=5.0), "it rests already"
    (found,) = [doc for doc in budgets.resting_for_tenant("", 100) if doc["_id"] == batch_id]
    other = {"account": "default:2026-11", "limit_usd": 6.0}
    assert [budgets.go_on(batch_id, rests) for rests in (other, found["tenant_budget"])] == [False, True]
    doc = stores.state(batch_id)
    assert (doc["paused_at"], doc["pause_reason"], doc["log"][-1]["type"]) == (None, None, "batch.resumed")
    assert not budgets.go_on(batch_id, found["tenant_budget"])


@pytest.mark.parametrize("seed", range(2))
def test_shards_of_two_batches_never_pass_their_own_ceiling_nor_that_of_their_tenants_month(
    stores: Stores, accounts: Accounts, cap: Caps, seed: int
) -> None:
    """Each holds under both, spends at most that, settles, is lost and taken over, and closes, in any order."""
    cap(1.2)
    budgets = Budgets(stores.db)
    batches = [running(stores, 0.8) for _ in range(2)]
    id_, together = opened(stores, accounts, batches[0]), threading.Barrier(6)
    opened(stores, accounts, batches[1])

    def work(number: int) -> tuple[int, float, list[float]]:
        chance, batch_id = random.Random(seed * 100 + number), batches[number % 2]
        shard, fence, spent_usd, recorded_usd, seen = shard_id(batch_id, number), 1, 0.0, 0.0, []
        together.wait()
        for _ in range(8):
            asked_usd = chance.uniform(0.01, 0.15)
            ceilings = [(budgets, batch_id), (accounts, id_)]
            if all(
                holds.hold(each, shard, fence, settled_usd=recorded_usd, in_flight_usd=asked_usd).granted
                for holds, each in ceilings
            ):
                cost_usd, died = asked_usd * chance.random(), chance.random()
                spent_usd += cost_usd
                for holds, each in ceilings[: 2 if died < 0.8 else chance.randrange(2)]:
                    holds.settle(each, shard, fence, settled_usd=recorded_usd + cost_usd)
                if died < 0.3 or died > 0.9:
                    fence += 1  # the worker died between two words, or after them; the answer is not recorded
                    continue
                recorded_usd += cost_usd
            else:
                for holds, each in ceilings:
                    holds.settle(each, shard, fence, settled_usd=recorded_usd)
            state = money(accounts, id_)
            seen.append(state.spent_usd + state.in_flight_usd + state.lost_usd)
        if chance.random() < 0.5:
            accounts.close(id_, shard, fence, settled_usd=recorded_usd)
        return number % 2, spent_usd, seen

    with ThreadPoolExecutor(6) as threads:
        ended = list(threads.map(work, range(6)))
    for batch_id in batches:
        accounts.fold(id_, batch_id)
    assert max((total for _, _, seen in ended for total in seen), default=0.0) <= 1.2 + 1e-6
    spent_usd = sum(spent for _, spent, _ in ended)
    assert spent_usd <= 1.2 + 1e-6, "not even what nobody recorded passes it"
    assert all(sum(s for of, s, _ in ended if of == which) <= 0.8 + 1e-6 for which in range(2))
    final = money(accounts, id_)
    assert final.in_flight_usd == 0.0 and final.spent_usd + final.lost_usd >= spent_usd - 1e-9
    assert stores.db["accounts"].find_one({"_id": id_, "budget.holds": {}}) is not None
