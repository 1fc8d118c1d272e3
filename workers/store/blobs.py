"""The object store: byte strings of any length in numbered chunks (`files.chunks`, GridFS's own layout).

Reading is by chunk number, never by seek: 500 scattered lines took 12 ms this way and 7.6 s by GridOut.seek.
Another store (S3) would offer the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bson import Binary

from workers.core.errors import MissingBytes
from workers.store.mongo import Db, Doc, distinct_after, insert_missing, unacknowledged_by_majority

CHUNK_BYTES = 1 << 20
PAGE_CHUNKS = 8


class Blobs:
    """Write chunks, read ranges, delete."""

    def __init__(self, db: Db) -> None:
        self._chunks = db["files.chunks"]
        self._fast = self._chunks.with_options(write_concern=unacknowledged_by_majority())

    def put_chunk(self, name: str, n: int, data: bytes) -> None:
        """One chunk with w:1; the caller's later majority write vouches for it."""
        self._fast.insert_one({"_id": f"{name}/{n}", "files_id": name, "n": n, "data": Binary(data)})

    def put(self, name: str, data: bytes) -> None:
        """A whole byte string, safely; putting it again changes nothing."""
        docs: list[Doc] = [
            {
                "_id": f"{name}/{n}",
                "files_id": name,
                "n": n,
                "data": Binary(data[start : start + CHUNK_BYTES]),
            }
            for n, start in enumerate(range(0, len(data), CHUNK_BYTES))
        ]
        insert_missing(self._chunks, docs)

    def get(self, name: str) -> bytes:
        """The whole byte string. Raises MissingBytes if a chunk is missing."""
        return b"".join(self.stream(name))

    def stream(self, name: str, size_bytes: int | None = None) -> Iterator[bytes]:
        """The chunks in order. Raises MissingBytes at a gap, and at the end if it is not `size_bytes` long."""
        expected, seen = 0, 0
        for doc in self._chunks.find({"files_id": name}, batch_size=PAGE_CHUNKS).sort("n", 1):
            if doc["n"] != expected:
                raise MissingBytes(f"chunk {expected} of {name} is missing")
            expected += 1
            seen += len(doc["data"])
            yield bytes(doc["data"])
        if seen != size_bytes and (size_bytes is not None or expected == 0):
            raise MissingBytes(f"{name} ends early, after {seen} bytes")

    def ranges(self, name: str, wanted: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes of each (offset, length), in the order of their offsets, at most nine chunks in memory."""
        if not wanted:
            return
        page: dict[int, bytes] = {}
        for index, (offset, length) in enumerate(wanted):
            first, last = offset // CHUNK_BYTES, (offset + max(length, 1) - 1) // CHUNK_BYTES
            if any(n not in page for n in range(first, last + 1)):
                page = self._load(name, _next_page(wanted, index))
            joined = b"".join(_chunk(page, n, name) for n in range(first, last + 1))
            start = offset - first * CHUNK_BYTES
            yield joined[start : start + length]

    def delete(self, name: str) -> None:
        """Remove every chunk."""
        self._chunks.delete_many({"files_id": name})

    def names(self, after: str, limit: int) -> list[str]:
        """Names of stored byte strings in order, those after `after`."""
        return distinct_after(self._chunks, "files_id", after, limit)

    def delete_some(self, prefix: str, limit: int) -> int:
        """Remove up to `limit` chunks of byte strings whose names begin so; gives how many there were."""
        where = {"files_id": {"$gte": prefix, "$lt": prefix + "\uffff"}}
        rows = self._chunks.find(where, {"_id": 1}).sort("files_id", 1).limit(limit)
        ids = [row["_id"] for row in rows]
        return self._chunks.delete_many({"_id": {"$in": ids}}).deleted_count if ids else 0

    def _load(self, name: str, numbers: Sequence[int]) -> dict[int, bytes]:
        found = self._chunks.find({"files_id": name, "n": {"$in": list(numbers)}}, {"n": 1, "data": 1})
        return {doc["n"]: bytes(doc["data"]) for doc in found}


def _next_page(wanted: Sequence[tuple[int, int]], start: int) -> list[int]:
    """The chunk numbers to fetch from the `start`-th range on: whole ranges, eight chunks or what one range needs."""
    numbers: set[int] = set()
    for offset, length in wanted[start:]:
        first, last = offset // CHUNK_BYTES, (offset + max(length, 1) - 1) // CHUNK_BYTES
        more = numbers | set(range(first, last + 1))
        if numbers and len(more) > PAGE_CHUNKS:
            break
        numbers = more
    return sorted(numbers)


def _chunk(page: dict[int, bytes], n: int, name: str) -> bytes:
    if n not in page:
        raise MissingBytes(f"chunk {n} of {name} is missing")
    return page[n]
