"""What the handlers work with: stores, queue, settings, and the threads that blocking calls run on.

server.py opens it once. The driver is synchronous, so no handler calls a store directly:
`await services.run(store.method, ...)` does it on a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Annotated, ParamSpec, TypeVar, cast

from fastapi import Depends, Request

from app.api.broker_look import BrokerLook
from app.api.dependencies import Dependencies, RedisPing
from app.api.disk_guard import DiskGuard
from app.api.notices import Notices, notices_of
from app.api.own_signs import OwnSigns
from app.api.reloaded import Reloaded
from config.settings import Settings
from workers.celery_config import PLAN_QUEUE, broker_url
from workers.core.errors import StoreUnavailable, UserError
from workers.erasure import Erasure
from workers.finalizer import CLOSE_S, Finalizer
from workers.queue import Queue
from workers.schedules import Firing, firing_of
from workers.store import redis
from workers.store.accounts import Accounts
from workers.store.api_keys import ApiKeys
from workers.store.backlog import Backlog
from workers.store.batches import Batches
from workers.store.budgets import Budgets
from workers.store.cache import Cache
from workers.store.disk import Disk
from workers.store.files import Files
from workers.store.ledger import Ledger
from workers.store.mongo import MONGO_DOWN, STORE_TROUBLE, Db, connect
from workers.store.pauses import Pauses
from workers.store.pending import Pending
from workers.store.result_looks import ResultLooks
from workers.store.results import Results
from workers.store.shards import Shards
from workers.store.stores import Stores, stores_of
from workers.store.tenants import Tenants
from workers.store.threads import Threads
from workers.store.worker_processes import WorkerProcesses
from workers.sweeper import Sweeper

P = ParamSpec("P")
T = TypeVar("T")
# Enough for the uploads, downloads and pollers of one machine; each waits for MongoDB most of the time.
STORE_THREADS = 16
log = logging.getLogger("batchwright.api")


@dataclass
class Services:
    """Everything behind the handlers."""

    settings: Settings
    stores: Stores
    files: Files
    batches: Batches
    shards: Shards
    results: Results
    looks: ResultLooks
    pending: Pending
    tenants: Tenants
    api_keys: ApiKeys
    budgets: Budgets
    accounts: Accounts
    backlog: Backlog
    ledger: Ledger
    pauses: Pauses
    workers: WorkerProcesses
    queue: Queue
    finalizer: Finalizer
    sweeper: Sweeper
    erasure: Erasure
    notices: Notices
    db: Db
    pool: ThreadPoolExecutor
    cache: Cache | None = None
    busy: int = 0
    background: set[asyncio.Task[None]] = field(default_factory=set)
    # Fingerprints of the keys that this installation was given; they may be any text.
    given_keys: set[bytes] = field(default_factory=set, repr=False)
    # Set when the server is about to stop: event streams, which would go on for ever, end then.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams_ended: asyncio.Event = field(default_factory=asyncio.Event)
    disk: DiskGuard = field(init=False)
    broker: BrokerLook = field(init=False)
    dependencies: Dependencies = field(init=False)
    own: OwnSigns = field(init=False)
    reloaded: Reloaded = field(init=False)
    firing: Firing = field(init=False)

    def __post_init__(self) -> None:
        disk = Disk(self.db)
        self.disk = DiskGuard(lambda: self.run(disk.use), self.settings.disk)
        self.firing = firing_of(self.settings, self.stores, self.queue, lambda: self.disk.seen)
        self.own = OwnSigns(self.db, Threads(self.pool))
        self.broker = BrokerLook(lambda: self.run(self.queue.depth, PLAN_QUEUE))
        self.dependencies, self.reloaded = Dependencies(self._questions()), Reloaded(self)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a blocking call on a thread; what it logs has the ids of the request."""
        loop, context = asyncio.get_running_loop(), copy_context()
        self.busy += 1
        try:
            return await loop.run_in_executor(self.pool, lambda: context.run(call, *args, **kwargs))
        finally:
            self.busy -= 1

    def hint_plan(self, batch_id: str) -> None:
        """Tell the workers of a new batch, without waiting; if the broker is away, the sweeper tells them."""
        self._later(self._publish_plan(batch_id))

    def end_soon(self, batch_id: str) -> None:
        """Close what nobody holds of a cancelled batch, without waiting; the sweeper does what is left."""
        self._later(self._advance(batch_id))

    def note_key_use(self, key_id: str) -> None:
        """Write down that a key is in use, without waiting; if the store is away, the next minute tells."""
        self._later(self._note_key_use(key_id))

    def _questions(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """By what it is seen whether each of the servers answers."""
        servers = self.settings.servers
        urls = {"control_redis": servers.redis_url, "cache_redis": servers.cache_redis_url}
        return {
            "mongodb": lambda: self.run(self.db.command, "ping"),
            "broker": lambda: self.run(self.queue.depth, PLAN_QUEUE),
            **{name: RedisPing(url) for name, url in urls.items() if url},
        }

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def _advance(self, batch_id: str) -> None:
        try:
            await self.run(self.finalizer.advance, batch_id, within_s=CLOSE_S)
        except MONGO_DOWN as error:
            log.warning("%s: %s; the sweeper will end it", batch_id, type(error).__name__)

    async def _note_key_use(self, key_id: str) -> None:
        try:
            await self.run(self.api_keys.note_use, key_id)
        except STORE_TROUBLE as error:
            log.warning("%s: %s; its use is not noted", key_id, type(error).__name__)

    async def _publish_plan(self, batch_id: str) -> None:
        try:
            await self.run(self.queue.publish_plan, batch_id)
        except StoreUnavailable as error:
            log.warning("%s: %s; the sweeper will publish it", batch_id, error)

    async def close(self, within_s: float) -> bool:
        """Let hints in flight go out, then close. False if a thread still hangs in a call."""
        if self.background:
            await asyncio.wait(self.background, timeout=within_s)
        await self.dependencies.close()
        await self.own.leave()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.notices.close()
        if self.busy or self.notices.busy:
            return False
        self.queue.close()
        self.db.client.close()
        if self.cache is not None:
            await self.cache.close()
        return True


def open_services(settings: Settings) -> Services:
    """Connect, lazily: nothing is asked of a server here. Raises UserError when no server is named."""
    servers = settings.servers
    if servers.mongodb_url is None or servers.redis_url is None:
        unset = "BATCHWRIGHT_MONGODB_URL" if servers.mongodb_url is None else "BATCHWRIGHT_REDIS_URL"
        raise UserError(f"{unset} is not set", hint="set it, or start everything with: batchwright up")
    client = connect(
        servers.mongodb_url,
        app_name="batchwright-api",
        min_pool=servers.mongodb_min_pool,
        max_pool=servers.mongodb_max_pool,
    )
    return services_on(settings, client[servers.mongodb_database], Queue(broker_url(servers)))


def services_on(settings: Settings, db: Db, queue: Queue) -> Services:
    """All of it over one database and one broker."""
    stores = stores_of(
        db,
        retention_days=settings.batch.retention_days,
        retention_hours=settings.monitoring.retention_hours,
    )
    pool = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    finalizer, lease = Finalizer(stores), settings.lease
    sweeper = Sweeper(
        stores,
        finalizer,
        queue,
        Threads(pool),
        f"api@{socket.gethostname()}:{os.getpid()}",
        every_s=lease.sweep_s,
        lease_s=lease.lease_s,
        dispatch_timeout_s=lease.dispatch_timeout_s,
        stale_upload_s=settings.batch.stale_upload_s,
        if_no_worker_lives=True,
    )
    return Services(
        settings=settings,
        stores=stores,
        files=stores.files,
        batches=stores.batches,
        shards=stores.shards,
        results=stores.results,
        looks=stores.looks,
        pending=stores.pending,
        tenants=stores.tenants,
        api_keys=stores.api_keys,
        budgets=stores.budgets,
        accounts=stores.accounts,
        backlog=stores.backlog,
        ledger=stores.ledger,
        pauses=stores.pauses,
        workers=stores.processes,
        queue=queue,
        finalizer=finalizer,
        sweeper=sweeper,
        erasure=Erasure(stores, finalizer),
        notices=notices_of(settings, stores, Threads(pool)),
        db=db,
        pool=pool,
        cache=_cache_of(settings),
    )


def _cache_of(settings: Settings) -> Cache | None:
    url = settings.servers.cache_redis_url
    rules = settings.cache
    return (
        Cache(
            redis.connect(url),
            max_entry_bytes=rules.max_entry_bytes,
            compress_over_bytes=rules.compress_over_bytes,
            early_refresh=rules.early_refresh,
        )
        if url
        else None
    )


async def _services_of(request: Request) -> Services:  # a plain function would go to a thread and back
    return cast("Services", request.app.state.services)


Behind = Annotated[Services, Depends(_services_of)]
