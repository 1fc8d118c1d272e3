"""Everything people and workers do, once, with a database that has been in use for years, and what it did for them.

    with opened_path(servers, directory, Years(batches=1010, results_each=10, others=1010, waiting=1010)) as path:
        assert not path.faults()

tests/stack/test_query_plans.py and tests/load/test_query_plans.py differ in the years alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Any

import httpx

from tests.support.api import Api, running_api
from tests.support.eventually import eventually
from tests.support.every_route import SOCKET, every_route
from tests.support.grown import grow, queue_up
from tests.support.looks import Look, faults, looks, profiled
from tests.support.servers import TestServers
from tests.support.workers import Site, open_site, started_worker
from workers.store.ledger import PART_ROWS

CHAT = "/v1/chat/completions"
_ROOMY = {"max_storage_bytes": 10**15, "max_queued_items": 10**9, "requests_per_minute": 10**6}
# Beside the route as it is.
_ASKED: Mapping[str, tuple[str, ...]] = {
    "/v1/batches": ("limit=2", "after={batch_id}", "run_key=none"),
    "/v1/files": ("limit=2&order=asc", "purpose=batch", "after={file_id}", "purpose=batch_output&limit=2"),
    "/v1/batches/{batch_id}/items": (
        *("status=completed&limit=2", "status=failed", "status=never_ran", "status=pending"),
        *("custom_id=c3", "status=failed&code=none", "after=3&limit=2"),
    ),
    "/v1/batches/{batch_id}/output": ("which=all", "which=errors", "merge=true&order=input", "partial=true"),
    "/v1/batches/{batch_id}/events": ("follow=false",),
    "/v1/costs": ("days=30&by=model", "days=1&by=provider"),
    "/v1/webhooks/deliveries": ("status=pending&limit=2", "event=batch.completed", "after={delivery_id}"),
    "/v1/tenants": ("limit=2", "after=default&limit=2"),
    "/v1/keys": ("tenant=other", "limit=2"),
}
# These end when what they tell of has ended.
_ENDLESS = frozenset(("/v1/batches/{batch_id}/events",))


# What may look at more than it finds, since something else bounds it.
_ALLOWED: Mapping[tuple[str, str], int] = {
    # The rules of all tenants, kept by each process for seconds.
    ("tenants", '"filter": {}'): 10_000,
    # What is in no part yet, until it is enough for one; and one part.
    ("usage", '"part"'): PART_ROWS + 100,
    ("usage", '"folded"'): PART_ROWS + 100,
    # Erasure asks every collection for what is the tenant's; these know no tenants, and hold figures of a week.
    ("minutes", '{"filter": {"tenant"'): 20_000,
    ("totals", '{"filter": {"tenant"'): 20_000,
    # What a tenant stores, where it has a limit: a key an upload.
    ("files", '"$bytes"'): 100_000,
    # What runs is summed, at most once a second a process, and shown: a shard each.
    ("batch_shards", '"recorded": {"$sum": "$counts.recorded"}'): 100_000,
    ("batch_shards", '"requests": {"$sum"'): 100_000,
    # Figures of the installation, counted in an index alone: a key a batch, and a key a shard that is open.
    ("batch_jobs", '"n": {"$sum"'): 100_000,
    ("batch_shards", '{"provider": "$provider", "status": "$status"}'): 100_000,
}


@dataclass(frozen=True)
class Years:
    """How much there is before anybody asks: see `grow` and `queue_up`."""

    batches: int
    results_each: int
    others: int
    waiting: int


@contextmanager
def opened_path(servers: TestServers, directory: Folder, years: Years) -> Iterator[Path]:
    """An API and a worker on databases of these years."""
    with open_site(servers, directory) as site, started_worker(site, "w1"):
        simulator = {"BATCHWRIGHT_SIMULATOR_URL": site.simulator.url}
        with running_api(site.servers, directory, **simulator) as api:
            path = Path(site, api)
            ended = path.begin()
            grow(
                site.stores.db,
                ended,
                batches=years.batches,
                results_each=years.results_each,
                others=years.others,
            )
            queue_up(site.stores, years.waiting)
            with profiled(site.stores.db):
                path.walk(ended)
            yield path


@dataclass(frozen=True)
class Path:
    """The processes that serve, and who asks them."""

    site: Site
    api: Api

    def looks(self) -> list[Look]:
        """What the database did for it."""
        return looks(self.site.stores.db)

    def faults(self) -> list[Look]:
        """What of that looked at more than it found."""
        return faults(self.site.stores.db, self.looks(), _ALLOWED)

    def begin(self) -> str:
        """A first batch, of which somebody is told who refuses it; gives its id when it has ended."""
        self._hook()
        batch_id = self.batch()
        self.settled(batch_id)
        return batch_id

    def batch(self, lines: int = 24, *, failing: int = 3, text: str = "question", **more: Any) -> str:
        """A batch with a few repeats and a few refusals; gives its id once it is made."""
        prompts = [f"{text} {number % 20}" for number in range(lines)]
        prompts += [f"no [[sim:status=400]] {number}" for number in range(failing)]
        file = self.post(
            "/v1/files", files={"file": ("in.jsonl", _jsonl(prompts))}, data={"purpose": "batch"}
        )
        wanted = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h", **more}
        return str(self.post("/v1/batches", json=wanted)["id"])

    def settled(self, batch_id: str) -> None:
        """It has ended, and everybody who is told of it has been."""
        self.site.ended(batch_id)
        db = self.site.stores.db

        def told() -> bool:
            batch = db["batch_jobs"].find_one(
                {"_id": batch_id, "booked": True, "events.0": {"$exists": False}}
            )
            return batch is not None and not db["outbox"].find_one(
                {"batch_id": batch_id, "state": {"$ne": "told"}}
            )

        eventually(told, 10.0)

    def walk(self, ended: str) -> None:
        """Everything once, with an ended batch at hand."""
        hook = self._hook()
        # What a limit has to know is asked for where there is one.
        self._ask("PATCH", "/v1/tenants/default", json={"limits": _ROOMY})
        batch_id = self.batch(text="again", metadata={"a": "b"})
        self.site.ended(batch_id)
        self.site.ended(str(self.post(f"/v1/batches/{batch_id}/retry")["id"]))
        self._stopped()
        self._settings()
        self._every_look(batch_id, hook)
        self._every_look(ended, hook, of_batches=True)
        self._ask("PATCH", f"/v1/webhooks/{hook}", json={"enabled": False})
        self._ask("DELETE", f"/v1/webhooks/{hook}")

    def _hook(self) -> str:
        # The simulator knows no such path: deliveries fail, wait and are tried again.
        return str(self.post("/v1/webhooks", json={"url": f"{self.site.simulator.url}/hook"})["id"])

    def _stopped(self) -> None:
        """A batch that is paused, goes on and is cancelled; a file that goes."""
        slow = self.batch(60, failing=0, text="late [[sim:latency-ms=400]]")
        eventually(lambda: self.site.stores.state(slow)["status"] == "in_progress", 10.0)
        for what in ("pause", "resume", "cancel"):
            self.post(f"/v1/batches/{slow}/{what}")
        self.site.ended(slow)
        file = self.post("/v1/files", files={"file": ("in.jsonl", _jsonl(["x"]))}, data={"purpose": "batch"})
        self._ask("DELETE", f"/v1/files/{file['id']}")

    def _settings(self) -> None:
        """Tenants, keys and pauses come and go."""
        self.post("/v1/tenants", json={"id": "passing"})
        self._ask("PATCH", "/v1/tenants/passing", json={"weight": 2})
        key = self.post("/v1/keys", json={"tenant": "passing", "name": "k"})
        self.post(f"/v1/keys/{key['id']}/rotate")
        for what in ("pause", "resume"):
            self.post(f"/v1/tenants/passing/{what}")
            self.post(f"/v1/providers/sim/{what}")
        self._ask("DELETE", "/v1/tenants/passing")

    def _every_look(self, batch_id: str, hook: str, *, of_batches: bool = False) -> None:
        """Every route that changes nothing, or those of this batch, whoever has added them."""
        batch = self._ask("GET", f"/v1/batches/{batch_id}").json()
        deliveries = self._ask("GET", "/v1/webhooks/deliveries").json()["data"] or [{"id": "none"}]
        keys = self._ask("GET", "/v1/keys").json()["data"]
        known = {
            "batch_id": batch_id,
            "file_id": batch["input_file_id"],
            "line": "1",
            "webhook_id": hook,
            "webhook_endpoint_id": hook,
            "delivery_id": deliveries[0]["id"],
            "tenant_id": "default",
            "key_id": keys[0]["id"],
        }
        for route in every_route():
            if route.method != "GET" or route.method == SOCKET or route.path.startswith("/docs"):
                continue
            if of_batches and "batch_id" not in route.in_path:
                continue
            names = {name: known.get(name, "none") for name in route.in_path}
            plain = () if route.path in _ENDLESS else ("",)
            for query in (*plain, *_ASKED.get(route.path, ())):
                self._ask("GET", f"{route.path}?{query}".format(**(known | names)))

    def post(self, path: str, **options: Any) -> dict[str, Any]:
        """Change something that can be changed; gives the reply."""
        reply = self._ask("POST", path, **options)
        assert reply.status_code < 300, (path, reply.text)
        found: dict[str, Any] = reply.json()
        return found

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        reply = self.api.call(method, path, **options)
        assert reply.status_code < 500, (method, path, reply.text)
        return reply


def _jsonl(prompts: list[str]) -> bytes:
    bodies = ({"model": "sim-small", "messages": [{"role": "user", "content": text}]} for text in prompts)
    lines = (
        {"custom_id": f"c{n}", "method": "POST", "url": CHAT, "body": each} for n, each in enumerate(bodies)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
