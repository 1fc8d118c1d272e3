"""Every MongoDB noun over one client, made together."""

from __future__ import annotations

from dataclasses import dataclass

from workers.store.accounts import Accounts
from workers.store.alerts import Alerts
from workers.store.api_keys import ApiKeys
from workers.store.backlog import Backlog
from workers.store.batches import RETENTION_DAYS, Batches
from workers.store.belongings import Belongings
from workers.store.blobs import Blobs
from workers.store.budgets import Budgets
from workers.store.chores import Chores
from workers.store.deliveries import Deliveries
from workers.store.disk import Disk
from workers.store.dispatches import Dispatches
from workers.store.elections import Elections
from workers.store.files import Files
from workers.store.ledger import Ledger
from workers.store.minutes import KEPT_HOURS, Minutes
from workers.store.mongo import Db
from workers.store.outbox import Outbox
from workers.store.pauses import Pauses
from workers.store.pending import Pending
from workers.store.recorded_totals import RecordedTotals
from workers.store.reloads import Reloads
from workers.store.result_looks import ResultLooks
from workers.store.results import Results
from workers.store.schedules import Schedules
from workers.store.shards import Shards
from workers.store.standing import Standing
from workers.store.tenants import Tenants
from workers.store.upkeep import Upkeep
from workers.store.webhooks import Webhooks
from workers.store.worker_processes import WorkerProcesses


@dataclass(frozen=True, slots=True)
class Stores:
    """The nouns a process works with."""

    batches: Batches
    shards: Shards
    dispatches: Dispatches
    results: Results
    looks: ResultLooks
    pending: Pending
    backlog: Backlog
    files: Files
    tenants: Tenants
    api_keys: ApiKeys
    belongings: Belongings
    processes: WorkerProcesses
    elections: Elections
    chores: Chores
    budgets: Budgets
    accounts: Accounts
    ledger: Ledger
    recorded: RecordedTotals
    pauses: Pauses
    reloads: Reloads
    upkeep: Upkeep
    outbox: Outbox
    webhooks: Webhooks
    deliveries: Deliveries
    schedules: Schedules
    minutes: Minutes
    alerts: Alerts
    standing: Standing
    disk: Disk


def stores_of(
    db: Db, *, retention_days: float = RETENTION_DAYS, retention_hours: float = KEPT_HOURS
) -> Stores:
    """All of them on one database. Batches are kept after their end for so many days, figures for so many hours."""
    blobs = Blobs(db)
    results = Results(db, blobs)
    return Stores(
        batches=Batches(db, retention_days=retention_days),
        shards=Shards(db),
        dispatches=Dispatches(db),
        results=results,
        looks=ResultLooks(db, results),
        pending=Pending(db),
        backlog=Backlog(db),
        files=Files(db, blobs),
        tenants=Tenants(db),
        api_keys=ApiKeys(db),
        belongings=Belongings(db, blobs),
        processes=WorkerProcesses(db),
        elections=Elections(db),
        chores=Chores(db),
        budgets=Budgets(db),
        accounts=Accounts(db),
        ledger=Ledger(db),
        recorded=RecordedTotals(db),
        pauses=Pauses(db),
        reloads=Reloads(db),
        upkeep=Upkeep(db),
        outbox=Outbox(db),
        webhooks=Webhooks(db),
        deliveries=Deliveries(db),
        schedules=Schedules(db),
        minutes=Minutes(db, retention_hours=retention_hours),
        alerts=Alerts(db, retention_hours=retention_hours),
        standing=Standing(db),
        disk=Disk(db),
    )
