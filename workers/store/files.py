"""File documents (`files`): uploads and the output and error views of batches. Bytes lie in blobs.py.

The document (`uploading`) comes first, chunks with w:1, then the document again with w:majority: a crash leaves
only what the sweeper finds by its state. Delete hides a file, and so does its expires_at (Unix seconds) once it has
come; the bytes go when no batch in retention needs them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import blake3
from pymongo import ASCENDING, DESCENDING

from workers.core.split import UTF8_BOM, split_lines
from workers.store.blobs import CHUNK_BYTES, Blobs
from workers.store.mongo import EPOCH, NOW, NOW_S, Db, Doc, after_s

UPLOADING, ABANDONED, READY, DELETED = "uploading", "abandoned", "ready", "deleted"
TOUCH_EVERY_S = 60.0
_NEVER_S = float("inf")
_NOT_EXPIRED: Doc = {"$expr": {"$gt": [{"$ifNull": ["$expires_at", _NEVER_S]}, NOW_S]}}
_VISIBLE: Doc = {"state": READY} | _NOT_EXPIRED
_UNSEEN: Doc = {
    "$or": [
        {"state": DELETED},
        {"state": READY, "$expr": {"$lte": [{"$ifNull": ["$expires_at", _NEVER_S]}, NOW_S]}},
    ]
}


class Files:
    """Write, list and read files of one tenant."""

    def __init__(self, db: Db, blobs: Blobs) -> None:
        self._docs = db["files"]
        self.blobs = blobs

    def begin(
        self, file_id: str, tenant: str, *, filename: str, purpose: str, expires_at: float | None
    ) -> Upload:
        """Start an upload; nobody sees the file before `Upload.finish`."""
        doc = {
            "tenant": tenant,
            "filename": filename,
            "purpose": purpose,
            "created_at": time.time(),
            "expires_at": expires_at,
            "state": UPLOADING,
            "bytes": 0,
        }
        # One write with the server's own date: a sweep between two would take it for an abandoned one.
        new = {"$setOnInsert": doc, "$currentDate": {"touched_at": True}}
        self._docs.update_one({"_id": file_id}, new, upsert=True)
        return Upload(self, file_id)

    def touch(self, file_id: str) -> None:
        """Say that the upload still goes on."""
        self._docs.update_one({"_id": file_id, "state": UPLOADING}, [{"$set": {"touched_at": NOW}}])

    def stored_bytes(self, tenant: str, *, without: str = "") -> int:
        """What the tenant's uploads take, hidden ones that a batch still needs among them; all but one of this id."""
        # No view was ever touched. In these words one index holds the whole answer: no document is read.
        where: Doc = {"tenant": tenant, "_id": {"$ne": without}, "touched_at": {"$gt": EPOCH}}
        where["state"] = {"$in": [UPLOADING, READY, DELETED]}
        total: Doc = {"$group": {"_id": None, "bytes": {"$sum": "$bytes"}}}
        rows = list(self._docs.aggregate([{"$match": where}, total]))
        return int(rows[0]["bytes"]) if rows else 0

    def claim(self, file_id: str, tenant: str, size_bytes: int) -> int:
        """Count an upload that is all there, before it is seen; gives what the tenant's others take beside it."""
        self._docs.update_one({"_id": file_id, "state": UPLOADING}, {"$set": {"bytes": size_bytes}})
        return self.stored_bytes(tenant, without=file_id)

    def set_ready(self, file_id: str, *, size_bytes: int, digest: str, first_line: bytes, late: Doc) -> Doc:
        """Make the file visible, vouching for its chunks by a majority write; `late` is what came after them."""
        new = {"state": READY, "bytes": size_bytes, "digest": digest, "first_line": first_line} | late
        self._docs.update_one({"_id": file_id, "state": UPLOADING}, {"$set": new})
        doc = self._docs.find_one({"_id": file_id})
        if doc is None or doc["state"] != READY:
            raise LookupError(f"the upload {file_id} was swept while it ran")
        return doc

    def abandon(self, file_id: str) -> None:
        """Remove an upload that will not be finished, unless it just was."""
        self._remove({"_id": file_id, "state": {"$in": [UPLOADING, ABANDONED]}})

    def drop(self, file_id: str) -> bool:
        """Remove a file that is hidden or has expired, and that no batch needs. False for any other file.

        A crash in between leaves what `stale_uploads` finds by its state.
        """
        return self._remove({"_id": file_id} | _UNSEEN)

    def _remove(self, where: Doc) -> bool:
        if not self._docs.update_one(where, {"$set": {"state": ABANDONED}}).matched_count:
            return False
        self.blobs.delete(where["_id"])
        self._docs.delete_one({"_id": where["_id"], "state": ABANDONED})
        return True

    def stale_uploads(self, older_than_s: float, limit: int) -> list[str]:
        """Uploads that nobody has touched for so long, and those whose removal was broken off."""
        where = {
            "state": {"$in": [UPLOADING, ABANDONED]},
            "$expr": {"$lte": ["$touched_at", after_s(-older_than_s)]},
        }
        return [doc["_id"] for doc in self._docs.find(where, {"_id": 1}).limit(limit)]

    def put_view(
        self,
        file_id: str,
        tenant: str,
        batch_id: str,
        *,
        which: str,
        size_bytes: int,
        kept_s: float | None = None,
    ) -> None:
        """Name a batch's output or error file; its bytes are a view over the batch's results.

        `kept_s`: how long from now it is shown, by the server's clock: a worker whose clock is wrong would hide it at
        once. The first to name it wins.
        """
        said = {
            "tenant": tenant,
            "filename": f"{batch_id}_{which}.jsonl",
            "purpose": "batch_output",
            "state": READY,
            "bytes": size_bytes,
            "view": {"batch_id": batch_id, "which": which},
        }
        shown_until = None if kept_s is None else {"$add": [NOW_S, kept_s]}
        doc = {
            "$mergeObjects": [{"$literal": said}, {"created_at": NOW_S, "expires_at": shown_until}, "$$ROOT"]
        }
        self._docs.update_one({"_id": file_id}, [{"$replaceWith": doc}], upsert=True)

    def get(self, file_id: str, tenant: str | None = None) -> Doc | None:
        """A visible file; with `tenant`, only if it is theirs."""
        where: Doc = {"_id": file_id} | _VISIBLE
        return self._docs.find_one(where | ({"tenant": tenant} if tenant is not None else {}))

    def for_batch(self, file_id: str, tenant: str) -> Doc | None:
        """A file a batch refers to: a deleted or expired one still feeds the batches that were made from it."""
        return self._docs.find_one({"_id": file_id, "tenant": tenant, "state": {"$in": [READY, DELETED]}})

    def page(
        self, tenant: str, *, after: str | None, limit: int, newest_first: bool, purpose: str | None
    ) -> list[Doc]:
        """One page of the tenant's files by creation."""
        where: Doc = {"tenant": tenant} | _VISIBLE
        if purpose:
            where["purpose"] = purpose
        keys = [
            ("created_at", DESCENDING if newest_first else ASCENDING),
            ("_id", DESCENDING if newest_first else 1),
        ]
        if after:
            cursor = self._docs.find_one({"_id": after, "tenant": tenant}, {"created_at": 1})
            if cursor is None:
                raise LookupError(after)
            beyond = "$lt" if newest_first else "$gt"
            where["$or"] = [
                {"created_at": {beyond: cursor["created_at"]}},
                {"created_at": cursor["created_at"], "_id": {beyond: after}},
            ]
        return list(self._docs.find(where, {"first_line": 0}).sort(keys).limit(limit))

    def hide(self, file_id: str, tenant: str) -> bool:
        """Delete for the user; the bytes stay while a batch may need them."""
        where = {"_id": file_id, "tenant": tenant} | _VISIBLE
        return bool(self._docs.update_one(where, {"$set": {"state": DELETED}}).modified_count)

    # --- what nobody needs any more

    def look(self, after: str, limit: int) -> list[Doc]:
        """Any files by id, those after `after`: _id, view, and whether their tenant sees them no more (`unseen`)."""
        unseen = {
            "$or": [{"$eq": ["$state", DELETED]}, {"$lte": [{"$ifNull": ["$expires_at", _NEVER_S]}, NOW_S]}]
        }
        there = {"$in": ["$state", [READY, DELETED]]}
        shown = {"view": 1, "unseen": {"$and": [there, unseen]}}
        return list(self._docs.find({"_id": {"$gt": after}}, shown).sort("_id", 1).limit(limit))

    def delete_views(self, file_ids: Sequence[str]) -> int:
        """Remove output and error files whose batch is gone; they have no bytes of their own."""
        return self._docs.delete_many(
            {"_id": {"$in": list(file_ids)}, "view": {"$exists": True}}
        ).deleted_count

    def unknown(self, file_ids: Sequence[str]) -> list[str]:
        """Those of these ids for which there is no file in any state: their chunks can never be read again."""
        there = {row["_id"] for row in self._docs.find({"_id": {"$in": list(file_ids)}}, {"_id": 1})}
        return [file_id for file_id in file_ids if file_id not in there]

    def lines(self, file: Doc, max_line_bytes: int) -> Iterator[tuple[int, int, bytes]]:
        """(line number, offset, bytes without line end) of every line that is not blank, in bounded memory.

        Raises MissingBytes if the file is not whole.
        """
        yield from split_lines(self.blobs.stream(file["_id"], file["bytes"]), max_line_bytes)

    def line_at(self, file_id: str, offset: int, max_line_bytes: int) -> bytes:
        """The line that begins at `offset`."""
        doc = self._docs.find_one({"_id": file_id}, {"bytes": 1})
        size = doc["bytes"] if doc else 0
        length = min(max_line_bytes, max(0, size - offset))
        raw = b"".join(self.blobs.ranges(file_id, [(offset, length)]))
        return raw.partition(b"\n")[0].removesuffix(b"\r")


class Upload:
    """Bytes on their way into a file: counted, hashed, cut into chunks."""

    def __init__(self, files: Files, file_id: str) -> None:
        self._files, self.file_id = files, file_id
        self._buffer = bytearray()
        self._hash = blake3.blake3()
        self._n = 0
        self._touched_at = time.monotonic()
        self.size_bytes = 0
        self.first_line = bytearray()
        self.first_line_cut = False  # it is longer than what is kept of it
        self._first_line_ended = False

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(data)
        self._hash.update(data)
        self._keep_first_line(data)
        self._buffer += data
        while len(self._buffer) >= CHUNK_BYTES:
            self._put(bytes(self._buffer[:CHUNK_BYTES]))
            del self._buffer[:CHUNK_BYTES]
        if time.monotonic() - self._touched_at > TOUCH_EVERY_S:
            self._touched_at = time.monotonic()
            self._files.touch(self.file_id)

    def finish(self, **late: Any) -> Doc:
        """Store the rest and make the file visible; gives its document.

        `late` (purpose, expires_at) stands for what a form named after its file, when `begin` was long past.
        """
        if self._buffer:
            self._put(bytes(self._buffer))
            self._buffer.clear()
        digest = self._hash.hexdigest()
        return self._files.set_ready(
            self.file_id,
            size_bytes=self.size_bytes,
            digest=digest,
            first_line=bytes(self.first_line),
            late=late,
        )

    def abort(self) -> None:
        """Remove what was stored."""
        self._files.abandon(self.file_id)

    def _put(self, chunk: bytes) -> None:
        self._files.blobs.put_chunk(self.file_id, self._n, chunk)
        self._n += 1

    def _keep_first_line(self, data: bytes) -> None:
        # Enough of the first line that is not blank to tell whether the file can be JSONL at all.
        if self._first_line_ended:
            return
        self.first_line += data[: CHUNK_BYTES - len(self.first_line)]
        text = self.first_line.removeprefix(UTF8_BOM).lstrip()
        if b"\n" in text or len(self.first_line) >= CHUNK_BYTES:
            self.first_line_cut = b"\n" not in text
            self.first_line = text.partition(b"\n")[0]
            self._first_line_ended = True
