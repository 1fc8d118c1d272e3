"""Elections, tenants and their keys in a real MongoDB."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from bson import encode

from tests.support.batches import Stores
from tests.support.eventually import eventually
from workers.core.identity import new_api_key
from workers.store.elections import Elections
from workers.store.mongo import EPOCH
from workers.store.tenants import Tenants
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
    assert stores.tenants.weights() == {"default": 1.0, "other": 1.0}
    with pytest.raises(LookupError):
        stores.tenants.get("nobody")


def test_a_key_acts_for_its_tenant_until_it_is_revoked(stores: Stores) -> None:
    tenants, key = Tenants(stores.db), new_api_key()
    tenants.add_key("t1", key, name="ci")
    tenants.add_key("t2", key, name="twice")
    assert tenants.tenant_of_key(key) == "t1", "adding it again changes nothing"
    assert tenants.tenant_of_key(new_api_key()) is None
    stores.db["api_keys"].update_many({}, {"$set": {"revoked_at": 1.0}})
    assert tenants.tenant_of_key(key) is None


def test_a_key_never_stands_in_the_database(stores: Stores) -> None:
    tenants, key = Tenants(stores.db), new_api_key()
    tenants.add_key("t1", key, name="ci")
    everything = b"".join(
        encode(doc) for name in stores.db.list_collection_names() for doc in stores.db[name].find()
    )
    assert b"t1" in everything
    assert key[3:].encode() not in everything and key[:10].encode() not in everything


def test_processes_that_race_for_the_pepper_agree_on_it(stores: Stores) -> None:
    together, key = threading.Barrier(8), new_api_key()

    def hashed(_: int) -> str:
        tenants = Tenants(stores.db)
        together.wait()
        tenants.add_key("t1", key, name="ci")
        return str(tenants.tenant_of_key(key))

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(hashed, range(8))) == {"t1"}
    assert stores.db["api_keys"].count_documents({}) == 1


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
