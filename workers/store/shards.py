"""The shards (`batch_shards`), from their plan to their end. One function per legal move of core/states.py.

shard_docs.py   what stands in a shard's document
dispatches.py   the moves and looks of the dispatcher
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo import ReturnDocument, UpdateOne

from workers.core import states
from workers.core.tally import FIELD_NAMES, Sums, Tally, tally_from
from workers.store.mongo import NEVER, NOW, Db, Doc, after_s, insert_missing, is_due
from workers.store.shard_docs import MOVED_LINES, by_state_stages, child_docs, lines_of

_FREE = ["queued", "dispatched"]
_ENDED = [str(status) for status in states.ENDED_SHARD]


class Shards:
    """Insert, claim, renew, release and end shards."""

    def __init__(self, db: Db) -> None:
        self._docs = db["batch_shards"]

    # --- planning

    def insert_missing(self, docs: Sequence[Doc]) -> None:
        """Insert those that are not there yet; planning twice changes nothing."""
        insert_missing(self._docs, docs)

    def insert_missing_children(self, parent: Mapping[str, Any]) -> None:
        """Insert the children of a shard's moved parts that are not there yet."""
        if parent["moved"] and (missing := self.children_missing(parent["moved"])):
            self.insert_missing(child_docs(parent, missing))

    def open(self, batch_id: str) -> int:
        """Let the batch's shards run, once their batch is in_progress."""
        where = {"batch_id": batch_id, "status": "queued", "next_at": NEVER, "reason": None}
        return self._docs.update_many(where, [{"$set": {"next_at": NOW}}]).modified_count

    def delete_of(self, batch_id: str, limit: int = 0) -> int:
        """Remove shards of a batch that needs none, up to `limit` (0: all); gives how many there were."""
        ids = [row["_id"] for row in self._docs.find({"batch_id": batch_id}, {"_id": 1}).limit(limit)]
        return self._docs.delete_many({"_id": {"$in": ids}}).deleted_count if ids else 0

    # --- work

    def claim(self, shard_id: str, owner: str, lease_s: float) -> Doc | None:
        """Take the shard: fence + 1, and what an earlier lease left unsettled moves to `prior`.

        Gives the shard as it is now, or None: its message is late or double and can be dropped. A leased one is never
        taken, however old its lease: `expire` frees it, for only the sweeper knows when a silence says something.
        """
        unsettled = {"$cond": [{"$gt": ["$started", 0]}, [{"fence": "$fence", "started": "$started"}], []]}
        new = {
            "status": str(states.CLAIM.target),
            "owner": owner,
            "fence": {"$add": ["$fence", 1]},
            "lease_until": after_s(lease_s),
            "prior": {"$concatArrays": ["$prior", unsettled]},
            "started": 0,
            "reason": None,
        }
        where = {"_id": shard_id, "status": states.CLAIM.filter()} | is_due("next_at")
        return self._docs.find_one_and_update(where, [{"$set": new}], return_document=ReturnDocument.AFTER)

    def settle_prior(self, shard_id: str, fence: int, possibly_repeated: int) -> bool:
        """Add what earlier leases may have called without recording; once, under our fence."""
        where = {"_id": shard_id, "fence": fence, "prior.0": {"$exists": True}}
        new = {"$set": {"prior": []}, "$inc": {"possibly_repeated": possibly_repeated}}
        return bool(self._docs.update_one(where, new).modified_count)

    def settle_free(self, shard_id: str, fence: int, possibly_repeated: int) -> bool:
        """The same for a shard that nobody holds and nobody will claim: what its last lease left counts as well."""
        where: Doc = {"_id": shard_id, "fence": fence, "status": {"$in": _FREE}}
        where["$or"] = [{"prior.0": {"$exists": True}}, {"started": {"$gt": 0}}]
        new = {"$set": {"prior": [], "started": 0}, "$inc": {"possibly_repeated": possibly_repeated}}
        return bool(self._docs.update_one(where, new).modified_count)

    def renew(self, held: Mapping[str, int], lease_s: float) -> set[str]:
        """Extend leases {shard id: fence}; gives the ids that are still ours. Asks for the fence, not the time."""
        still = set()
        for shard_id, fence in held.items():
            where = {"_id": shard_id, "fence": fence, "status": "leased"}
            if self._docs.update_one(where, [{"$set": {"lease_until": after_s(lease_s)}}]).matched_count:
                still.add(shard_id)
        return still

    def set_started(
        self, shard_id: str, fence: int, started: int, attempts: Mapping[str, Any] | None = None
    ) -> bool:
        """Write, before they start, how many items' calls this lease has started. False: no longer ours.

        Args:
            attempts: what items have been through whose calls ended without a result, {line: History.to_doc()}: a
                crash must not forget the calls that were answered, nor how many tries are left.
        """
        where = {"_id": shard_id, "fence": fence, "status": "leased"}
        new = {"started": started} | _of_lines(attempts)
        return bool(self._docs.update_one(where, {"$set": new}).matched_count)

    def save_tallies(self, tallies: Mapping[tuple[str, int], Tally]) -> None:
        """Write absolute counts for {(shard id, fence): tally}."""
        writes: list[UpdateOne] = [
            UpdateOne(
                {"_id": shard_id, "fence": fence, "status": "leased"}, {"$set": {"counts": tally.as_dict()}}
            )
            for (shard_id, fence), tally in tallies.items()
        ]
        if writes:
            self._docs.bulk_write(writes, ordered=False)

    def release(
        self,
        shard_id: str,
        fence: int,
        *,
        wait_s: float = 0.0,
        reason: str | None = None,
        attempts: Mapping[str, Any] | None = None,
        unknown: int = 0,
    ) -> bool:
        """leased -> queued: parked until `wait_s` from now (negative: until `let_go`), or free at once.

        Args:
            attempts: what items without a result have been through, {line: History.to_doc()}; None: what is known.
            unknown: calls that were cut off under way, so that a repeat of them is counted.
        """
        new: Doc = {
            "status": str(states.RELEASE.target),
            "next_at": after_s(wait_s) if wait_s >= 0 else NEVER,
            "reason": {"$literal": reason},
            "parked_at": NOW,
            "started": 0,
            "possibly_repeated": {"$add": ["$possibly_repeated", unknown]},
        }
        if attempts is not None:
            new["attempts"] = {"$literal": dict(attempts)}
        where = {"_id": shard_id, "fence": fence, "status": states.RELEASE.filter()}
        return bool(self._docs.update_one(where, [{"$set": new}]).modified_count)

    def break_off(self, shard_id: str, fence: int, *, wait_s: float, reason: str) -> bool:
        """leased -> queued after a run that broke: it counts as a lost lease, and the next claim settles `started`."""
        new: Doc = {
            "status": str(states.BREAK_OFF.target),
            "next_at": after_s(wait_s),
            "reason": {"$literal": reason},
            "parked_at": NOW,
            "takeovers": {"$add": ["$takeovers", 1]},
        }
        where = {"_id": shard_id, "fence": fence, "status": states.BREAK_OFF.filter()}
        return bool(self._docs.update_one(where, [{"$set": new}]).modified_count)

    def expire(self, limit: int) -> int:
        """leased -> queued for leases that ran out; `started` stays, the next claim or the close settles it."""
        where = {"status": states.EXPIRE.filter()} | is_due("lease_until")
        ids = [row["_id"] for row in self._docs.find(where, {"_id": 1}).sort("lease_until", 1).limit(limit)]
        if not ids:
            return 0
        new: Doc = {
            "status": str(states.EXPIRE.target),
            "next_at": NOW,
            "reason": "lease_expired",
            "parked_at": NOW,
            "takeovers": {"$add": ["$takeovers", 1]},
        }
        return self._docs.update_many(where | {"_id": {"$in": ids}}, [{"$set": new}]).modified_count

    def move_out(
        self,
        shard_id: str,
        fence: int,
        moved: Sequence[Doc],
        *,
        started: int | None = None,
        unknown: int = 0,
        attempts: Mapping[str, Any] | None = None,
    ) -> bool:
        """Give parts of the shard to children; the parent says so first, in one write that needs its fence.

        Whoever claims the parent later inserts the children that are missing. True for parts that
        have moved already: asking again, when nobody knows whether it was written, adds nothing.

        Args:
            started: calls of this lease that may still be repeated, without those of the moved items (`set_started`).
            unknown: calls for the moved items that their next calls may repeat; counted here, once.
            attempts: as in `set_started`, of items that stay.
        """
        ids = [part["child_id"] for part in moved]
        held = {"_id": shard_id, "fence": fence, "status": "leased"}
        new: Doc = {"$push": {"moved": {"$each": list(moved)}}, "$inc": {"possibly_repeated": unknown}}
        if started is not None:
            new["$set"] = {"started": started} | _of_lines(attempts)
        if self._docs.update_one(held | {"moved.child_id": {"$nin": ids}}, new).modified_count:
            return True
        return self._docs.find_one(held | {"moved.child_id": {"$all": ids}}, {"_id": 1}) is not None

    # --- ends

    def finish(self, shard_id: str, fence: int, counts: Tally) -> bool:
        """leased -> done: recorded + moved = size, under our fence."""
        done = {"$expr": {"$eq": ["$size", {"$add": [counts.recorded, MOVED_LINES]}]}}
        where = {"_id": shard_id, "fence": fence, "status": states.FINISH.filter()} | done
        new = {"status": str(states.FINISH.target), "counts": counts.as_dict(), "started": 0}
        return bool(self._docs.update_one(where, {"$set": new}).modified_count)

    def close(self, counts: Mapping[str, Tally], *, fence: int | None = None, unknown: int = 0) -> int:
        """-> closed, in one bulk: {shard id: its counts}; every missing item has its closing row by now.

        Gives how many were closed. With `fence` from our lease, else from the queue, once they are settled. `unknown`:
        calls for items without a result that may have repeated others.
        """
        free: Doc = {"status": {"$in": _FREE}, "prior": [], "started": 0}
        whose = free if fence is None else {"fence": fence, "status": "leased"}
        state: Doc = {"$and": [{"status": states.CLOSE.filter()}, whose]}
        writes: list[UpdateOne] = []
        for shard_id, tally in counts.items():
            new = {"status": str(states.CLOSE.target), "counts": tally.as_dict()}
            more = {"possibly_repeated": unknown}
            writes.append(UpdateOne({"_id": shard_id} | state, {"$set": new, "$inc": more}))
        return self._docs.bulk_write(writes, ordered=False).modified_count if writes else 0

    # --- pause

    def hold_back(self, batch_id: str) -> None:
        """Keep what is not leased from running until `let_go`."""
        where = {"batch_id": batch_id, "status": states.HOLD_BACK.filter(), "next_at": {"$lt": NEVER}}
        new: Doc = {"status": str(states.HOLD_BACK.target), "next_at": NEVER, "reason": "paused"}
        self._docs.update_many(where, [{"$set": new | {"parked_at": NOW}}])

    def let_go(self, batch_id: str) -> None:
        """Let what a pause held back run again."""
        # A shard that rests because its provider asked for it has the same reason, and a time.
        where = {"batch_id": batch_id, "status": "queued", "reason": "paused", "next_at": NEVER}
        self._docs.update_many(where, [{"$set": {"next_at": NOW, "reason": None}}])

    # --- reading

    def get(self, shard_id: str) -> Doc | None:
        """One shard."""
        return self._docs.find_one({"_id": shard_id})

    def any_open(self, batch_id: str) -> bool:
        """Whether a shard of the batch is neither done nor closed."""
        where = {"batch_id": batch_id, "status": {"$nin": _ENDED}}
        return self._docs.find_one(where, {"_id": 1}) is not None

    def to_close(self, batch_id: str, limit: int) -> list[Doc]:
        """Shards of an ending batch that nobody holds, in the order of the input file as far as they are in it."""
        found = self._docs.find({"batch_id": batch_id, "status": {"$in": _FREE}})
        return list(found.sort("_id", 1).limit(limit))

    def summed(self, batch_id: str) -> Sums:
        """The sums of the shards' tallies by provider, of their possibly repeated calls and of their hand-overs."""
        group: Doc = {"_id": "$provider", "possibly_repeated": {"$sum": "$possibly_repeated"}}
        group["handed_over"] = {"$sum": lines_of(_HANDED_OVER)}
        group |= {name: {"$sum": f"$counts.{name}"} for name in FIELD_NAMES}
        rows = list(self._docs.aggregate([{"$match": {"batch_id": batch_id}}, {"$group": group}]))
        by_provider = {row["_id"]: tally_from(row) for row in sorted(rows, key=lambda row: row["_id"])}
        repeated, handed_over = (
            sum(row[name] for row in rows) for name in ("possibly_repeated", "handed_over")
        )
        return Sums(
            by_provider, repeated, handed_over, {row["_id"]: row["possibly_repeated"] for row in rows}
        )

    def by_state(self, batch_id: str, lease_s: float = 0.0) -> list[Doc]:
        """What the open shards of a batch wait for: rows {provider, status, reason, owner, stale, shards, requests,
        since, next_at, lease_until, sent_at}.

        `next_at` is the first that is still to come where a shard of the row rests: one that is due does not hide
        what the others wait for. `owner`, `stale`, the last `lease_until` and the first `sent_at` are of leased ones:
        stale is what has not been renewed for over half of `lease_s`. `requests` have no result yet.
        """
        where = {"batch_id": batch_id, "status": {"$nin": _ENDED}}
        return list(self._docs.aggregate([{"$match": where}, *by_state_stages(lease_s)]))

    def providers_of(self, shard_ids: Iterable[str]) -> dict[str, str]:
        """Whose these shards are; shards that do not exist are left out."""
        rows = self._docs.find({"_id": {"$in": list(set(shard_ids))}}, {"provider": 1})
        return {row["_id"]: row["provider"] for row in rows}

    def children_missing(self, moved: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those of a shard's moved parts whose child document does not exist yet."""
        parts = {part["child_id"]: part for part in moved}
        there = {row["_id"] for row in self._docs.find({"_id": {"$in": list(parts)}}, {"_id": 1})}
        return [part for child_id, part in parts.items() if child_id not in there]


def _of_lines(attempts: Mapping[str, Any] | None) -> Doc:
    return {f"attempts.{line}": history for line, history in (attempts or {}).items()}


# The parts for other providers: halves of a split shard have tried nobody yet.
_HANDED_OVER: Doc = {"$filter": {"input": "$moved", "as": "part", "cond": {"$isArray": "$$part.tried"}}}
