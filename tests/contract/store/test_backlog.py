"""How many items of a tenant are accepted and not answered, and that one batch at a time adds to them."""

from __future__ import annotations

import pytest

from tests.support.batches import Stores
from workers.core.errors import StoreUnavailable
from workers.core.tally import Tally
from workers.store.backlog import Backlog
from workers.store.files import Files

pytestmark = pytest.mark.integration


def test_items_are_counted_from_their_acceptance_to_their_result(stores: Stores) -> None:
    backlog = Backlog(stores.db)
    ended, running, fresh = (stores.batch() for _ in range(3))
    stores.start(ended, total=7)
    stores.db["batch_jobs"].update_one({"_id": ended}, {"$set": {"status": "completed"}})
    stores.start(running, total=5)
    one, _ = stores.queued(running, 2, 3)
    assert backlog.items("default") == 5, "none of one that is not checked yet, nor of one that has ended"
    held = stores.shards.claim(one, "w", 60.0)
    assert held is not None
    stores.shards.save_tallies({(one, held["fence"]): Tally(recorded=2, completed=2)})
    assert backlog.items("default") == 3
    assert stores.batches.cancel(running) and backlog.items("default") == 3, "until they are closed"
    assert backlog.items("other") == 0 and fresh


def test_a_tenant_without_a_limit_may_have_any_number(stores: Stores) -> None:
    backlog = Backlog(stores.db)
    stores.tenants.ensure()
    assert backlog.most("default") is None is backlog.most("nobody")
    stores.db["tenants"].update_one({"_id": "default"}, {"$set": {"limits": {"max_queued_items": 9}}})
    assert backlog.most("default") == 9


def test_who_adds_to_a_tenants_items_waits_for_whoever_is_at_it(stores: Stores) -> None:
    backlog, waited = Backlog(stores.db), list[float]()
    with backlog.turn("t", "one"), backlog.turn("u", "two"):
        with (
            pytest.raises(StoreUnavailable, match="tenant t"),
            backlog.turn("t", "other", wait=waited.append),
        ):
            pass
        assert waited
    with backlog.turn("t", "other", wait=waited.append):
        pass


def test_what_a_tenants_files_take_is_freed_when_their_bytes_are_gone(stores: Stores) -> None:
    files: Files = stores.files
    one, other = stores.file(b"12345"), stores.file(b"123", tenant="other")
    files.put_view("output", "default", "batch_1", which="output", size_bytes=100)
    assert (files.stored_bytes("default"), files.stored_bytes("other")) == (5, 3)
    assert files.hide(one, "default") and files.stored_bytes("default") == 5
    assert files.drop(one) and files.stored_bytes("default") == 0
    upload = files.begin("up", "other", filename="x.jsonl", purpose="batch", expires_at=None)
    assert files.claim(upload.file_id, "other", 7) == 3, "what the others take"
    assert files.stored_bytes("other") == 10 and other
    upload.abort()
    assert files.stored_bytes("other") == 3
