"""One look at all that runs, for whoever watches the installation: a few queries, however many batches there are.

app/api/top.py asks at most once a second. What is summed here is what is recorded, so it is right after any kill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.core import states
from workers.core.tally import Tally, tally_from
from workers.store.mongo import Db, Doc
from workers.store.shard_docs import by_state_stages

# So many are looked at for the newest of them; more are counted as so many.
MOST_RUNNING = 1_000
_OPEN = [str(status) for status in states.ShardStatus if status not in states.ENDED_SHARD]
_RUNNING = [str(status) for status in states.BatchStatus if not states.is_terminal(status)]
_SHOWN = (
    *("tenant", "status", "model", "total", "input_file_id", "created_at", "in_progress_at", "paused_at"),
    *("pause_reason", "ending", "cancelling_at", "finalizing_at", "expires_at", "plan", "budget.limit_usd"),
    *("tenant_budget", "counts.by_provider"),
)
_OF_TODAY = (
    *("recorded", "never_ran", "cached", "coalesced", "failed", "calls", "excess", "cost_usd", "unpriced"),
    *("saved_usd", "saved_unpriced", "input_tokens", "output_tokens"),
)


class Glance:
    """Reads alone."""

    def __init__(self, db: Db) -> None:
        self._batches, self._shards, self._files = db["batch_jobs"], db["batch_shards"], db["files"]

    def running(self, limit: int) -> tuple[list[Doc], int]:
        """The newest batches that have not ended, those that wait to be checked last, and how many there are.

        The number is right up to `MOST_RUNNING`.
        """
        where = {"status": {"$in": _RUNNING}}
        found = list(self._batches.find(where, {"status": 1}).limit(MOST_RUNNING))
        by_age = sorted(found, key=lambda doc: str(doc["_id"]), reverse=True)
        by_age.sort(key=lambda doc: bool(doc["status"] == states.BatchStatus.VALIDATING))
        ids = [doc["_id"] for doc in by_age[:limit]]
        docs = {
            doc["_id"]: doc for doc in self._batches.find({"_id": {"$in": ids}}, dict.fromkeys(_SHOWN, 1))
        }
        return [docs[id_] for id_ in ids if id_ in docs], len(found)

    def names(self, file_ids: Sequence[str]) -> dict[str, str]:
        """What the input files were called."""
        rows = self._files.find({"_id": {"$in": list(file_ids)}}, {"filename": 1})
        return {row["_id"]: str(row.get("filename") or "") for row in rows}

    def sums(self, batch_ids: Sequence[str]) -> dict[str, dict[str, Tally]]:
        """What these batches have done, by batch and provider; calls that may have been repeated count as excess."""
        names = [each for each in Tally.__dataclass_fields__ if each not in ("output_bytes", "error_bytes")]
        group: Doc = {"_id": {"batch": "$batch_id", "provider": "$provider"}}
        group |= {name: {"$sum": f"$counts.{name}"} for name in names}
        group["excess"] = {"$sum": {"$add": ["$counts.excess", "$possibly_repeated"]}}
        found: dict[str, dict[str, Tally]] = {}
        for row in self._shards.aggregate(
            [{"$match": {"batch_id": {"$in": list(batch_ids)}}}, {"$group": group}]
        ):
            found.setdefault(row["_id"]["batch"], {})[row["_id"]["provider"]] = tally_from(row)
        return found

    def open_shards(self, lease_s: float) -> list[Doc]:
        """The open shards of all batches in the rows of Shards.by_state, each with its `batch_id`."""
        where = {"status": {"$in": _OPEN}}
        return list(self._shards.aggregate([{"$match": where}, *by_state_stages(lease_s, "batch_id")]))

    def made_since(self, since_s: float, without: Sequence[str]) -> Mapping[str, Any]:
        """Sums over the batches made since then (Unix seconds) and still there, but for some: names as in Tally."""
        group: Doc = {"_id": None, "batches": {"$sum": 1}}
        group |= {name: {"$sum": f"$counts.{name}"} for name in _OF_TODAY}
        group["excess"] = {
            "$sum": {"$add": ["$counts.excess", {"$ifNull": ["$counts.possibly_repeated", 0]}]}
        }
        where = {"_id": {"$gte": f"batch_{int(since_s * 1000):012x}", "$nin": list(without)}}
        rows = list(self._batches.aggregate([{"$match": where}, {"$group": group}]))
        return rows[0] if rows else {"batches": 0, **dict.fromkeys(_OF_TODAY, 0)}
