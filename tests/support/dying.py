"""A worker process that dies at a chosen step: a write to MongoDB or a script in Redis, counted from 0.

    process = stack.enter_context(mortal(engine, provider))
    process.life.ends_at(3, "before")     # three steps are let through, the fourth is never sent
    process.life.ends_at(3, "after")      # ... is carried out, but nobody hears of it
    process.life.ends_at(3, "halfway")    # ... is carried out for half of its documents
    process.run(shard_id)                 # None: it died on the way

Once dead it writes, reads and calls no more. It is a second runtime inside the test process, over the same servers;
`engine` is the healthy one that goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar
from unittest.mock import patch

from tests.support.engine import RUN_S, Engine, ScriptedTransport
from workers.core.messages import HttpRequest, HttpResponse
from workers.dispatcher import Dispatcher
from workers.runtime import Runtime
from workers.store.redis import _script
from workers.store.stores import Stores, stores_of

T = TypeVar("T")
How = Literal["before", "after", "halfway"]
HOWS: tuple[How, ...] = ("before", "after", "halfway")
_ONE = frozenset(
    ("insert_one", "update_one", "replace_one", "delete_one", "find_one_and_update", "find_one_and_delete")
)
_MANY = frozenset(("insert_many", "update_many", "delete_many", "bulk_write"))
# What nobody's work depends on: who lives, who may sweep.
_BESIDE = frozenset(("worker_processes", "elections"))


class Died(BaseException):
    """The process is gone. Nothing may catch it but what catches everything."""


@dataclass
class Life:
    """How many steps a process has made, and which is its last.

    Attributes:
        steps: what was let through, and last what it died at.
        over: done once it is dead.
        split: the last step was one of several documents, of which half were written.
    """

    steps: list[str] = field(default_factory=list)
    over: Future[None] = field(default_factory=Future)
    split: bool = False
    _last: int | str | None = None
    _how: How = "before"
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ends_at(self, step: int | str, how: How) -> None:
        """Count anew from here, and die at this step: its number, or the first of this name."""
        with self._lock:
            self.steps.clear()
            self._last, self._how = step, how

    def must_live(self) -> None:
        """Raise Died in whatever a dead process would do."""
        if self.over.done():
            raise Died

    def takes(self, name: str) -> How | None:
        """One more step; how it is the last one, None if it is not."""
        with self._lock:
            self.must_live()
            if self._last is None:
                return None
            self.steps.append(name)
            if name != self._last and len(self.steps) - 1 != self._last:
                return None
            self.over.set_result(None)
            return self._how

    def end(self) -> None:
        """Die now."""
        with self._lock:
            if not self.over.done():
                self.over.set_result(None)


class _Collection:
    """A collection whose writes are steps of a life."""

    def __init__(self, collection: Any, life: Life) -> None:
        self._own, self._life = collection, life

    def with_options(self, **options: Any) -> _Collection:
        return _Collection(self._own.with_options(**options), self._life)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._own, name)
        if name in _ONE | _MANY and self._own.name not in _BESIDE:
            return lambda *args, **options: self._write(name, found, *args, **options)
        self._life.must_live()
        return found

    def _write(self, name: str, send: Callable[..., T], *args: Any, **options: Any) -> T:
        how = self._life.takes(f"{self._own.name}.{name}")
        if how is None:
            return send(*args, **options)
        if how == "after":
            send(*args, **options)
        elif how == "halfway" and name in _MANY:
            self._life.split = self._half(name, send, *args, **options)
        raise Died

    def _half(self, name: str, send: Callable[..., Any], first: Any, *rest: Any, **options: Any) -> bool:
        """Carry a write out for half of its documents; False if it has but one."""
        if name in ("insert_many", "bulk_write"):
            half, first = len(first) // 2, first[: len(first) // 2]
        else:
            ids = [doc["_id"] for doc in self._own.find(first, {"_id": 1})]
            half = len(ids) // 2
            first = {"$and": [first, {"_id": {"$in": ids[:half]}}]}
        if half:
            send(first, *rest, **options)
        return half > 0


class _Database:
    def __init__(self, database: Any, life: Life) -> None:
        self._own, self._life = database, life

    def __getitem__(self, name: str) -> _Collection:
        return _Collection(self._own[name], self._life)


class _Client:
    """The engine's own client once more: nothing of it ends with the process."""

    def __init__(self, client: Any) -> None:
        self._own = client

    def __getitem__(self, name: str) -> Any:
        return self._own[name]

    def close(self) -> None:
        pass


class _Mute(ScriptedTransport):
    """A provider seen from a process that may be dead: the dead call nobody."""

    def __init__(self, own: ScriptedTransport, life: Life) -> None:
        super().__init__()
        self._own, self._life = own, life

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        self._life.must_live()
        return await self._own.send(request, deadline_s=deadline_s)


class _Idle(Dispatcher):
    """Sends nothing by itself: the test says which shard runs."""

    def fill_all(self) -> bool:
        return True


@dataclass
class Process:
    """A mortal worker."""

    runtime: Runtime
    life: Life

    def does(self, act: Callable[[Runtime], T]) -> T | None:
        """Something blocking; None if it died on the way."""
        try:
            return act(self.runtime)
        except Died:
            return None

    def runs(self, *shard_ids: str) -> list[str] | None:
        """These shards at once; None if it died before the last of them had left its hands."""
        runs = [self.begin(self.runtime.steward.run_shard(id_)) for id_ in shard_ids]
        pending: set[Future[Any]] = {self.life.over, *runs}
        while not self.life.over.done() and len(pending) > 1:
            ended, pending = wait(pending, RUN_S, return_when=FIRST_COMPLETED)
            assert ended, "neither dead nor done"
        return None if self.life.over.done() else [run.result(0) for run in runs]

    def begin(self, coroutine: Any) -> Future[Any]:
        """Start something in its loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.runtime.loop)

    def bury(self) -> None:
        """Take away what a process leaves in the one that plays it."""
        self.life.end()
        asyncio.run_coroutine_threadsafe(self._bury(), self.runtime.loop).result(RUN_S)
        self.runtime.loop.call_soon_threadsafe(self.runtime.loop.stop)
        self.runtime._thread.join(timeout=5)
        self.runtime.loop.close()
        self.runtime.queue.close()
        self.runtime.threads._executor.shutdown(wait=True)

    async def _bury(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        while left:  # redis-py makes an error of its own of a cancel that comes while it connects
            for task in left:
                task.cancel()
            gone, left = await asyncio.wait(left, timeout=0.05)
            for task in gone:
                task.cancelled() or task.exception()
        for client in (self.runtime._control, self.runtime._cache_redis):
            await client.connection_pool.disconnect()


@contextmanager
def mortal(engine: Engine, **transports: ScriptedTransport) -> Iterator[Process]:
    """A second worker beside the engine, started and with its steps not counted yet.

    `transports`: what the calls of providers, by name, go to; of the others, what the engine's go to.
    """
    life = Life()
    client = _Client(engine.stores.db.client)

    def mortal_stores(db: Any, **rules: Any) -> Stores:
        database: Any = _Database(db, life)
        return stores_of(database, **rules)

    with (
        patch("workers.runtime.mongo.connect", lambda *_, **__: client),
        patch("workers.runtime.mongo.ensure_indexes", lambda _: None),
        patch("workers.runtime.stores_of", mortal_stores),
        patch("workers.company.Dispatcher", _Idle),
    ):
        runtime = Runtime(engine.runtime.settings, name="mortal")
        runtime.start()
    _make_mortal(runtime._control, life)
    _make_mortal(runtime._cache_redis, life)
    for name, link in list(runtime.links.items()):
        own = transports.get(name) or engine.runtime.links[name].transport
        assert isinstance(own, ScriptedTransport)
        runtime.links[name] = replace(link, transport=_Mute(own, life))
    process = Process(runtime, life)
    try:
        yield process
    finally:
        process.bury()


def _make_mortal(client: Any, life: Life) -> None:
    """Count this Redis client's scripts as steps, and let a dead process ask nothing."""
    execute = client.execute_command

    async def command(*words: Any, **options: Any) -> Any:
        if words[0] != "EVALSHA":  # EVAL follows where Redis did not know the script: the same step
            life.must_live()
            return await execute(*words, **options)
        return await _step(life, f"redis.{_script_name(words)}", lambda: execute(*words, **options))

    client.execute_command = command


async def _step(life: Life, name: str, send: Callable[[], Awaitable[T]]) -> T:
    how = life.takes(name)
    if how is None:
        return await send()
    if how == "after":
        await send()
    raise Died


def _script_name(words: Sequence[Any]) -> str:
    names = ("add_counts", "end_flights", "keep_answers", "renew_flights", "report_calls", "reserve_calls")
    by_sha = {_script(name)[1]: name for name in (*names, "take_flights")}
    return by_sha.get(str(words[1]), str(words[0]))
