"""The one recorded result of every item (`batch_results`): insert-only, the first wins.

`_id` = batch id and zero-padded line, so a range scan gives input order. Bodies are JSON bytes, never BSON
documents; over 1 MB they go to the object store under a name derived from the result's id.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bson import Binary
from bson.errors import BSONError
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure

from workers.core.history import tries_doc, tries_from
from workers.core.identity import batch_of, hash64, line_of, result_id
from workers.core.messages import NEVER_RAN_CODES, ItemError, Result, Usage
from workers.core.tally import Tally, tally_from, total
from workers.core.wire import line_bytes, output_line
from workers.store.blobs import Blobs
from workers.store.mongo import DUPLICATE_KEY, MONGO_DOWN, Db, Doc, distinct_after, refuses_writes

INLINE_BODY_BYTES = 1_000_000
BODY = "body:"
_BEYOND = ";"  # sorts after the colon between a batch's id and a line
# A chunk of a large body is up to a megabyte: deleting one counts as much as this many small documents.
BODY_CHUNK_COSTS = 100

_NEVER_RAN = {"$and": [{"$eq": ["$source", "none"]}, {"$in": ["$error.code", list(NEVER_RAN_CODES)]}]}


def _count(condition: Any) -> Doc:
    return {"$sum": {"$cond": [condition, 1, 0]}}


# `Tally.add` in the database's words; a test holds the two equal.
_SUMS: Doc = {
    "recorded": {"$sum": 1},
    "completed": _count("$ok"),
    "never_ran": _count(_NEVER_RAN),
    "failed": _count({"$not": {"$or": ["$ok", _NEVER_RAN]}}),
    "cached": _count({"$eq": ["$source", "cache"]}),
    "coalesced": _count({"$eq": ["$source", "coalesced"]}),
    "calls": {"$sum": "$calls"},
    "excess": {"$sum": "$excess"},
    "asks_again": {"$sum": "$asks_again"},
    "input_tokens": {"$sum": {"$arrayElemAt": ["$usage", 0]}},
    "output_tokens": {"$sum": {"$arrayElemAt": ["$usage", 1]}},
    "cached_tokens": {"$sum": {"$arrayElemAt": ["$usage", 2]}},
    "reasoning_tokens": {"$sum": {"$arrayElemAt": ["$usage", 3]}},
    "cache_write_tokens": {"$sum": {"$arrayElemAt": ["$usage", 4]}},
    "cost_usd": {"$sum": "$cost_usd"},
    "unpriced": _count({"$eq": ["$cost_usd", None]}),
    # Of what was called for there is no such field, which is not null.
    "saved_usd": {"$sum": "$saved_usd"},
    "saved_unpriced": _count({"$eq": ["$saved_usd", None]}),
    "output_bytes": {"$sum": {"$cond": ["$ok", "$line_bytes", 0]}},
    "error_bytes": {"$sum": {"$cond": ["$ok", 0, "$line_bytes"]}},
}


@dataclass(frozen=True, slots=True)
class Record:
    """A result on its way into the database, with who made it."""

    batch_id: str
    tenant: str
    shard_id: str
    fence: int
    result: Result
    line_bytes: int
    id: str


def record(batch_id: str, tenant: str, shard_id: str, fence: int, result: Result) -> Record:
    """Measure the result's line and wrap it; `id` is the `_id` it will have."""
    id_ = result_id(batch_id, result.line)
    return Record(batch_id, tenant, shard_id, fence, result, line_bytes(result), id_)


# What says no to these very bytes, in whatever words; trying them again is of no use.
_REFUSED = (OperationFailure, BSONError, OverflowError)


class Results:
    """Insert results, tell which exist, read them back in input order."""

    def __init__(self, db: Db, blobs: Blobs) -> None:
        self._docs = db["batch_results"]
        self._blobs = blobs

    def insert(self, records: Sequence[Record]) -> list[Record]:
        """Insert in one unordered bulk; gives those that the server refused for good.

        A result that is already there is a success: the first one wins. Raises MONGO_DOWN errors, after which
        the same call can be made again: inserting is idempotent.
        """
        refused, sent, docs = [], [], []
        for rec in records:
            try:
                docs.append(self._to_doc(rec))
                sent.append(rec)
            except MONGO_DOWN:
                raise
            except _REFUSED:
                refused.append(rec)
        return refused + (self._insert(sent, docs) if docs else [])

    def _insert(self, records: Sequence[Record], docs: Sequence[Doc]) -> list[Record]:
        try:
            self._docs.insert_many(docs, ordered=False)
        except BulkWriteError as error:
            if error.details.get("writeConcernErrors") or refuses_writes(error):
                # `None`: its text has the answers in it.
                raise ConnectionFailure("not all of it is written, or known to be safe yet") from None
            bad = [p["index"] for p in error.details["writeErrors"] if p["code"] != DUPLICATE_KEY]
            return [records[index] for index in bad]
        except MONGO_DOWN:
            raise
        except _REFUSED as error:
            if isinstance(error, OperationFailure) and refuses_writes(error):
                raise ConnectionFailure("nothing is written for now, whatever it is") from error
            if len(records) == 1:
                return list(records)
            # The server refused the bulk as a whole: find the culprit, record the others.
            pairs = zip(records, docs, strict=True)
            return [refused for rec, doc in pairs for refused in self._insert([rec], [doc])]
        return []

    def recorded(self, batch_id: str, first_line: int, last_line: int) -> dict[int, Doc]:
        """What is recorded between two lines, without bodies: {line: document}."""
        where = {"_id": {"$gte": result_id(batch_id, first_line), "$lte": result_id(batch_id, last_line)}}
        rows = self._docs.find(where, {"body": 0}, batch_size=5000)
        return {line_of(row["_id"]): row for row in rows}

    def recorded_of(self, batch_id: str, lines: Iterable[int]) -> dict[int, Doc]:
        """What is recorded of these lines, without bodies: {line: document}."""
        ids = [result_id(batch_id, line) for line in lines]
        rows = self._docs.find({"_id": {"$in": ids}}, {"body": 0}, batch_size=5000)
        return {line_of(row["_id"]): row for row in rows}

    def get(self, result_id_: str) -> Result | None:
        """One result with its body."""
        doc = self._docs.find_one({"_id": result_id_})
        return self._from_doc(doc) if doc else None

    def get_many(self, result_ids: Sequence[str]) -> dict[str, Result]:
        """Those of these results that are there, with their bodies, by id."""
        found = self._docs.find({"_id": {"$in": list(result_ids)}})
        return {doc["_id"]: self._from_doc(doc) for doc in found}

    def lines(self, batch_id: str, *, ok: bool, after_line: int = 0) -> Iterator[tuple[int, bytes]]:
        """(line, output line) of the output (`ok`) or the error file, in input order."""
        rows = self._docs.find(rows_of(batch_id, after_line) | {"ok": ok}, batch_size=500)
        for doc in rows.sort("_id", 1):
            result = self._from_doc(doc)
            yield result.line, output_line(batch_id, result)

    def tally(self, batch_id: str) -> Tally:
        """Every count of a batch, made again from its results by the database itself."""
        return total(self.shares(batch_id).values())

    def shares(self, batch_id: str) -> dict[tuple[str, str], Tally]:
        """The same by shard and model."""
        group: Doc = {"_id": {"shard": "$shard", "model": "$model"}} | _SUMS
        rows = self._docs.aggregate([{"$match": rows_of(batch_id)}, {"$group": group}])
        return {(row["_id"]["shard"], row["_id"]["model"]): tally_from(row) for row in rows}

    def delete_of(self, batch_id: str) -> int:
        """Remove the rows of a batch that never started (rejected lines of a file that then failed)."""
        return self._docs.delete_many(rows_of(batch_id)).deleted_count

    def delete_some(self, batch_id: str, limit: int) -> int:
        """Remove up to `limit` results of a batch that nobody may read any more, large bodies first.

        Gives how many documents and chunks went; 0: nothing of them is left. One range of `_id` a time.
        """
        if chunks := self._blobs.delete_some(body_prefix(batch_id), max(1, limit // BODY_CHUNK_COSTS)):
            return chunks * BODY_CHUNK_COSTS
        rows = self._docs.find(rows_of(batch_id), {"_id": 1}).sort("_id", 1).limit(limit)
        if not (ids := [row["_id"] for row in rows]):
            return 0
        return self._docs.delete_many({"_id": {"$gte": ids[0], "$lte": ids[-1]}}).deleted_count

    def batch_ids(self, after: str, limit: int) -> list[str]:
        """Batches of which results are there, in order, those after `after`."""
        return distinct_after(self._docs, "_id", after, limit, beyond=_BEYOND, name=batch_of)

    def unreferred(self, body_names: Sequence[str]) -> list[str]:
        """Those of these names of large bodies that no result refers to."""
        owners = [owner_of_body(name) for name in body_names]
        rows = self._docs.find({"_id": {"$in": owners}}, {"body_in_store": 1})
        used = {row.get("body_in_store") for row in rows}
        return [name for name in body_names if name not in used]

    def _to_doc(self, rec: Record) -> Doc:
        result, body = rec.result, rec.result.body
        blob = body is not None and len(body) > INLINE_BODY_BYTES
        if blob and body is not None:
            self._blobs.put(body_name(rec.id, body), body)
        doc: Doc = {
            "_id": rec.id,
            "tenant": rec.tenant,
            "shard": rec.shard_id,
            "fence": rec.fence,
            "custom_id": result.custom_id,
            "ok": result.ok,
            "source": result.source,
            "status_code": result.status_code,
            "body": None if blob or body is None else Binary(body),
            "usage": list(result.usage.counts),
            "calls": result.calls,
            "excess": result.excess,
            "cost_usd": result.cost_usd,
            "latency_ms": round(result.latency_ms, 1),
            "line_bytes": rec.line_bytes,
            "request_id": result.request_id,
            "model": result.model,
            "at": time.time(),
        }
        if blob and body is not None:
            doc["body_in_store"] = body_name(rec.id, body)
        if result.saved_usd != 0:
            doc["saved_usd"] = result.saved_usd
        if result.asks_again:
            doc["asks_again"] = result.asks_again
        if result.warnings:
            doc["warnings"] = list(result.warnings)
        if result.error:
            doc["error"] = {"code": result.error.code, "message": result.error.message}
        if result.attempts or result.waited_s:
            doc |= tries_doc(result.attempts, result.waited_s)
        return doc

    def _from_doc(self, doc: Doc) -> Result:
        stored = doc.get("body_in_store")
        body: bytes | None = self._blobs.get(stored) if stored else doc.get("body")
        return without_body(doc, bytes(body) if body is not None else None)


def body_name(result_id_: str, body: bytes) -> str:
    """Where a large body lies in the object store; two different answers of one item never share chunks."""
    return f"{BODY}{result_id_}:{hash64(body):016x}"


def body_prefix(batch_id: str) -> str:
    """What the names of all large bodies of a batch begin with."""
    return f"{BODY}{batch_id}:"


def owner_of_body(name: str) -> str:
    """The id of the result that a large body was stored for."""
    return name.removeprefix(BODY).rpartition(":")[0]


def batch_of_body(name: str) -> str:
    """The batch that a large body was stored for."""
    return batch_of(owner_of_body(name))


def rows_of(batch_id: str, after_line: int | None = None) -> Doc:
    """The filter of a batch's results, or of those after a line."""
    low = f"{batch_id}:" if after_line is None else result_id(batch_id, after_line)
    return {"_id": {"$gt": low, "$lt": batch_id + _BEYOND}}


def without_body(doc: Doc, body: bytes | None = None) -> Result:
    """A result from its document; the body as given."""
    error: dict[str, Any] | None = doc.get("error")
    attempts, waited_s = tries_from(doc)
    return Result(
        line=line_of(doc["_id"]),
        custom_id=doc["custom_id"],
        source=doc["source"],
        status_code=doc["status_code"],
        body=body,
        error=ItemError(error["code"], error["message"]) if error else None,
        request_id=doc["request_id"],
        model=doc["model"],
        usage=Usage(*doc["usage"]),
        calls=doc["calls"],
        excess=doc["excess"],
        asks_again=doc.get("asks_again", 0),
        cost_usd=doc["cost_usd"],
        saved_usd=doc.get("saved_usd", 0.0),
        latency_ms=doc["latency_ms"],
        warnings=tuple(doc.get("warnings", ())),
        attempts=attempts,
        waited_s=waited_s,
    )


def tally_of(docs: Iterable[Doc]) -> Tally:
    """Count recorded documents, as the running shard that recorded them did."""
    counts = Tally()
    for doc in docs:
        counts.add(without_body(doc), doc["line_bytes"])
    return counts
