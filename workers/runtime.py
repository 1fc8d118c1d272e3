"""Put one worker process together: settings, stores, connections, and the event loop they live in.

The only place that knows every part. Celery's threads come in through `run_shard` and `plan`; everything
asynchronous runs in the one loop thread that this module owns.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import uvloop

from config.settings import Provider, Settings, load_settings
from workers.core.planner import ShardLimits, shard_limits
from workers.core.retry import RetryRules
from workers.core.route import Offer, route
from workers.dispatcher import Dispatcher
from workers.engine.heartbeat import Heartbeat
from workers.engine.ports import EngineRules, Link, Threads
from workers.engine.recorder import Recorder
from workers.engine.sharing import Sharing
from workers.engine.shelf import Shelf
from workers.engine.slots import CallSlots
from workers.engine.steward import Steward
from workers.finalizer import Finalizer
from workers.planning import Planning
from workers.providers.registry import SPOKEN_KINDS, adapter_for
from workers.queue import Queue
from workers.store import keys, mongo, redis
from workers.store.batches import Batches
from workers.store.blobs import Blobs
from workers.store.cache import Cache
from workers.store.elections import Elections
from workers.store.files import Files
from workers.store.flights import Flights
from workers.store.limits import Limits, Rates
from workers.store.results import Results
from workers.store.shards import Shards
from workers.store.tenants import Tenants
from workers.store.worker_processes import WorkerProcesses
from workers.sweeper import Sweeper
from workers.transport.httpx_transport import HttpxTransport

log = logging.getLogger(__name__)
T = TypeVar("T")

STORE_THREADS = 8
BEAT_EVERY_S = 3.0


class Runtime:
    """Everything one worker process has. `start` once, `stop` once; both from any thread."""

    def __init__(self, settings: Settings, *, name: str) -> None:
        self.settings = settings
        self.owner = f"{name}@{socket.gethostname()}:{os.getpid()}"
        self.threads = Threads(ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store"))
        self._client = mongo.connect(str(settings.servers.mongodb_url))
        db = self._client[settings.servers.mongodb_database]
        mongo.ensure_indexes(db)
        blobs = Blobs(db)
        self.batches, self.shards, self.results = Batches(db), Shards(db), Results(db, blobs)
        self.files, self.tenants = Files(db, blobs), Tenants(db)
        self.processes, self.elections = WorkerProcesses(db), Elections(db)
        self.queue = Queue(str(settings.servers.redis_url))
        self.finalizer = Finalizer(self.batches, self.shards, self.results, self.files)
        self.providers = spoken_providers(settings)
        self.planning = self._planning()
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="engine", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []

    # --- from Celery's threads

    def run_shard(self, shard_id: str) -> str:
        """Work on one shard; blocks its Celery thread until the shard has left this process."""
        return self.submit(self.steward.run_shard(shard_id))

    def plan(self, batch_id: str) -> str:
        """Plan one batch; its shards are dispatched at once."""
        done = self.planning.plan(batch_id)
        self.finalizer.advance(batch_id)
        self.loop.call_soon_threadsafe(self.dispatcher.nudge)
        return done

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the engine's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def start(self) -> None:
        """Start the loop and everything that lives in it."""
        self._thread.start()
        self.submit(self._start())

    def drain_soon(self) -> None:
        """Take no new work; running shards give back what they cannot finish. Safe from a signal handler."""
        self.loop.call_soon_threadsafe(self._begin_drain)

    def stop(self) -> None:
        """Wait for the drain, flush, close every connection."""
        self.submit(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        self.queue.close()
        self._client.close()

    # --- in the loop

    async def _start(self) -> None:
        settings, servers = self.settings, self.settings.servers
        self._control = redis.connect(str(servers.redis_url), max_connections=servers.redis_max_connections)
        self._cache_redis = redis.connect(
            str(servers.cache_redis_url), max_connections=servers.redis_max_connections
        )
        self.links = {provider.name: self._link(provider) for provider in self.providers}
        self.sharing, limits = Sharing(), Limits(self._control)
        flights = Flights(self._control, lease_ms=int(settings.lease.lease_s * 1000))
        self.recorder = Recorder(
            self.results, self.shards, self.threads, lambda shard_id: self.steward.tally(shard_id)
        )
        cache = (
            Cache(self._cache_redis, max_entry_bytes=settings.cache.max_entry_bytes)
            if settings.cache.enabled
            else None
        )
        self.shelf = Shelf(cache, flights, limits, self.results, self.threads, self.recorder)
        heartbeat = Heartbeat(
            self.shards, self.threads, lease_s=settings.lease.lease_s, before_renewal=self._before_renewal
        )
        self.dispatcher = Dispatcher(
            self.shards, self.tenants, self.processes, self.elections, self.queue, self.threads, self.owner
        )
        self.steward = self._steward(heartbeat, limits)
        self.recorder.start()
        await self._beat_once()
        await self.threads.call(self.tenants.ensure)
        runs = (
            self.shelf.run(),
            heartbeat.run(),
            self.dispatcher.run(),
            self._sweeper().run(),
            self.steward.read_flags(),
            self._hear_flights(),
            self._beat(),
        )
        self._tasks = [asyncio.create_task(_kept_alive(run)) for run in runs]

    async def _stop(self) -> None:
        await self.steward.drain()
        await self.shelf.flush()
        await self.recorder.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self.links.values():
            await link.transport.close()
        await self._control.aclose()
        await self._cache_redis.aclose()
        try:
            await self.threads.call(self.processes.leave, self.owner)
        except mongo.MONGO_DOWN as error:
            log.warning("cannot sign off: %s", type(error).__name__)

    def _begin_drain(self) -> None:
        self._drain = asyncio.ensure_future(self.steward.drain())

    async def _before_renewal(self) -> None:
        await self.recorder.flush()
        await self.shelf.renew()

    async def _after_shard(self, batch_id: str, ended: bool) -> None:
        self.dispatcher.nudge()
        if ended:
            await self.threads.call(self.finalizer.advance, batch_id)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            try:
                await self._beat_once()
            except mongo.MONGO_DOWN as error:
                log.warning("cannot say that this process lives: %s", type(error).__name__)

    async def _beat_once(self) -> None:
        slots = 0 if getattr(self, "_drain", None) else self.settings.worker.threads
        names = [provider.name for provider in self.providers]
        await self.threads.call(self.processes.beat, self.owner, providers=names, slots=slots)

    async def _hear_flights(self) -> None:
        """Pass on what other processes say of ended flights; a lost message costs a waiter two seconds."""
        while True:
            try:
                async with self._control.pubsub() as channel:
                    await channel.subscribe(keys.FLIGHTS_CHANNEL)
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self.sharing.flight_ended(bytes(message["data"]).decode())
            except redis.REDIS_DOWN as error:
                log.warning("not listening to flights: %s", type(error).__name__)
                await asyncio.sleep(1.0)  # before asking Redis again

    # --- making parts

    def _link(self, provider: Provider) -> Link:
        timeouts = provider.timeouts
        base_url = provider.base_url
        if provider.kind == "ollama" and not base_url.endswith("/v1"):
            base_url += "/v1"
        transport = HttpxTransport(
            base_url,
            connect_s=timeouts.connect_s,
            read_s=timeouts.read_s,
            write_s=timeouts.write_s,
            pool_s=timeouts.pool_s,
            prior_knowledge=provider.kind == "sim",
        )
        slots = self.settings.worker.max_call_slots
        if provider.limits.concurrency is not None:
            slots = max(1, min(slots, provider.limits.concurrency // (self.settings.worker.processes or 1)))
        return Link(
            name=provider.name,
            kind=provider.kind,
            base_url=base_url,
            adapter=adapter_for(provider.name, provider.kind),
            transport=transport,
            api_key=lambda: provider.api_key.reveal() if provider.api_key else None,
            rates=Rates(provider.limits.requests_per_minute, provider.limits.tokens_per_minute),
            slots=CallSlots(slots),
            deadline_s=timeouts.read_s,
        )

    def _steward(self, heartbeat: Heartbeat, limits: Limits) -> Steward:
        return Steward(
            batches=self.batches,
            shards=self.shards,
            results=self.results,
            files=self.files,
            tenants=self.tenants,
            threads=self.threads,
            links=self.links,
            rules=engine_rules(self.settings),
            heartbeat=heartbeat,
            recorder=self.recorder,
            shelf=self.shelf,
            sharing=self.sharing,
            limits=limits,
            owner=self.owner,
            after=self._after_shard,
        )

    def _sweeper(self) -> Sweeper:
        lease = self.settings.lease
        return Sweeper(
            self.batches,
            self.shards,
            self.files,
            self.processes,
            self.elections,
            self.finalizer,
            self.queue,
            self.threads,
            self.owner,
            every_s=lease.sweep_s,
            lease_s=lease.lease_s,
            dispatch_timeout_s=lease.dispatch_timeout_s,
        )

    def _planning(self) -> Planning:
        offers = [Offer(provider.name, provider.models) for provider in self.providers]

        def provider_of(model: str) -> str | None:
            found = route(model, offers)
            return found.provider if found else None

        return Planning(
            self.batches,
            self.shards,
            self.results,
            self.files,
            self.owner,
            self.settings.lease.lease_s,
            provider_of,
            self._limits_of,
            max_requests=self.settings.api.max_requests,
            max_line_bytes=self.settings.batch.max_line_bytes,
        )

    def _limits_of(self, name: str) -> ShardLimits:
        provider = next(one for one in self.providers if one.name == name)
        rules, worker = self.settings.shard, self.settings.worker
        return shard_limits(
            max_items=rules.max_items,
            max_line_bytes=rules.max_line_bytes,
            max_span_bytes=rules.max_span_bytes,
            slot_seconds=rules.slot_seconds,
            requests_per_minute=provider.limits.requests_per_minute,
            slots=worker.threads * (worker.processes or os.cpu_count() or 1),
        )


def spoken_providers(settings: Settings) -> tuple[Provider, ...]:
    """The configured providers that this version can call."""
    return tuple(provider for provider in settings.providers if provider.kind in SPOKEN_KINDS)


def engine_rules(settings: Settings) -> EngineRules:
    """The part of the settings the engine goes by."""
    retry = RetryRules(
        max_attempts=settings.retry.max_attempts,
        repeat_unknown=settings.retry.repeat_unknown,
        max_wait_s=settings.retry.max_wait_s,
    )
    return EngineRules(
        lease_s=settings.lease.lease_s,
        call_margin_s=settings.lease.call_margin_s,
        drain_grace_s=settings.worker.drain_grace_s,
        cache_enabled=settings.cache.enabled,
        ttl_answers_s=settings.cache.ttl_answers_s,
        ttl_embeddings_s=settings.cache.ttl_embeddings_s,
        retry=retry,
    )


async def _kept_alive(run: Coroutine[Any, Any, None]) -> None:
    """A background loop that ends with an error takes the process with it: half a worker is worse than none."""
    try:
        await run
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("a part of this worker broke; the process ends, its leases run out")
        os._exit(70)


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
