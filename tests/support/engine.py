"""A worker's runtime inside the test process: real stores, and a provider that is a script of the test.

    with open_engine(servers, directory) as engine:
        engine.play(script)
        batch_id, shard_id = engine.plan(lines)
        assert engine.run(shard_id) == "done"

    engine.play(script, other=another_script)  # the provider `other` has a script of its own: engine.at("other")

Celery is left out: a test says itself which shard runs when. What reaches the queue is read by nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from config.settings import load_settings
from tests.support.apart import apart
from tests.support.batches import Stores, open_stores
from tests.support.servers import TestServers
from workers.core.identity import shard_id
from workers.core.messages import HttpRequest, HttpResponse
from workers.runtime import Runtime
from workers.store.mongo import NOW, Doc
from workers.transport.port import ClientStats, Streamed

T = TypeVar("T")
Script = Callable[[int], Awaitable[HttpResponse]]
NOBODY_LISTENS = "http://127.0.0.1:9"
RUN_S = 10.0


def reply(status: int = 200, *, usage: Doc | None = None, text: str = "yes", **headers: str) -> HttpResponse:
    """What a provider says: an answer, or an error of that status; header names with `_` for `-`."""
    body: Doc = {"error": {"message": f"status {status}"}}
    if status < 400:
        message = {"index": 0, "message": {"role": "assistant", "content": text}}
        counts = usage or {"prompt_tokens": 5, "completion_tokens": 3}
        body = {"model": "m", "choices": [message], "usage": counts}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, names, json.dumps(body).encode())


async def always_answers(_: int) -> HttpResponse:
    """The script of a provider without trouble."""
    return reply()


class Gate:
    """Calls wait here until the test lets them through."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._opened = loop, asyncio.Event()

    async def passed(self) -> None:
        """Awaited by a script."""
        await self._opened.wait()

    def open(self) -> None:
        """From the test's thread."""
        self._loop.call_soon_threadsafe(self._opened.set)


@dataclass(slots=True)
class ScriptedTransport:
    """The port to a provider; `seen` calls have reached it since its script began, the next is `seen + 1`.

    `asked` are the bodies of those calls.
    """

    script: Script = always_answers
    seen: int = 0
    asked: list[Doc] = field(default_factory=list)

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        self.seen += 1
        self.asked.append(json.loads(request.body))
        return await self.script(self.seen)

    def stream(
        self, request: HttpRequest, *, deadline_s: float, idle_s: float
    ) -> AbstractAsyncContextManager[Streamed]:
        raise NotImplementedError("the engine of batches never streams")

    def room(self) -> int:
        return 10_000

    def stats(self) -> ClientStats:
        return ClientStats(
            client="script", connections=None, connections_opened=None, in_flight=0, requests=self.seen
        )

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Engine:
    """A started runtime, stores of the test's own, and what every provider's calls go to."""

    runtime: Runtime
    stores: Stores
    provider: ScriptedTransport

    def play(self, script: Script, **others: Script) -> None:
        """Every call from here on is answered by this script, which is told the number of the call.

        `others`: the scripts of providers, by name, that have one of their own until the next `play`.
        """
        self.provider.script, self.provider.seen, self.provider.asked = script, 0, []
        links = self.runtime.links
        for name, link in list(links.items()):
            if name in others or link.transport is not self.provider:
                transport = ScriptedTransport(others[name]) if name in others else self.provider
                links[name] = replace(link, transport=transport)
        self.begin(self._forget_limits()).result(RUN_S)

    def at(self, name: str) -> ScriptedTransport:
        """What this provider's calls go to."""
        transport = self.runtime.links[name].transport
        assert isinstance(transport, ScriptedTransport)
        return transport

    async def _forget_limits(self) -> None:
        """What another script's refusals have closed is no matter of this one's."""
        await self.runtime.limiting.flush()
        await self.runtime._control.flushdb()
        self.runtime.limiting._limiter._providers.clear()

    def gate(self) -> Gate:
        return Gate(self.runtime.loop)

    def plan(self, lines: Sequence[bytes], **changes: Any) -> tuple[str, str]:
        """Lay a batch down and plan it; gives its id and its first shard's."""
        batch_id = self.stores.batch(lines, **changes)
        assert self.runtime.plan(batch_id) == f"{len(lines)} items"
        return batch_id, shard_id(batch_id, 1)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start something in the engine's loop, and do not wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.runtime.loop)

    def begin_run(self, id_: str) -> Future[str]:
        """Run a shard, as a Celery thread does; the result says what became of it."""
        return self.begin(self.runtime.steward.run_shard(id_))

    def run(self, id_: str) -> str:
        """Run a shard until it has left this process."""
        return self.begin_run(id_).result(RUN_S)

    def take_lease_away(self, id_: str) -> None:
        """What a sweeper does when the process that holds this shard has slept for longer than its lease."""
        past = {"$subtract": ["$$NOW", 1000]}
        self.stores.db["batch_shards"].update_one({"_id": id_}, [{"$set": {"lease_until": past}}])
        assert self.stores.shards.expire(10) == 1

    def renew_leases(self) -> None:
        """The heartbeat's next turn, now."""
        self.begin(self.runtime.heartbeat.renew()).result(RUN_S)

    def rows(self, batch_id: str) -> list[Doc]:
        """The result documents of a batch in input order."""
        found = self.stores.results.recorded(batch_id, 1, 10**6)
        return [found[line] for line in sorted(found)]

    def counts(self, batch_id: str) -> Doc:
        """The counts of a batch that has ended."""
        batch = self.stores.state(batch_id)
        assert batch["status"] == "completed", batch["status"]
        return dict(batch["counts"])

    def children(self, id_: str) -> list[Doc]:
        """The shards that parts of this one have become."""
        return list(self.stores.db["batch_shards"].find({"parent": id_}).sort("_id"))

    def due_now(self, id_: str) -> None:
        """The time for which a parked shard rests is over."""
        self.stores.db["batch_shards"].update_one({"_id": id_}, [{"$set": {"next_at": NOW}}])

    @contextmanager
    def another_process(self) -> Iterator[Runtime]:
        """A second runtime beside this one: same servers and provider, limits and flights of its own."""
        other = Runtime(self.runtime.settings, name="another")
        other.start()
        other.links.update(
            {name: replace(link, transport=self.at(name)) for name, link in other.links.items()}
        )
        try:
            yield other
        finally:
            other.stop()

    @property
    def slots_in_use(self) -> int:
        """Call slots that somebody still holds."""
        return sum(link.slots.total - link.slots._free for link in self.runtime.links.values())


@contextmanager
def open_engine(
    servers: TestServers, directory: Path, *, toml: str = "", scripted: bool = True, **settings: str
) -> Iterator[Engine]:
    """Empty databases and a runtime whose sweeper sleeps: the providers `sim` and `openai`, both the script.

    `toml`: what stands in the settings file; `scripted` False: calls go to the addresses that it names.
    """
    own = apart(servers, "runtime")
    stores = open_stores(own)
    own.empty()
    config = directory / "batchwright.toml"
    config.write_text(toml, encoding="utf-8")
    nothing = directory / "empty.env"
    nothing.touch()
    environ = {
        **own.environ(),
        "BATCHWRIGHT_CONFIG": str(config),
        "BATCHWRIGHT_DATA_DIR": str(directory),
        "BATCHWRIGHT_SIMULATOR_URL": NOBODY_LISTENS,
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": NOBODY_LISTENS,
        "BATCHWRIGHT_SWEEP_S": "3600",
        "BATCHWRIGHT_RETRY_MAX_WAIT_S": "0.05",
        "BATCHWRIGHT_BREAKER_FAILURES": "1000",
        "BATCHWRIGHT_WORKER_DRAIN_GRACE_S": "0.2",
        **settings,
    }
    runtime = Runtime(load_settings(environ, dotenv=nothing), name="test")
    runtime.start()
    provider = ScriptedTransport()
    for name, link in list(runtime.links.items()) if scripted else ():
        runtime.links[name] = replace(link, transport=provider)
    try:
        yield Engine(runtime, stores, provider)
    finally:
        runtime.stop()
        stores.db.client.close()


@contextmanager
def refusing(stores: Stores, collection: str, what: Doc) -> Iterator[None]:
    """A MongoDB that says no to every new document of this collection that `what` describes."""
    if collection not in stores.db.list_collection_names():  # the first document would make it
        stores.db.create_collection(collection)
    stores.db.command("collMod", collection, validator={"$nor": [what]})
    try:
        yield
    finally:
        stores.db.command("collMod", collection, validator={})
