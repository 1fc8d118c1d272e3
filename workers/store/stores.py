"""Every MongoDB noun over one client, made together."""

from __future__ import annotations

from dataclasses import dataclass

from workers.store.batches import Batches
from workers.store.blobs import Blobs
from workers.store.budgets import Budgets
from workers.store.dispatches import Dispatches
from workers.store.elections import Elections
from workers.store.files import Files
from workers.store.mongo import Db
from workers.store.results import Results
from workers.store.shards import Shards
from workers.store.tenants import Tenants
from workers.store.worker_processes import WorkerProcesses


@dataclass(frozen=True, slots=True)
class Stores:
    """The nouns a process works with."""

    batches: Batches
    shards: Shards
    dispatches: Dispatches
    results: Results
    files: Files
    tenants: Tenants
    processes: WorkerProcesses
    elections: Elections
    budgets: Budgets


def stores_of(db: Db) -> Stores:
    """All of them on one database."""
    blobs = Blobs(db)
    return Stores(
        batches=Batches(db),
        shards=Shards(db),
        dispatches=Dispatches(db),
        results=Results(db, blobs),
        files=Files(db, blobs),
        tenants=Tenants(db),
        processes=WorkerProcesses(db),
        elections=Elections(db),
        budgets=Budgets(db),
    )
