"""What belongs to one tenant, wherever it lies: found and removed for workers/erasure.py, a slice at a time.

Every write names the tenant or an id that was found under it, and may be repeated.
"""

from __future__ import annotations

from workers.core import states
from workers.store.blobs import Blobs
from workers.store.files import ABANDONED
from workers.store.mongo import EPOCH, Db, Doc

_LIVE = [str(status) for status in states.BatchStatus if status not in states.TERMINAL_BATCH]
# Removed by their own rules; every other document that names a `tenant` is the tenant's, whoever has thought of it.
_BY_OWN_RULES = frozenset(
    ("batch_jobs", "batch_shards", "batch_results", "files", "files.chunks", "tenants", "usage", "meta")
)


class Belongings:
    """Look for what a tenant has, and take it away."""

    def __init__(self, db: Db, blobs: Blobs) -> None:
        self._db, self._blobs = db, blobs
        self._batches, self._files = db["batch_jobs"], db["files"]

    def live(self, tenant: str, limit: int) -> list[str]:
        """Its batches that have not ended, those that nobody has told to end before the others."""
        where = {"tenant": tenant, "status": {"$in": _LIVE}}
        found = self._batches.find(where, {"ending": 1}).sort([("ending", 1), ("_id", 1)]).limit(limit)
        return [doc["_id"] for doc in found]

    def let_go(self, tenant: str, limit: int) -> list[Doc]:
        """Ended batches with the ids of their input files; from here on nobody sees them, and they may be removed."""
        where = {"tenant": tenant, "status": {"$in": list(states.TERMINAL_BATCH)}}
        found = list(self._batches.find(where, {"input_file_id": 1}).limit(limit))
        ids = {"_id": {"$in": [doc["_id"] for doc in found]}}
        self._batches.update_many(where | ids, {"$set": {"expire_at": EPOCH}})
        return found

    def has_batches(self, tenant: str) -> bool:
        """Whether a batch of its is left, in whatever state."""
        return self._batches.find_one({"tenant": tenant}, {"_id": 1}) is not None

    def files(self, tenant: str, limit: int) -> list[str]:
        """Its files in whatever state."""
        return [doc["_id"] for doc in self._files.find({"tenant": tenant}, {"_id": 1}).limit(limit)]

    def remove_file(self, file_id: str) -> None:
        """Take a file away with its bytes, also one that is being uploaded: its upload then fails."""
        self._files.update_one({"_id": file_id}, {"$set": {"state": ABANDONED}})
        self._blobs.delete(file_id)
        self._files.delete_one({"_id": file_id, "state": ABANDONED})

    def remove_rest(self, tenant: str, limit: int) -> int:
        """Remove up to `limit` documents of each other kind; gives how many there were."""
        removed = 0
        for name in self._db.list_collection_names():
            if name in _BY_OWN_RULES or name.startswith("system."):
                continue
            docs = self._db[name]
            ids = [doc["_id"] for doc in docs.find({"tenant": tenant}, {"_id": 1}).limit(limit)]
            removed += docs.delete_many({"_id": {"$in": ids}}).deleted_count if ids else 0
        return removed
