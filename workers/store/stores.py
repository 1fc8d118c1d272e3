"""Every MongoDB noun over one client, made together."""

from __future__ import annotations

from dataclasses import dataclass

from workers.store.batches import RETENTION_DAYS, Batches
from workers.store.blobs import Blobs
from workers.store.budgets import Budgets
from workers.store.dispatches import Dispatches
from workers.store.elections import Elections
from workers.store.files import Files
from workers.store.mongo import Db
from workers.store.outbox import Outbox
from workers.store.pauses import Pauses
from workers.store.results import Results
from workers.store.shards import Shards
from workers.store.tenants import Tenants
from workers.store.upkeep import Upkeep
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
    pauses: Pauses
    upkeep: Upkeep
    outbox: Outbox


def stores_of(db: Db, *, retention_days: float = RETENTION_DAYS) -> Stores:
    """All of them on one database. `retention_days`: how long batches are kept after their end."""
    blobs = Blobs(db)
    return Stores(
        batches=Batches(db, retention_days=retention_days),
        shards=Shards(db),
        dispatches=Dispatches(db),
        results=Results(db, blobs),
        files=Files(db, blobs),
        tenants=Tenants(db),
        processes=WorkerProcesses(db),
        elections=Elections(db),
        budgets=Budgets(db),
        pauses=Pauses(db),
        upkeep=Upkeep(db),
        outbox=Outbox(db),
    )
