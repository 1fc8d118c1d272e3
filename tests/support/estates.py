"""Tenants that own one of everything, their names in every text of it, before an API inside the test's own process.

Nothing runs beside that API, neither sweeper nor notifier: what changes in its database, a call has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx
import orjson
import redis

from app.api import cached
from app.api.application import create_app
from app.api.services import Services, services_on
from config.settings import load_settings
from tests.support.api import Work, answered
from tests.support.batches import chat_line
from tests.support.servers import TestServers
from tests.support.sweeping import NoBroker
from workers.core.messages import ItemError, Result
from workers.core.savings import SHARE_SUMS
from workers.queue import Queue
from workers.store.deliveries import deliveries_of
from workers.store.mongo import Doc, connect, unacknowledged_by_majority
from workers.store.stores import Stores, stores_of
from workers.store.tenants import DEFAULT_TENANT

CHAT = "/v1/chat/completions"
# Nobody listens there: what is sent is refused at once.
NOWHERE = "http://127.0.0.1:1025/"
SCOPES = ("read", "submit", "admin")


@dataclass
class Estate:
    """What a tenant owns.

    Attributes:
        mark: a word in every text of its own: names, prompts, answers, errors, URLs.
        ids: by the collection of the API whose members they name; also run keys and the like.
        keys: by their only scope. None of them is among the ids.
        secrets: what it keeps to itself.
    """

    tenant: str
    mark: str
    ids: dict[str, list[str]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    def all_ids(self) -> set[str]:
        """Every name by which something of it could be asked for."""
        return {each for several in self.ids.values() for each in several}


class _NoQueue(NoBroker):
    """Nobody is to hear of these batches."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Ground:
    """The API and what is behind it."""

    runner: asyncio.Runner
    services: Services
    app: Any
    stores: Stores
    work: Work
    http: httpx.AsyncClient
    cache: redis.Redis

    def call(
        self,
        method: str,
        path: str,
        key: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One call, to its end; what goes on for ever is an error."""
        sent = dict(headers or {}) | ({"authorization": f"Bearer {key}"} if key else {})
        return self.runner.run(self._call(method, path, sent, options))

    async def _call(
        self, method: str, path: str, headers: Mapping[str, str], options: dict[str, Any]
    ) -> httpx.Response:
        async with asyncio.timeout(10):
            reply = await self.http.request(method, path, headers=headers, **options)
            if self.services.background:
                await asyncio.wait(self.services.background)
            return reply

    def talk(self, key: str, *messages: Doc) -> list[Doc]:
        """What the WebSocket says to these messages, one answer each at least, until it has nothing more to say."""
        return self.runner.run(self._talk(key, messages))

    async def _talk(self, key: str, messages: tuple[Doc, ...]) -> list[Doc]:
        headers = [(b"authorization", f"Bearer {key}".encode())]
        scope = {"type": "websocket", "path": "/v1/events", "raw_path": b"/v1/events", "headers": headers}
        scope |= {"query_string": b"", "subprotocols": [], "scheme": "ws", "root_path": ""}
        said: list[Doc] = []
        texts = [*map(orjson.dumps, messages), orjson.dumps({"type": "ping"})]
        coming: list[Doc] = [{"type": "websocket.connect"}]
        coming += [{"type": "websocket.receive", "text": text.decode()} for text in texts]
        over = asyncio.Event()

        async def receive() -> Doc:
            if coming:
                return coming.pop(0)
            await over.wait()
            return {"type": "websocket.disconnect", "code": 1000}

        async def send(message: Any) -> None:
            said.append(orjson.loads(message["text"]) if "text" in message else message)
            if said[-1].get("type") in ("pong", "websocket.close"):
                over.set()

        async with asyncio.timeout(10):
            await self.app(scope, receive, send)
        return said

    def belonging(self, estate: Estate) -> dict[tuple[str, str], Doc]:
        """Every document that names the tenant, one of its objects, or its mark."""
        names = {estate.tenant, estate.mark} | estate.all_ids()
        found = {}
        for name in self.work.db.list_collection_names():
            for doc in self.work.db[name].find():
                text = str(doc)
                if any(each in text for each in names):
                    found[name, str(doc["_id"])] = doc
        return found


@contextmanager
def ground(servers: TestServers) -> Iterator[Ground]:
    """An API over a database of its own."""
    own = replace(servers, mongodb_database=f"{servers.mongodb_database}_estates")
    settings = load_settings(
        {
            **own.environ(),
            "BATCHWRIGHT_SIMULATOR_URL": NOWHERE,
            "BATCHWRIGHT_WEBHOOK_ALLOW_HTTP": "true",
            "BATCHWRIGHT_WEBHOOK_ALLOW_PRIVATE": "127.0.0.1",
            "BATCHWRIGHT_DISK_STOP_PERCENT": "100",
        }
    )
    # Nothing is killed here: no write need wait for a disk.
    db = connect(own.mongodb_url)[own.mongodb_database].with_options(
        write_concern=unacknowledged_by_majority()
    )
    services = services_on(settings, db, cast("Queue", _NoQueue()))
    services.tenants.ensure(DEFAULT_TENANT)
    app: Any = create_app(services)
    with asyncio.Runner() as runner, redis.Redis.from_url(own.cache_redis_url) as cache:
        transport = httpx.ASGITransport(app=app)
        http = httpx.AsyncClient(transport=transport, base_url="http://api")
        yield Ground(runner, services, app, stores_of(db), Work(db), http, cache)
        services.stopping.set()
        runner.run(http.aclose())
        runner.run(services.close(0.5))


def settle(on: Ground, tenant: str, mark: str) -> Estate:
    """Let a new tenant (or the first) come into one of everything, mostly by its own calls."""
    estate = Estate(tenant, mark)
    on.services.tenants.create(tenant, {"display_name": mark})
    for scope in SCOPES:
        known, estate.keys[scope] = on.stores.api_keys.create(
            tenant, name=f"key of {mark}", scopes=[cast("Any", scope)], expires_at=None
        )
        estate.ids.setdefault("own keys", []).append(known.id)
    estate.ids["tenants"] = [tenant]
    estate.ids["custom_ids"] = [f"c-{mark}"]
    estate.ids["run_keys"], estate.ids["idempotency_keys"] = [f"run-{mark}"], [f"once-{mark}"]
    spare, _ = on.stores.api_keys.create(tenant, name=mark, scopes=["read"], expires_at=None)
    estate.ids["keys"] = [spare.id]
    _make_files_and_batches(on, estate)
    _make_schedule(on, estate)
    _make_notices(on, estate)
    on.stores.pauses.pause("tenant", tenant, by=tenant)
    on.cache.mset(dict.fromkeys(_cache_keys(on, estate), "an answer"))
    estate.secrets += estate.keys.values()
    return estate


def create_body(file_id: str, **changed: Any) -> Doc:
    """A create."""
    return {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **changed}


def lookup_body(mark: str) -> Doc:
    """The look-up of an answer that every tenant keeps whose estate has this mark."""
    messages = [{"role": "user", "content": f"question of {mark}"}]
    return {"endpoint": CHAT, "requests": [{"model": "sim-small", "messages": messages}]}


def _make_files_and_batches(on: Ground, estate: Estate) -> None:
    key, mark = estate.keys["admin"], estate.mark
    lines = [chat_line(f"c-{mark}", f"question of {mark}"), chat_line(f"d-{mark}", "another")]
    content, form = b"\n".join(lines), {"purpose": "batch"}

    def file() -> str:
        sent = {"file": (f"{mark}.jsonl", content)}
        return str(on.call("POST", "/v1/files", key, data=form, files=sent).json()["id"])

    def batch(file_id: str, **more: Any) -> str:
        body = create_body(file_id, metadata={"of": mark}, **more)
        reply = on.call("POST", "/v1/batches", key, json=body)
        assert reply.status_code == 200, reply.text
        made = reply.json()
        estate.secrets += [made["batchwright"]["webhook"]["secret"]] if "batchwright" in more else []
        return str(made["id"])

    good, hidden = file(), file()
    assert on.call("DELETE", f"/v1/files/{hidden}", key).status_code == 200
    own = {"run_key": f"run-{mark}", "webhook": {"url": f"{NOWHERE}{mark}"}}
    validating = batch(good, idempotency_key=f"once-{mark}", batchwright=own)
    failed, running, ended, cancelled = batch(f"file-of-{mark}"), batch(good), batch(good), batch(good)
    on.work.start(running, 2)
    refusal = Result(
        line=2, custom_id=f"d-{mark}", source="none", error=ItemError("server_error", f"fault of {mark}")
    )
    on.work.complete(ended, [replace(answered(1, f"answer to {mark}"), custom_id=f"c-{mark}"), refusal])
    assert on.call("POST", f"/v1/batches/{cancelled}/cancel", key).status_code == 200
    child = on.call("POST", f"/v1/batches/{ended}/retry", key).json()["id"]
    doc = on.stores.batches.get(ended)
    assert doc is not None
    share = dict.fromkeys(SHARE_SUMS, 1) | {"provider": f"p-{mark}", "model": mark, "first": 1}
    on.stores.ledger.book(doc, [share], [])
    estate.ids["files"] = [good, doc["output_file_id"], doc["error_file_id"], hidden]
    estate.ids["batches"] = [ended, running, validating, failed, cancelled, child]


def _make_schedule(on: Ground, estate: Estate) -> None:
    key, body = estate.keys["admin"], create_body(estate.ids["files"][0], metadata={"of": estate.mark})
    wanted = {"batch": body, "name": estate.mark, "cron": "0 5 * * *"}
    made = on.call("POST", "/v1/schedules", key, json=wanted)
    assert made.status_code == 200, made.text
    estate.ids["schedules"] = [made.json()["id"]]
    run = on.call("POST", f"/v1/schedules/{made.json()['id']}/run", key).json()
    estate.ids["runs"] = [run["id"]]
    estate.ids["batches"].append(run["batch_id"])


def _make_notices(on: Ground, estate: Estate) -> None:
    key, wanted = estate.keys["admin"], {"url": f"{NOWHERE}{estate.mark}", "events": ["*"]}
    hook = on.call("POST", "/v1/webhooks", key, json=wanted).json()
    estate.secrets.append(hook["secret"])
    estate.ids["webhooks"] = [hook["id"]]
    named = {"name": estate.mark, "url": wanted["url"], "event_types": ["tenant.budget_reached"]}
    sdk_hook = on.call("POST", "/v1/webhook_endpoints", key, json=named).json()
    estate.secrets.append(sdk_hook["signing_secret"])
    estate.ids["webhook_endpoints"] = [sdk_hook["id"]]
    endpoint = on.stores.webhooks.get(hook["id"], estate.tenant)
    assert endpoint is not None
    on.stores.outbox.collect(100)
    events = [row for row in on.stores.outbox.untold(100) if row["tenant"] == estate.tenant]
    rows = [row for each in events for row in deliveries_of(each, [endpoint], "own")]
    on.stores.deliveries.insert(rows)
    on.stores.outbox.told_all([each["_id"] for each in events])
    estate.ids["deliveries"] = [row["_id"] for row in rows]
    estate.ids["events"] = [each["_id"] for each in events]
    assert estate.ids["deliveries"]


def _cache_keys(on: Ground, estate: Estate) -> list[str]:
    wanted = cached.Lookup.model_validate(lookup_body(estate.mark))
    owner = on.services.tenants.get(estate.tenant)
    found = cached._keys(on.services, owner, wanted)
    assert all(found)
    return found
