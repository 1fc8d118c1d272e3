"""The stream of changes tells of every entry of a log, and of nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.batches import Stores
from workers.store.batch_watch import BatchWatch, Changed, Opened

pytestmark = pytest.mark.integration


def test_new_batches_entries_and_removals_are_told_and_counts_are_not(stores: Stores) -> None:
    watch, stop = BatchWatch(stores.db), threading.Event()
    changes: Iterator[Opened | Changed] = watch.changes(stop.is_set)
    assert next(changes) == Opened()
    batch_id = stores.batch()
    stores.batches.save_counts(batch_id, {"completed": 1})
    stores.batches.cancel(batch_id)
    stores.db["batch_jobs"].delete_one({"_id": batch_id})
    told = [next(changes) for _ in range(3)]
    stop.set()
    assert list(changes) == []
    assert told == [Changed(batch_id, "default"), Changed(batch_id, None), Changed(batch_id, None)]


def test_those_that_go_on_and_those_that_are_new_are_found(stores: Stores) -> None:
    watch = BatchWatch(stores.db)
    ended, going, new = (stores.batch() for _ in range(3))
    for batch_id in (ended, new):
        stores.db["batch_jobs"].update_one({"_id": batch_id}, {"$set": {"status": "completed"}})
    tenant = watch.tenant_of(going)
    assert tenant is not None
    assert watch.going(tenant, going, 10) == [new, going]
    assert watch.going("nobody", "", 10) == []
    assert watch.tenant_of("batch_none") is None
