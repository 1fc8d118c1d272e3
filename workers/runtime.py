"""One worker process: its stores, its connections, and the event loop they live in.

The only place that knows every part. Celery's threads come in through `run_shard`, `plan` and `tick`; everything
asynchronous runs in the one loop thread that this module owns.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import uvloop
from structlog.contextvars import bound_contextvars

from config.settings import Settings, load_settings
from workers import chores, company, wiring
from workers.analytics import MinuteWriter
from workers.celery_config import broker_url
from workers.core.tally import Tally
from workers.departure import BROKEN_EXIT_CODE, Departure, kept_alive
from workers.engine.desk import Desk
from workers.engine.heartbeat import Heartbeat
from workers.engine.limiting import Limiting
from workers.engine.reading import Reader
from workers.engine.recorder import Recorder
from workers.engine.sharing import Sharing
from workers.engine.shelf import Shelf
from workers.engine.steward import Steward
from workers.finalizer import CLOSE_S
from workers.givingback import GivingBack
from workers.queue import Queue
from workers.reloading import Reloading
from workers.roundtrips import Ask, RoundTrips, questions
from workers.schedules import Firing, firing_of
from workers.standing import Standing
from workers.store import mongo, redis
from workers.store.disk import Disk
from workers.store.flights import Flights
from workers.store.limiter import Limiter
from workers.store.most_asked import MostAsked
from workers.store.snapshot import refuse_half_restored
from workers.store.stores import stores_of
from workers.store.threads import Threads
from workers.warming import Warmth
from workers.watchdog import Busy

log = logging.getLogger(__name__)
T = TypeVar("T")

STORE_THREADS = 8
GC_AFTER = 50_000


class Runtime:
    """Everything one worker process has. `start` once, `stop` once; both from any thread."""

    def __init__(self, settings: Settings, *, name: str) -> None:
        self.settings = settings
        self.owner = f"{name}@{socket.gethostname()}:{os.getpid()}"
        self._pool = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        self.threads = Threads(self._pool)
        servers = settings.servers
        self._client = mongo.connect(
            str(servers.mongodb_url),
            app_name="batchwright-worker",
            max_pool=servers.mongodb_max_pool,
        )
        db = self._client[settings.servers.mongodb_database]
        refuse_half_restored(db)
        mongo.ensure_indexes(db)
        self.stores = stores_of(
            db,
            retention_days=settings.batch.retention_days,
            retention_hours=settings.monitoring.retention_hours,
        )
        self.figures = MinuteWriter(self.stores.minutes, enabled=settings.monitoring.enabled)
        self.queue = Queue(broker_url(settings.servers))
        self.providers = settings.providers
        self.serves = wiring.serves(settings)
        self.finalizer = wiring.finalizer(self.stores)
        self.firing: Firing = firing_of(settings, self.stores, self.queue, Disk(db).use)
        self.planning = wiring.planning(settings, self.providers, self.stores, self.owner)
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="engine", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self.busy = Busy()

    # --- from Celery's threads

    def run_shard(self, shard_id: str) -> str:
        """Work on one shard; blocks its Celery thread until the shard has left this process."""
        with self.busy:
            end = self.submit(self.steward.run_shard(shard_id))
            if end == "draining":
                self.giving_back.unstarted(shard_id).result()
            return end

    def plan(self, batch_id: str) -> str:
        """Plan one batch; its shards are dispatched at once."""
        with self.busy, bound_contextvars(batch_id=batch_id):
            done = self.planning.plan(batch_id)
            self.finalizer.advance(batch_id, within_s=CLOSE_S)
        self.loop.call_soon_threadsafe(self.dispatcher.nudge)
        return done

    def tick(self) -> str:
        """Do what is due by the clock, each thing in one worker."""
        if self.steward.draining:
            return "draining"
        with self.busy:
            return chores.tick(self)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the engine's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def start(self) -> None:
        """Start the loop and everything that lives in it."""
        self._thread.start()
        self.submit(self._start())

    def stop(self) -> None:
        """Wait for the drain, flush, close every connection. Called again it does nothing."""
        if not self._thread.is_alive():
            return
        self.submit(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        self._pool.shutdown(cancel_futures=True)  # a sweep in the middle would go on without its client
        self.queue.close()
        self._client.close()
        if self.departure.comes_back:
            os._exit(BROKEN_EXIT_CODE)

    # --- in the loop

    async def _start(self) -> None:
        servers, stores = self.settings.servers, self.stores
        connections = servers.redis_max_connections
        self._control = redis.connect(str(servers.redis_url), max_connections=connections)
        self._cache_redis = redis.connect(
            str(servers.cache_redis_url), max_connections=connections, repeats_late=False
        )
        self.links = wiring.links(self.settings, self.providers)
        self.recorder = Recorder(stores.results, stores.shards, self.threads, self._tally_of)
        self.sharing = Sharing()
        self._make_engine()
        self._make_company()
        await self.beats.beat()
        await self.threads.call(stores.tenants.ensure)
        await self.steward.learn_limits()
        # What is loaded stays; items come and go by the thousand and make no cycles worth a search for each 700.
        gc.freeze()
        gc.set_threshold(GC_AFTER, 20, 50)
        runs = (
            self.recorder.run(),
            self.shelf.run(),
            self.limiting.run(),
            self.heartbeat.run(),
            self.dispatcher.run(),
            self.dispatcher.make_room(),
            self.sweeper.run(),
            self.steward.read_flags(),
            self.steward.keep_limits(),
            self.flights.hear(self.sharing.flight_ended),
            self.beats.run(),
            self.figures.run(self.threads.call),
            self.beats.count(),
            RoundTrips(self._servers()).run(),
            self.warmth.run(),
            self.watchdog.run(),
            self.reloading.run(),
            self.standing.run(),
        )
        self.standing.open()
        self._tasks = [asyncio.create_task(kept_alive(run)) for run in runs]

    def _make_engine(self) -> None:
        settings, stores, lease = self.settings, self.stores, self.settings.lease
        self.limiter = Limiter(
            self._control,
            holder=self.owner,
            processes=wiring.worker_processes(settings),
            breaker=wiring.breaker_rules(settings),
        )
        self.limiting = Limiting(self.limiter)
        self.flights = Flights(self._control, lease_ms=int(lease.lease_s * 1000))
        self.cache = wiring.cache(settings, self._cache_redis)
        known = self.cache if settings.cache.enabled else None
        asked = MostAsked(self._cache_redis) if settings.warming.refresh and known else None
        self.warmth = Warmth(asked, wiring.prewarm(settings, self.links, stores, self.threads, self.owner))
        self.shelf = Shelf(known, self.flights, stores.results, self.threads, self.recorder, asked)
        self.heartbeat = Heartbeat(
            stores.shards,
            self.threads,
            lease_s=lease.lease_s,
            before_renewal=self.recorder.flush,
            after_renewal=self.shelf.renew,
        )
        self.steward = Steward(
            stores=stores,
            threads=self.threads,
            links=self.links,
            heartbeat=self.heartbeat,
            recorder=self.recorder,
            reader=Reader(stores, self.threads, self.recorder),
            desk=Desk(
                wiring.engine_rules(settings),
                self.shelf,
                self.sharing,
                self.limiting,
                self.recorder,
                wiring.elsewhere(settings),
            ),
            owner=self.owner,
            after=self._after_shard,
            threads_of_celery=settings.worker.threads,
        )

    def _make_company(self) -> None:
        """What works beside the engine: who sends it shards, who sweeps, and who says that it lives."""
        self.dispatcher, self.sweeper = company.dispatcher(self), company.sweeper(self)
        self.beats = company.beats(self)
        self.departure = Departure(self.steward, self.beats, self.loop, self.settings.worker.drain_grace_s)
        self.reloading, self.standing = Reloading(self, load_settings), Standing(self)
        self.giving_back = GivingBack(self.steward, self.stores.dispatches, self.threads, self.loop)
        self.watchdog = company.watchdog(self)

    async def _stop(self) -> None:
        await self.steward.drain()
        await self.shelf.flush()
        await self.recorder.flush()
        await self.limiting.flush()
        await self.cache.flush_counts()
        await self.figures.write(self.threads.call)
        await self.warmth.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.standing.close()
        for link in self.links.values():
            await link.transport.close()
        await self._control.aclose()
        await self._cache_redis.aclose()
        try:
            await self.threads.call(self.stores.processes.leave, self.owner)
        except mongo.STORE_TROUBLE as error:
            log.warning("cannot sign off: %s", type(error).__name__)

    def _servers(self) -> dict[str, Ask]:
        return questions(
            lambda: self._client.admin.command("ping"),
            *(self._control, self._cache_redis, self.queue, self.threads),
        )

    def _tally_of(self, shard_id: str) -> Tally | None:
        return self.steward.tally(shard_id)  # made after the recorder, which needs this

    async def _after_shard(self, batch_id: str, ended: bool) -> None:
        self.dispatcher.nudge()
        if ended:
            await self.threads.call(self.finalizer.advance, batch_id, within_s=CLOSE_S)


_runtime: Runtime | None = None


def start(name: str) -> Runtime:
    """Make the process's runtime from its settings."""
    global _runtime  # noqa: PLW0603 - one per process; Celery's tasks have no other way to reach it
    _runtime = Runtime(load_settings(), name=name)
    _runtime.start()
    return _runtime


def runtime() -> Runtime:
    """The process's runtime. Raises RuntimeError before `start`."""
    if _runtime is None:
        raise RuntimeError("the worker's runtime has not been started")
    return _runtime


def stop() -> None:
    """Stop the process's runtime, if there is one."""
    if _runtime is not None:
        _runtime.stop()
