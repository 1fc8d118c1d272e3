"""A sweeper over a test's stores, without a loop and without a broker: a test says when it sweeps.

site.sweep()
batch_id = site.started(lines, per_shard=2)
site.answer(site.shards(batch_id)[0])
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from tests.support.batches import Stores, chat_line
from workers.core.choose import Chosen
from workers.core.messages import Result, unpack_items
from workers.core.planner import ShardLimits
from workers.core.tally import Tally
from workers.finalizer import Finalizer
from workers.planning import Planning
from workers.queue import Queue
from workers.store import stores as nouns
from workers.store.mongo import EPOCH, NOW, Doc
from workers.store.results import record
from workers.store.threads import Threads
from workers.sweeper import Sweeper

BODY = json.dumps({"object": "chat.completion", "choices": []}).encode()


@dataclass
class NoBroker:
    """Takes every message, and nobody reads it."""

    plans: list[str] = field(default_factory=list)

    def depth(self, _: str) -> int:
        return 0

    def publish_plan(self, batch_id: str) -> None:
        self.plans.append(batch_id)


class Site:
    """Stores, and what works on them beside the engine."""

    def __init__(self, stores: Stores, *, retention_days: float = 30.0) -> None:
        self.stores = stores
        self.nouns = nouns.stores_of(stores.db, retention_days=retention_days)
        self.queue = NoBroker()
        self.finalizer = Finalizer(self.nouns)
        threads = Threads(ThreadPoolExecutor(1))
        queue = cast("Queue", self.queue)
        self.sweeper = Sweeper(self.nouns, self.finalizer, queue, threads, "test", 5.0, 60.0, 60.0)

    def sweep(self) -> None:
        """One round."""
        assert self.sweeper.sweep()

    def plan(self, batch_id: str, *, per_shard: int = 2) -> str:
        """What a planner does."""
        planning = Planning(
            self.nouns,
            "planner",
            60.0,
            lambda _, model, __: Chosen("sim", model),
            lambda _: True,
            lambda _: ShardLimits(per_shard, 4 << 20, 32 << 20),
            max_requests=1000,
            max_line_bytes=1 << 20,
        )
        return planning.plan(batch_id)

    def started(self, items: int, *, per_shard: int = 2, **changes: Any) -> str:
        """A batch in progress with questions c1, c2, ... in shards of so many."""
        batch_id = self.stores.batch([chat_line(f"c{n}", f"q {n}") for n in range(1, items + 1)], **changes)
        assert self.plan(batch_id, per_shard=per_shard) == f"{items} items"
        return batch_id

    def shards(self, batch_id: str) -> list[str]:
        """The ids of its shards."""
        return [row["_id"] for row in self.stores.db["batch_shards"].find({"batch_id": batch_id}).sort("_id")]

    def claim(self, shard_id: str) -> Doc:
        """Lease it for a minute."""
        doc = self.stores.shards.claim(shard_id, "worker", 60.0)
        assert doc is not None
        return doc

    def answer(self, shard_id: str, *, body: bytes = BODY) -> None:
        """Claim it, record an answer for every item, end it."""
        doc, tally = self.claim(shard_id), Tally()
        for item in unpack_items(doc["items"]):
            result = Result(item.line, f"c{item.line}", "call", status_code=200, body=body, calls=1)
            row = record(doc["batch_id"], doc["tenant"], shard_id, doc["fence"], result)
            tally.add(result, row.line_bytes)
            assert self.nouns.results.insert([row]) == []
        assert self.stores.shards.finish(shard_id, doc["fence"], tally)

    def completed(self, items: int = 2, *, body: bytes = BODY, **changes: Any) -> str:
        """A batch that has been answered whole and has ended."""
        batch_id = self.started(items, **changes)
        for shard_id in self.shards(batch_id):
            self.answer(shard_id, body=body)
        assert self.finalizer.advance(batch_id) == "completed"
        return batch_id

    def window_over(self, batch_id: str) -> None:
        """The batch's completion window ends now."""
        self.stores.db["batch_jobs"].update_one({"_id": batch_id}, [{"$set": {"window_ends": NOW}}])

    def retention_over(self, batch_id: str) -> None:
        """The batch has been kept for as long as it should, and its event for as long as it is worth telling."""
        self.stores.db["batch_jobs"].update_one({"_id": batch_id}, {"$set": {"expire_at": EPOCH}})
        batches, outbox = self.stores.db["batch_jobs"], self.stores.db["outbox"]
        batches.update_one(
            {"_id": batch_id, "events.0": {"$exists": True}}, {"$set": {"events.$[].created_at": 0}}
        )
        outbox.update_one({"batch_id": batch_id}, {"$set": {"event.created_at": 0}})

    def lease_over(self, shard_id: str) -> None:
        """Its holder has been silent for too long."""
        self.stores.db["batch_shards"].update_one({"_id": shard_id}, {"$set": {"lease_until": EPOCH}})

    def left(self) -> dict[str, int]:
        """How many documents there are of everything that a batch or a file leaves; without those of which none is."""
        names = ("batch_jobs", "batch_shards", "batch_results", "files", "files.chunks", "outbox")
        counts = {name: self.stores.db[name].count_documents({}) for name in names}
        return {name: count for name, count in counts.items() if count}

    def lines(self, batch_id: str, *, ok: bool) -> list[tuple[str | None, str | None]]:
        """(custom_id, error code) of each line of the output or the error file."""
        rows = [json.loads(raw) for _, raw in self.nouns.results.lines(batch_id, ok=ok)]
        return [(row["custom_id"], row["error"] and row["error"]["code"]) for row in rows]
