"""Which batches need the sweeper: looks by index at those alone, never at all of them. Nothing is written here.

sweeper.py, retention.py and orphans.py ask; pages go by id, so that what cannot be helped hides nothing behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from workers.core import states
from workers.core.states import Ending
from workers.store.mongo import NEVER, NOW, Db, Doc, after_s, distinct_after
from workers.store.schedules import Schedules

# A download that began before a batch expired ends within this.
RESPITE_S = 3600.0
_OPEN = [str(status) for status in states.ShardStatus if status not in states.ENDED_SHARD]
_LIVE = [str(status) for status in states.BatchStatus if status not in states.TERMINAL_BATCH]


class Upkeep:
    """Looks at the batches, and at their shards and input files where these tell of them."""

    def __init__(self, db: Db) -> None:
        self._docs, self._shards, self._files = db["batch_jobs"], db["batch_shards"], db["files"]
        self._schedules = Schedules(db)

    def ending(self, after: str, limit: int) -> list[str]:
        """Batches whose ending is set and that have not ended yet."""
        set_ = [str(ending) for ending in Ending]
        return self._ids({"status": {"$in": _LIVE}, "ending": {"$in": set_}, "_id": {"$gt": after}}, limit)

    def running(self, after: str, limit: int) -> list[str]:
        """Batches in progress that nobody has ended."""
        return self._ids({"status": "in_progress", "ending": None, "_id": {"$gt": after}}, limit)

    def to_plan(self, after: str, limit: int) -> list[str]:
        """Batches that nobody plans now and that have no open shards yet."""
        planner_gone = {"$expr": {"$lte": [{"$ifNull": ["$plan.lease_until", NOW]}, NOW]}}
        status = {"$in": [str(states.START.sources[0]), str(states.START.target)]}
        where = {"status": status, "plan.opened": False, "ending": None, "_id": {"$gt": after}}
        return self._ids(where | planner_gone, limit)

    def paused(self, after: str, limit: int) -> list[str]:
        """Batches that rest."""
        where = {"paused_at": {"$gt": 0}, "status": "in_progress", "ending": None, "_id": {"$gt": after}}
        return self._ids(where, limit)

    def held_back(self, after: str, limit: int) -> list[str]:
        """Batches of which a shard rests as by a pause, until somebody lets it go."""
        rests = {"reason": "paused", "status": "queued", "next_at": NEVER}
        return distinct_after(self._shards, "batch_id", after, limit, where=rests)

    def without_open_shards(self, batch_ids: Sequence[str]) -> list[str]:
        """Those of these batches all of whose shards have ended.

        One seek in the index for each batch, however many shards it has: a hundred with 1,000 each take 4 ms.
        """
        open_ = {"batch_id": {"$in": list(batch_ids)}, "status": {"$in": _OPEN}}
        busy = set(self._shards.distinct("batch_id", open_))
        return [one for one in batch_ids if one not in busy]

    def with_shards(self, after: str, limit: int) -> list[str]:
        """Ids of batches of which shards are there, whether the batch is or not."""
        return distinct_after(self._shards, "batch_id", after, limit)

    def parents(self, batch_id: str) -> Iterator[Doc]:
        """Shards of the batch that have given parts away, a few in memory at a time."""
        yield from self._shards.find({"batch_id": batch_id, "moved.0": {"$exists": True}}, batch_size=100)

    def awake(self, batch_ids: Iterable[str]) -> list[str]:
        """Those of these batches that have been started and do not rest."""
        where = {"_id": {"$in": list(batch_ids)}, "status": {"$in": _LIVE}, "in_progress_at": {"$gt": 0}}
        return [row["_id"] for row in self._docs.find(where | {"paused_at": None}, {"_id": 1})]

    def expired(self, limit: int) -> list[Doc]:
        """Ended batches whose retention is over, the longest first, with the id of their input file.

        Without those whose event the outbox does not have yet, and an hour late: who was reading when they expired
        reads to the end, for a file that lost its rest would look like a whole one.
        """
        # By type as well: to `$expr` a date that is not there is due.
        over: Doc = {"expire_at": {"$lt": NEVER}, "events.0": {"$exists": False}}
        over["$expr"] = {"$lte": ["$expire_at", after_s(-RESPITE_S)]}
        over["status"] = {"$in": list(states.TERMINAL_BATCH)}
        return list(self._docs.find(over, {"input_file_id": 1}).sort("expire_at", 1).limit(limit))

    def without_items(self, batch_ids: Sequence[str]) -> list[str]:
        """Those of these ids that may own no shard and no result: no batch, or one that ended before it started."""
        fields = {"status": 1, "in_progress_at": 1}
        there = {row["_id"]: row for row in self._docs.find({"_id": {"$in": list(batch_ids)}}, fields)}
        return [one for one in batch_ids if one not in there or _never_started(there[one])]

    def ended_or_gone(self, batch_ids: Sequence[str]) -> list[str]:
        """Those of these ids that stand for no batch, or for one that has ended."""
        where = {"_id": {"$in": list(batch_ids)}, "status": {"$in": _LIVE}}
        live = {row["_id"] for row in self._docs.find(where, {"_id": 1})}
        return [one for one in batch_ids if one not in live]

    def gone(self, batch_ids: Sequence[str]) -> list[str]:
        """Those of these ids that stand for no batch."""
        there = {row["_id"] for row in self._docs.find({"_id": {"$in": list(batch_ids)}}, {"_id": 1})}
        return [one for one in batch_ids if one not in there]

    def inputs_in_use(self, file_ids: Sequence[str], *, besides: str = "") -> set[str]:
        """Those of these files from which a batch that is still there was made, or from which a schedule makes them.

        `besides`, a batch, does not count. Nor does another tenant's batch: it failed, and must not keep bytes that it
        only named.
        """
        where = {"input_file_id": {"$in": list(file_ids)}, "_id": {"$ne": besides}}
        named = {
            (row["input_file_id"], row["tenant"])
            for row in self._docs.find(where, {"input_file_id": 1, "tenant": 1})
        }
        named |= self._schedules.in_use(file_ids)
        files = self._files.find({"_id": {"$in": [file_id for file_id, _ in named]}}, {"tenant": 1})
        return {row["_id"] for row in files if (row["_id"], row["tenant"]) in named}

    def _ids(self, where: Doc, limit: int) -> list[str]:
        return [row["_id"] for row in self._docs.find(where, {"_id": 1}).sort("_id", 1).limit(limit)]


def _never_started(batch: Doc) -> bool:
    return states.is_terminal(batch["status"]) and batch.get("in_progress_at") is None
