"""API keys in a real MongoDB: hashes alone, until when they work, and documents of the version before."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from bson import encode

from tests.support.batches import Stores
from workers.core.api_keys import SCOPES
from workers.core.identity import new_api_key
from workers.store.api_keys import ApiKeys

pytestmark = pytest.mark.integration


@pytest.fixture
def keys(stores: Stores) -> ApiKeys:
    stores.tenants.ensure("t1")
    return ApiKeys(stores.db)


def works(keys: ApiKeys, key: str) -> bool:
    found = keys.find(key)
    return found is not None and not found.expired and not found.revoked


def test_a_key_acts_for_its_tenant_until_it_is_revoked(keys: ApiKeys) -> None:
    key = new_api_key()
    keys.add("t1", key, name="ci")
    keys.add("t2", key, name="twice")
    found = keys.find(key)
    assert found is not None and (found.tenant, found.name, found.scopes) == ("t1", "ci", SCOPES)
    assert keys.find(new_api_key()) is None
    assert keys.revoke(found.id, "t2") is None and works(keys, key), "another tenant's"
    revoked = keys.revoke(found.id)
    assert revoked is not None and revoked.revoked and not works(keys, key)
    again = keys.revoke(found.id, grace_s=3600.0)
    assert again is not None and again.revoked_at == revoked.revoked_at, "an end is never put off"


def test_a_key_of_the_version_before_works_is_listed_and_can_be_revoked(
    keys: ApiKeys, stores: Stores
) -> None:
    # given what that version wrote: no id, no scopes
    key = "bw_" + "k" * 43
    keys.add("t1", key, name="bootstrap")
    only = dict.fromkeys(("id", "scopes", "expires_at", "revoked_at", "last_used_at", "rotated_from"), 1)
    stores.db["api_keys"].update_one({}, {"$unset": only})
    found = keys.find(key)
    assert found is not None and found.allows == frozenset(SCOPES)
    # then
    assert (keys.adopt(), keys.adopt()) == (1, 0)
    (listed,) = keys.page("t1", after=None, limit=9)
    assert works(keys, key) and listed.prefix == key[:8] and keys.has_other_admin("t1", besides="")
    keys.revoke(listed.id, "t1")
    assert not works(keys, key)


def test_a_key_expires_by_the_servers_clock(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 60
    known, key = keys.create("t1", name="a", scopes=["read"], expires_at=later)
    _, over = keys.create("t1", name="b", scopes=["read"], expires_at=time.time() - 0.001)
    monkeypatch.setattr(time, "time", lambda: 60.0)
    assert known.expires_at == later
    assert works(keys, key) and not works(keys, over)


def test_a_rotated_key_ends_when_its_grace_does(keys: ApiKeys) -> None:
    known, key = keys.create("t1", name="a", scopes=["read"], expires_at=None)
    ends = keys.revoke(known.id, grace_s=60.0)
    assert ends is not None and ends.revoked_at is not None and not ends.revoked
    assert works(keys, key)
    # What it makes until then must not outlive it: both its ends count.
    assert ends.ends_at == ends.revoked_at
    sooner = replace(ends, expires_at=ends.revoked_at - 1)
    assert sooner.ends_at == sooner.expires_at and known.ends_at is None


def test_a_key_ends_with_the_mark_on_its_tenant_and_without_its_tenant(keys: ApiKeys, stores: Stores) -> None:
    _, key = keys.create("t1", name="a", scopes=["read"], expires_at=None)
    _, stray = keys.create("nobody", name="a", scopes=["read"], expires_at=None)
    assert works(keys, key) and keys.find(stray) is None
    stores.tenants.begin_erasing("t1")
    assert keys.find(key) is None


def test_a_key_is_another_tenants_or_none_in_the_same_way(keys: ApiKeys) -> None:
    known, _ = keys.create("t1", name="a", scopes=["read"], expires_at=None)
    assert keys.get(known.id, "t2") is None is keys.get("key_none", "t2")
    assert keys.get(known.id, "t1") == keys.get(known.id) == known
    assert keys.page("t2", after=None, limit=9) == []


def test_a_key_never_stands_in_the_database(keys: ApiKeys, stores: Stores) -> None:
    _, key = keys.create("t1", name="ci", scopes=SCOPES, expires_at=None)
    short = "hunter2"
    keys.add("t1", short, name="any text")
    everything = b"".join(
        encode(doc) for name in stores.db.list_collection_names() for doc in stores.db[name].find()
    )
    assert b"t1" in everything
    assert key[3:].encode() not in everything and key[:10].encode() not in everything
    assert short[:2].encode() not in everything, "of a text that may be a word not even its beginning"


def test_processes_that_race_for_the_pepper_agree_on_it(stores: Stores) -> None:
    together, key = threading.Barrier(8), new_api_key()
    stores.tenants.ensure("t1")

    def found(_: int) -> bool:
        keys = ApiKeys(stores.db)
        together.wait()
        keys.add("t1", key, name="ci")
        return works(keys, key)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(found, range(8)))
    assert stores.db["api_keys"].count_documents({}) == 1
