"""The stores of a test, and batches laid into them as the API does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.servers import TestServers
from workers.core.identity import new_batch_id, new_file_id, shard_id
from workers.core.messages import Item, Result, ShardPlan
from workers.store.batches import Batches
from workers.store.blobs import Blobs
from workers.store.dispatches import Dispatches
from workers.store.files import Files
from workers.store.mongo import Db, Doc, connect, ensure_indexes, unacknowledged_by_majority
from workers.store.results import Record, Results, record
from workers.store.shard_docs import shard_doc
from workers.store.shards import Shards
from workers.store.tenants import Tenants

CHAT = "/v1/chat/completions"


def chat_line(custom_id: str, text: str, *, model: str = "sim-small", **body: Any) -> bytes:
    """One line of an input file, without its line end."""
    whole = {"model": model, "messages": [{"role": "user", "content": text}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": whole}).encode()


@dataclass(frozen=True)
class Stores:
    """Every MongoDB store over one database."""

    db: Db
    blobs: Blobs
    files: Files
    batches: Batches
    shards: Shards
    dispatches: Dispatches
    results: Results
    tenants: Tenants

    def file(self, content: bytes | Sequence[bytes], *, tenant: str = "default") -> str:
        """Store an input file; gives its id."""
        file_id = new_file_id(int(time.time() * 1000))
        upload = self.files.begin(file_id, tenant, filename="x.jsonl", purpose="batch", expires_at=None)
        upload.write(content if isinstance(content, bytes) else b"".join(line + b"\n" for line in content))
        upload.finish()
        return file_id

    def batch(self, lines: Sequence[bytes] = (), **changes: Any) -> str:
        """Insert a validating batch over these lines; gives its id."""
        now_s, options = time.time(), changes.pop("options", {})
        doc: Doc = {
            "_id": new_batch_id(int(now_s * 1000)),
            "tenant": "default",
            "endpoint": CHAT,
            "input_file_id": self.file(lines) if lines else "file-none",
            "completion_window": "24h",
            "window_s": 86_400,
            "window_ends": datetime.now(UTC) + timedelta(days=1),
            "status": "validating",
            "ending": None,
            "created_at": now_s,
            "expires_at": now_s + 86_400,
            "metadata": None,
            "total": 0,
            "model": None,
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
            "paused_at": None,
            "priority": 0,
            "options": {"model": None, "cache": True, "invalid_lines": "fail", **options},
            "plan": {"opened": False},
            "counts": {},
            **changes,
        }
        assert self.batches.insert(doc)
        return str(doc["_id"])

    def start(self, batch_id: str, *, total: int = 1) -> int:
        """validating -> in_progress, as a planner does; gives the plan's fence."""
        claimed = self.batches.claim_plan(batch_id, "planner", 60.0)
        assert claimed is not None
        fence = int(claimed["plan"]["fence"])
        assert self.batches.start(batch_id, fence, total=total, model=None, repeats=0)
        return fence

    def queued(self, batch_id: str, *sizes: int, provider: str = "sim", tenant: str = "default") -> list[str]:
        """Insert open shards of these sizes, lines in one row; gives their ids."""
        batch = {"_id": batch_id, "tenant": tenant, "priority": 0}
        docs, line = [], 1
        for seq, size in enumerate(sizes, start=1):
            items = tuple(Item(n, n * 100, 10) for n in range(line, line + size))
            line += size
            plan = ShardPlan(seq, provider, items, est_tokens=size * 100, bytes=size * 10)
            docs.append(shard_doc(shard_id(batch_id, seq), plan, batch))
        self.shards.insert_missing(docs)
        self.shards.open(batch_id)
        return [doc["_id"] for doc in docs]

    def shard(self, id_: str) -> Doc:
        """One shard that must be there."""
        doc = self.shards.get(id_)
        assert doc is not None
        return doc

    def state(self, batch_id: str) -> Doc:
        """One batch that must be there."""
        doc = self.batches.get(batch_id)
        assert doc is not None
        return doc


def open_stores(servers: TestServers, *, safe: bool = True) -> Stores:
    """Connect, with indexes. `safe` False: writes wait for no journal, where nothing is killed in a test."""
    db = connect(servers.mongodb_url)[servers.mongodb_database]
    ensure_indexes(db)
    if not safe:
        db = db.with_options(write_concern=unacknowledged_by_majority())
    blobs = Blobs(db)
    return Stores(
        db, blobs, Files(db, blobs), Batches(db), Shards(db), Dispatches(db), Results(db, blobs), Tenants(db)
    )


def records(batch_id: str, results: Iterable[Result], *, shard: str = "s", fence: int = 1) -> list[Record]:
    """Results as a shard of the default tenant hands them to the store."""
    return [record(batch_id, "default", shard, fence, result) for result in results]
