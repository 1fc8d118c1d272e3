"""Elections, tenants and worker processes in a real MongoDB."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.batches import Stores
from tests.support.eventually import eventually
from workers.core.tenancy import TenantLimits, TenantRules
from workers.store.elections import Elections
from workers.store.mongo import EPOCH
from workers.store.worker_processes import WorkerProcesses

pytestmark = pytest.mark.integration


def test_one_of_many_holds_a_lease(stores: Stores) -> None:
    elections, together = Elections(stores.db), threading.Barrier(16)

    def run(number: int) -> bool:
        together.wait()
        return elections.hold("sweep", f"w{number}", 60.0)

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(run, range(16))) == 1


def test_a_holder_renews_and_whoever_gives_up_lets_the_next_one_in(stores: Stores) -> None:
    elections = Elections(stores.db)
    assert elections.hold("sweep", "a", 60.0) and elections.hold("sweep", "a", 60.0)
    assert not elections.hold("sweep", "b", 60.0)
    assert elections.hold("dispatch:sim", "b", 60.0), "another name is another lease"
    elections.give_up("sweep", "b")
    assert not elections.hold("sweep", "b", 60.0), "only the holder gives up"
    elections.give_up("sweep", "a")
    assert elections.hold("sweep", "b", 60.0)


def test_a_lease_runs_out_by_itself(stores: Stores) -> None:
    elections = Elections(stores.db)
    assert elections.hold("sweep", "a", 0.05)
    assert eventually(lambda: elections.hold("sweep", "b", 60.0), 5.0)


def test_a_tenant_is_made_once_and_keeps_its_secret(stores: Stores) -> None:
    first, again = stores.tenants.ensure(), stores.tenants.ensure()
    assert first == again and len(first.secret) == 32
    assert stores.tenants.ensure("other").secret != first.secret
    assert {name: rules.weight for name, rules in stores.tenants.rules().items()} == {
        "default": 1.0,
        "other": 1.0,
    }
    with pytest.raises(LookupError):
        stores.tenants.get("nobody")


def test_what_is_settled_is_read_back_and_taken_back(stores: Stores) -> None:
    tenants = stores.tenants
    assert tenants.create("t1", {"weight": 2.0, "limits.max_concurrency": 4, "retention_days": None})
    assert not tenants.create("t1", {"weight": 3.0}), "it exists"
    rules = TenantRules(weight=2.0, limits=TenantLimits(max_concurrency=4))
    assert tenants.rules() == {"t1": rules} and tenants.rules_of("t1") == rules
    assert tenants.settle(
        "t1", {"weight": None, "limits.max_concurrency": None, "max_cost_usd_per_month": 9.5}
    )
    assert tenants.rules_of("t1") == TenantRules(max_cost_usd_per_month=9.5)
    assert tenants.get("t1").weight == 1.0 and tenants.settle("t1", {})
    assert not tenants.settle("nobody", {"weight": 2.0}) and not tenants.settle("nobody", {})
    with pytest.raises(LookupError):
        tenants.rules_of("nobody")


def test_a_marked_tenant_is_forgotten_and_nothing_settles_it_any_more(stores: Stores) -> None:
    before = stores.tenants.ensure("t1")
    assert stores.tenants.begin_erasing("t1") and stores.tenants.begin_erasing("t1")
    assert stores.tenants.get("t1").generation == before.generation + 1, "once"
    assert list(stores.tenants.erasing()) == ["t1"] and not stores.tenants.begin_erasing("nobody")
    assert not stores.tenants.settle("t1", {"weight": 2.0})
    assert not stores.tenants.remove("t1", marked_s=60.0), "it was marked just now"
    assert stores.tenants.remove("t1", marked_s=0.0)


def test_slots_are_those_of_processes_that_live(stores: Stores) -> None:
    processes = WorkerProcesses(stores.db)
    processes.beat("w1", providers=["sim", "openai"], slots=8)
    processes.beat("w2", providers=["sim"], slots=4)
    processes.beat("w2", providers=["sim"], slots=3)
    assert processes.slots() == {"sim": 11, "openai": 8} and processes.count() == 2
    stores.db["worker_processes"].update_one({"owner": "w1"}, {"$set": {"seen_at": EPOCH}})
    assert processes.slots() == {"sim": 3}
    assert processes.forget_dead() == 1
    processes.leave("w2")
    assert processes.slots() == {} and processes.count() == 0
