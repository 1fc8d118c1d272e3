"""A database that has been in use for years: the documents of one real batch again and again, under other ids.

Whatever a feature writes is copied with it, so nobody has to describe documents here. What decides something now (a
running worker's row, an election) is left as it is.
"""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.batches import Stores
from workers.core.identity import new_batch_id, new_file_id, shard_id
from workers.core.messages import Item, ShardPlan
from workers.store.indexes import INDEXES
from workers.store.mongo import NEVER, Db, Doc, unacknowledged_by_majority
from workers.store.shard_docs import shard_doc

# Of these there is one each, or one for each process that runs.
_SINGLE = frozenset(("meta", "elections", "chores", "reloads", "worker_processes", "api_processes"))
_RESULTS = "batch_results"
_CHUNK = 5_000
_TENANTS = 50
# What waited then has long been decided.
_PAST: Mapping[str, Doc] = {"deliveries": {"state": "dead"}}
_YEARS_S = 3 * 365 * 86_400
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_ENDS = frozenset(("expires_at", "window_ends", "expire_at"))


@dataclass(frozen=True)
class _Copy:
    """What is otherwise in one copy: its ids, so many seconds ago, and whose it is."""

    ids: Mapping[str, str]
    ago_s: float
    tenant: str


def grow(db: Db, batch_id: str, *, batches: int, results_each: int, others: int) -> None:
    """Copy an ended batch with all that names it `batches` times, half of them for its own tenant.

    Args:
        results_each: how many results each copy has.
        others: how many copies are made of every document that belongs to no batch.
    """
    quick = db.with_options(write_concern=unacknowledged_by_majority())
    batch = db["batch_jobs"].find_one({"_id": batch_id})
    assert batch is not None
    file_id = batch["input_file_id"]
    copies = list(_copies(batch_id, file_id, batches))
    for name in sorted(db.list_collection_names(filter={"type": "collection"})):
        if name in _SINGLE or name.startswith("system."):
            continue
        docs = list(db[name].find())
        theirs = [doc for doc in docs if batch_id in str(doc) or file_id in str(doc)]
        if name == _RESULTS:
            _insert(quick, name, _results(theirs, copies, results_each))
        elif theirs:
            _insert(
                quick, name, (_copied(doc, copy) | _PAST.get(name, {}) for copy in copies for doc in theirs)
            )
        elif docs:
            unique = _unique_fields(name)
            picked = itertools.islice(itertools.cycle(docs[:20]), others)
            _insert(quick, name, (_another(doc, number, unique) for number, doc in enumerate(picked)))


def queue_up(stores: Stores, shards: int) -> None:
    """Two batches of another tenant with so many shards each that wait: parked for an hour, and paused."""
    parked = {"next_at": datetime.now(UTC) + timedelta(hours=1), "reason": "model_paused"}
    paused = {"next_at": NEVER, "reason": "paused"}
    cases: list[tuple[Doc, Doc]] = [({}, parked), ({"paused_at": time.time()}, paused)]
    for more, waits in cases:
        running: Doc = {"status": "in_progress", "tenant": "t0", "total": shards, "plan": {"opened": True}}
        batch_id = stores.batch((), **running, **more)
        batch = {"_id": batch_id, "tenant": "t0", "priority": 0}
        plans = (ShardPlan(seq, "sim", (Item(seq, seq * 100, 10),), 100, 10) for seq in range(1, shards + 1))
        docs = (shard_doc(shard_id(batch_id, plan.seq), plan, batch) | waits for plan in plans)
        _insert(stores.db, "batch_shards", docs)


def _copies(batch_id: str, file_id: str, number: int) -> Iterator[_Copy]:
    """Spread over the last years, half of them for other tenants."""
    now_s = time.time()
    for each in range(number):
        ago_s = 86_400 + _YEARS_S * (number - each) / number
        at_ms = int((now_s - ago_s) * 1000)
        new_batch, new_file = new_batch_id(at_ms), new_file_id(at_ms)
        assert len(new_batch) == len(batch_id)
        ids = {batch_id: new_batch, file_id: new_file, _stem(batch_id): _stem(new_batch)}
        yield _Copy(ids, ago_s, f"t{each % _TENANTS}" if each % 2 else "default")


def _stem(id_: str) -> str:
    """What ids that are derived from this one have in common with it."""
    return id_.partition("_")[2]


def _copied(doc: Doc, copy: _Copy) -> Doc:
    made: Doc = _renamed(doc, copy)
    if made["_id"] == doc["_id"]:
        # An id that tells nothing: another of the same length.
        end = next(iter(copy.ids.values()))[-16:]
        made["_id"] = doc["_id"][: -len(end)] + end
    return made


def _renamed(value: Any, copy: _Copy, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _renamed(each, copy, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, copy) for each in value]
    if isinstance(value, str):
        return _renamed_text(value, copy)
    # A time in Unix seconds; what ends it stays, or the whole past would be swept away at once.
    is_time = isinstance(value, int | float) and abs(value - time.time()) < 3600 and key not in _ENDS
    return type(value)(value - copy.ago_s) if is_time else value  # a whole number stays one


def _renamed_text(text: str, copy: _Copy) -> str:
    if text == "default":
        return copy.tenant
    if _DAY.fullmatch(text):
        return datetime.fromtimestamp(time.time() - copy.ago_s, UTC).strftime("%Y-%m-%d")
    for old, new in copy.ids.items():
        if old in text:
            return text.replace(old, new)
    return text


def _results(docs: list[Doc], copies: Iterable[_Copy], each: int) -> Iterator[Doc]:
    for copy in copies:
        for line in range(1, each + 1):
            # Of the failed ones each copy has as many as there were, and never more.
            doc = _renamed(docs[line % len(docs)] if line <= len(docs) else docs[0], copy)
            start, _, number = doc["_id"].rpartition(":")
            doc["_id"] = f"{start}:{line:0{len(number)}d}"
            yield doc


def _unique_fields(name: str) -> set[str]:
    unique = [index.document for index in INDEXES.get(name, ()) if index.document.get("unique")]
    return {"_id", "id", *(field for index in unique for field in dict(index["key"]))}


def _another(doc: Doc, number: int, unique: set[str]) -> Doc:
    another = dict(doc)
    for field in unique & another.keys():
        if isinstance(another[field], str):
            another[field] = f"{another[field]}-{number:06d}"
        elif isinstance(another[field], int | float):
            another[field] += number + 1
    if "tenant" in another:
        # Never the one that asks: of some things a tenant may have only a few.
        another["tenant"] = f"t{number % _TENANTS}"
    return another


def _insert(db: Db, name: str, docs: Iterable[Doc]) -> None:
    waiting = iter(docs)
    while chunk := list(itertools.islice(waiting, _CHUNK)):
        random.Random(0).shuffle(chunk)  # as they come from many workers
        db[name].insert_many(chunk, ordered=False)
