"""The real stack, every process of which can be killed, stopped and cut off, with tenants that give it work.

    with open_arena(directory, Rules(seed=7)) as arena:
        batch = arena.tenants["one"].submit(500)
        arena.recorded_reaches(100)
        arena.hit("kill -9 worker-1", lambda: arena.kill("worker-1"))
        arena.rest()

servers.py holds the servers, app/embedded/stack.py everything of ours, as it is delivered: what crashes is started
again by its supervisor. Lease, sweep and the like are shortened by settings (rules.py).
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import redis
from pymongo import MongoClient

from app.embedded import restarts
from app.embedded.stack import Stack
from app.embedded.state import StackState
from config.settings import Api, Settings
from config.settings import Servers as NamedServers
from tests.chaos.client import Tenant
from tests.chaos.memory import Memory
from tests.chaos.replicas import servers_of
from tests.chaos.rules import ChaosCommands, Rules
from tests.chaos.servers import CACHE, CONTROL, MONGOD, Servers, running
from tests.support.eventually import eventually
from tests.support.tcp_proxy import TcpProxy, tcp_proxy
from workers.store.mongo import Doc
from workers.store.stores import Stores, stores_of

ENDS = ("completed", "failed", "cancelled", "expired")
# As scaled as the rest: what is killed on purpose many times a minute is started again.
_CRASH_WINDOW_S = 2.0
_BUILT_IN = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass
class Hit:
    """A fault that was injected; Unix seconds."""

    name: str
    at: float
    healed_at: float | None = None


@dataclass
class Arena:
    """A running stack under test."""

    directory: Path
    rules: Rules
    stack: Stack
    servers: Servers
    proxies: Mapping[str, TcpProxy]
    db: Any
    stores: Stores
    tenants: Mapping[str, Tenant]
    memory: Memory
    hits: list[Hit] = field(default_factory=list)

    # --- processes

    @property
    def state(self) -> StackState:
        """Of the stack: addresses and process ids as they are now."""
        return self.stack.state

    def pid(self, name: str) -> int:
        """Of a process of ours (`api`, `worker-1`, `sim`), or of a server."""
        if name in (CONTROL, CACHE, MONGOD):
            return self.servers.pid(name)
        return int(self.state.pids[name])

    def kill(self, name: str, what: signal.Signals = signal.SIGKILL) -> int:
        """Send it a signal; gives the process id."""
        pid = self.pid(name)
        os.kill(pid, what)
        return pid

    def restarted(self, name: str, was: int, within_s: float = 20.0) -> None:
        """Wait until a killed process of ours runs again."""
        eventually(lambda: self.state.pids.get(name) not in (None, was), within_s)

    def ready(self, name: str, within_s: float = 30.0) -> None:
        """Wait until a process of ours that was started again works."""
        eventually((self.directory / "run" / f"{name}.ready").exists, within_s)

    # --- faults

    def hit(self, name: str, fault: Callable[[], object]) -> Hit:
        """Inject a fault and note when."""
        done = Hit(name, time.time())
        self.hits.append(done)
        fault()
        return done

    # --- how far it is

    def recorded(self) -> int:
        """Results of all batches."""
        # Counted, not estimated: after a kill of mongod its own estimate stays wrong.
        return int(self.db["batch_results"].count_documents({}))

    def ended(self) -> int:
        """Items of the batches that have ended."""
        total = {"$group": {"_id": None, "items": {"$sum": "$total"}}}
        rows = list(self.db["batch_jobs"].aggregate([{"$match": {"status": {"$in": ENDS}}}, total]))
        return int(rows[0]["items"]) if rows else 0

    def accepted(self) -> int:
        """Items of all batches that tenants were told of."""
        return sum(len(batch) for tenant in self.tenants.values() for batch in tenant.submitted)

    def recorded_reaches(self, number: int, within_s: float = 60.0) -> None:
        """Wait for so many results."""
        eventually(lambda: self.recorded() >= number, within_s, what=self.how_it_stands)

    def rest(self, within_s: float = 120.0) -> float:
        """Wait until every batch that was accepted has ended; gives how long that took, in seconds."""
        began = time.monotonic()
        ids = [batch.id for tenant in self.tenants.values() for batch in tenant.submitted]
        where = {"_id": {"$in": ids}, "status": {"$in": ENDS}}
        eventually(
            lambda: self.db["batch_jobs"].count_documents(where) == len(ids),
            within_s,
            what=self.how_it_stands,
        )
        return time.monotonic() - began

    def record_times(self, since: float) -> list[float]:
        """When results were made after a moment (Unix seconds), in order."""
        rows = self.db["batch_results"].find({"at": {"$gt": since}}, {"at": 1, "_id": 0})
        return sorted(float(row["at"]) for row in rows)

    def longest_gap_s(self, since: float) -> float:
        """The longest time between two results, from a moment (Unix seconds) to the last one."""
        times = [since, *self.record_times(since)]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def calls(self) -> Iterator[Doc]:
        """What the simulator has logged so far, one call after the other."""
        path = self.directory / "calls.jsonl"
        if path.exists():
            with path.open("rb") as log:
                yield from map(orjson.loads, log)

    def last(self, seconds: float) -> None:
        """Let a fault last so long: its length is the fault, nothing is waited for."""
        threading.Event().wait(seconds)

    def control(self) -> redis.Redis:
        """A connection to control Redis, past any proxy."""
        return redis.Redis.from_url(self.servers.urls[CONTROL])

    def how_it_stands(self) -> str:
        """For a failure: batches, shards and the last words of every log."""
        try:
            batches = [(doc["_id"], doc["status"], doc["ending"]) for doc in self.db["batch_jobs"].find()]
            group = {"_id": ["$status", "$reason"], "n": {"$sum": 1}}
            shards = [
                (row["_id"], row["n"]) for row in self.db["batch_shards"].aggregate([{"$group": group}])
            ]
        except Exception as error:  # noqa: BLE001 - a server that is away must not hide the failure itself
            return f"{self.accepted()} accepted, the database is away: {error!r}"
        logs = [
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted((self.directory / "logs").glob("*.log"))
            if not path.name.startswith(("mongod", "sim", "flower"))
        ]
        return f"{self.recorded()} of {self.accepted()}; {batches}; {shards}\n" + "\n".join(logs)


@contextmanager
def open_arena(directory: Path, rules: Rules) -> Iterator[Arena]:
    """Start everything, yield it, end everything."""
    with ExitStack() as cleaning, _alone(directory):
        servers = cleaning.enter_context(running(servers_of(directory, rules.members)))
        proxies = {name: cleaning.enter_context(tcp_proxy(servers.ports[name])) for name in rules.via}
        proxied = {name: _through(proxy, servers.urls[name]) for name, proxy in proxies.items()}
        named = NamedServers(
            redis_url=servers.urls[CONTROL],
            cache_redis_url=servers.urls[CACHE],
            mongodb_url=servers.urls[MONGOD],
        )
        client: MongoClient[Doc] = cleaning.enter_context(
            MongoClient(servers.urls[MONGOD], tz_aware=True, w="majority")
        )
        db = client[named.mongodb_database]
        stores, keys = stores_of(db), {}
        for name in rules.tenants:
            keys[name] = f"sk-{name}-{'0' * 32}"
            stores.tenants.ensure(name)
            stores.api_keys.add(name, keys[name], name="chaos")
        stack = Stack(
            Settings(data_dir=directory, api=Api(port=0), servers=named),
            workers=rules.workers,
            simulator=True,
            flower=rules.flower,
            beat=rules.beat,
            commands=ChaosCommands(rules, directory, proxied),
        )
        try:
            state = stack.start()
            tenants = {name: Tenant(name, key, state.api_url, seed=rules.seed) for name, key in keys.items()}
            memory = cleaning.enter_context(Memory.sampled(lambda: _pids(stack, servers)))
            yield Arena(directory, rules, stack, servers, proxies, db, stores, tenants, memory)
        finally:
            stack.stop()


def _pids(stack: Stack, servers: Servers) -> dict[str, int]:
    return {**{row.name: row.pid for row in stack.rows()}, CONTROL: servers.pid(CONTROL)}


def _through(proxy: TcpProxy, url: str) -> str:
    head, _, rest = url.rpartition("@") if "@" in url else (url.partition("://")[0], "", url)
    if url.startswith("mongodb"):
        # A client that is told the set's name goes to the member's own address, past the proxy.
        return f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
    return f"{head}@127.0.0.1:{proxy.port}/{rest.rpartition('/')[2]}"


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """A developer's settings, keys and `.env` are no part of the run: its own environment and directory."""
    before, here, window_s = dict(os.environ), Path.cwd(), restarts.CRASH_WINDOW_S
    kept = {name: before[name] for name in _BUILT_IN if name in before}
    directory.mkdir(parents=True, exist_ok=True)
    os.environ.clear()
    os.environ.update(kept)
    os.chdir(directory)
    restarts.CRASH_WINDOW_S = _CRASH_WINDOW_S
    try:
        yield
    finally:
        restarts.CRASH_WINDOW_S = window_s
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
