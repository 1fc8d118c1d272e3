"""The shard documents (`batch_shards`): the queue's truth. One function per legal move of core/states.py.

A shard: _id (derived), batch_id, tenant, provider, seq, priority, items (packed), size, est_tokens, status,
next_at (date), reason (why it rests), parked_at (since when), owner, fence, lease_until, dispatch {token, at},
started, prior [{fence, started}], possibly_repeated, moved [{child_id, provider, lines, ...}], attempts {line:
core/history.py}, counts (Tally). A child has its parent, and one that was handed over tried, model and warnings
(core/handover.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson import Binary
from pymongo import DESCENDING, ReturnDocument, UpdateOne

from workers.core import states
from workers.core.fairness import Out, Waiting
from workers.core.handover import INHERITED
from workers.core.messages import ShardPlan, pack_items, unpack_items
from workers.core.tally import FIELD_NAMES, Sums, Tally, tally_from
from workers.store.mongo import EPOCH, NEVER, NOW, Db, Doc, after_s, insert_missing, is_due

# A shard that is sent off starts its calls within this time, or it has none to make.
START_S = 10.0
_OUT = [str(states.ShardStatus.DISPATCHED), str(states.ShardStatus.LEASED)]
_ENDED = [str(status) for status in states.ENDED_SHARD]


def shard_doc(shard_id: str, plan: ShardPlan, batch: Mapping[str, Any]) -> Doc:
    """The document of a planned shard; it may not run before its batch opens it."""
    return {
        "_id": shard_id,
        "batch_id": batch["_id"],
        "tenant": batch["tenant"],
        "provider": plan.provider,
        "seq": plan.seq,
        "priority": batch["priority"],
        "items": Binary(pack_items(plan.items)),
        "size": len(plan.items),
        "est_tokens": plan.est_tokens,
        "status": str(states.ShardStatus.QUEUED),
        "next_at": NEVER,
        "reason": None,
        "fence": 0,
        "started": 0,
        "prior": [],
        "possibly_repeated": 0,
        "takeovers": 0,
        "moved": [],
        "attempts": {},
        "counts": Tally().as_dict(),
    }


def child_docs(parent: Mapping[str, Any], moved: Iterable[Mapping[str, Any]]) -> list[Doc]:
    """The documents of a shard's moved parts, free to run at once.

    What the parent had under way when it lost a lease stays the parent's to settle; what its items have been through
    goes along.
    """
    by_line = {item.line: item for item in unpack_items(parent["items"])}
    docs = []
    for part in moved:
        items = tuple(by_line[line] for line in part["lines"])
        tokens = parent["est_tokens"] * len(items) // max(1, parent["size"])
        plan = ShardPlan(parent["seq"], part["provider"], items, tokens, sum(item.length for item in items))
        doc = shard_doc(part["child_id"], plan, {**parent, "_id": parent["batch_id"]})
        histories = parent["attempts"] | part.get("attempts", {})
        names = map(str, part["lines"])
        doc["attempts"] = {name: histories[name] for name in names if name in histories}
        doc |= {name: value for name in INHERITED if (value := part.get(name, parent.get(name))) is not None}
        docs.append(doc | {"next_at": EPOCH, "takeovers": part.get("takeovers", 0), "parent": parent["_id"]})
    return docs


class Shards:
    """Insert, dispatch, claim, renew, release and end shards."""

    def __init__(self, db: Db) -> None:
        self._docs = db["batch_shards"]

    # --- planning

    def insert_missing(self, docs: Sequence[Doc]) -> None:
        """Insert those that are not there yet; planning twice changes nothing."""
        insert_missing(self._docs, docs)

    def open(self, batch_id: str) -> int:
        """Let the batch's shards run, once their batch is in_progress."""
        where = {"batch_id": batch_id, "status": "queued", "next_at": NEVER, "reason": None}
        return self._docs.update_many(where, [{"$set": {"next_at": NOW}}]).modified_count

    def delete_of(self, batch_id: str) -> int:
        """Remove the shards of a batch that never started."""
        return self._docs.delete_many({"batch_id": batch_id}).deleted_count

    # --- dispatch

    def providers_with_work(self) -> list[str]:
        """Providers for which shards are queued, due or not."""
        return list(self._docs.distinct("provider", {"status": "queued"}))

    def providers_dispatched(self) -> list[str]:
        """Providers that have shards on their way to a worker."""
        return list(self._docs.distinct("provider", {"status": "dispatched"}))

    def out(self, provider: str) -> Out:
        """What of this provider is dispatched or leased.

        A shard that has had time to start and did not waits for others' calls: it counts as started.
        """
        where = {"provider": provider, "status": {"$in": _OUT}}
        ids = {"tenant": "$tenant", "batch": "$batch_id"}
        unstarted = {"$max": [0, {"$subtract": ["$size", {"$max": ["$started", "$counts.recorded"]}]}]}
        left = {"$cond": [{"$gt": ["$dispatch.at", after_s(-START_S)]}, unstarted, 0]}
        left_tokens = {"$divide": [{"$multiply": ["$est_tokens", left]}, {"$max": ["$size", 1]}]}
        group = {
            "_id": ids,
            "tokens": {"$sum": "$est_tokens"},
            "shards": {"$sum": 1},
            "left": {"$sum": left},
            "left_tokens": {"$sum": left_tokens},
        }
        rows = list(self._docs.aggregate([{"$match": where}, {"$group": group}]))
        tokens = Counter[str]()
        for row in rows:
            tokens.update({row["_id"]["tenant"]: row["tokens"], row["_id"]["batch"]: row["tokens"]})
        return Out(
            sum(row["shards"] for row in rows),
            dict(tokens),
            sum(row["left"] for row in rows),
            int(sum(row["left_tokens"] for row in rows)),
        )

    def waits_for_its_limit(self, provider: str) -> bool:
        """Whether a shard rests because the provider's limit is used up: any other one would come back as well."""
        resting = {"provider": provider, "status": "queued", "reason": {"$in": ["limit", "paused"]}}
        later = {"next_at": {"$lt": NEVER}, "$expr": {"$gt": ["$next_at", NOW]}}
        return self._docs.find_one(resting | later, {"_id": 1}) is not None

    def waiting(self, provider: str, per_tenant: int) -> list[Waiting]:
        """Due shards: of each tenant up to `per_tenant` of the oldest batches, and as many that open a batch.

        The oldest alone would hide a small new batch behind a large one, the openers alone an old one's rest.
        """
        where = {"provider": provider, "status": "queued"}
        orders = ([("priority", DESCENDING), ("_id", 1)], [("priority", DESCENDING), ("seq", 1)])
        found: dict[str, Waiting] = {}
        for tenant in self._docs.distinct("tenant", where):
            due = where | {"tenant": tenant} | is_due("next_at")
            for order in orders:
                rows = self._docs.find(due, {"est_tokens": 1, "priority": 1, "batch_id": 1, "size": 1})
                for row in rows.sort(order).limit(per_tenant):
                    found[row["_id"]] = Waiting(
                        row["_id"], tenant, row["batch_id"], row["est_tokens"], row["priority"], row["size"]
                    )
        return list(found.values())

    def dispatch(self, ids: Sequence[str], token: str) -> list[str]:
        """queued -> dispatched under our token; gives exactly the ids that we marked, in the order asked."""
        where = {"_id": {"$in": list(ids)}, "status": states.DISPATCH.filter()} | is_due("next_at")
        new = {"status": str(states.DISPATCH.target), "dispatch": {"token": token, "at": NOW}}
        self._docs.update_many(where, [{"$set": new}])
        ours = {
            row["_id"]
            for row in self._docs.find({"_id": {"$in": list(ids)}, "dispatch.token": token}, {"_id": 1})
        }
        return [shard_id for shard_id in ids if shard_id in ours]

    def recall(self, provider: str, older_than_s: float) -> int:
        """dispatched -> queued for those nobody claimed in time: their message is lost or late."""
        old = {"$expr": {"$lte": ["$dispatch.at", after_s(-older_than_s)]}}
        where = {"provider": provider, "status": states.RECALL.filter()} | old
        return self._docs.update_many(where, [{"$set": {"status": str(states.RECALL.target)}}]).modified_count

    # --- work

    def claim(self, shard_id: str, owner: str, lease_s: float) -> Doc | None:
        """Take the shard: fence + 1, and what an earlier lease left unsettled moves to `prior`.

        Gives the shard as it is now, or None: its message is late or double and can be dropped.
        """
        due = {"status": states.CLAIM.filter()} | is_due("next_at")
        expired = {"status": states.TAKE_OVER.filter()} | is_due("lease_until")
        unsettled = {"$cond": [{"$gt": ["$started", 0]}, [{"fence": "$fence", "started": "$started"}], []]}
        new = {
            "status": str(states.CLAIM.target),
            "owner": owner,
            "fence": {"$add": ["$fence", 1]},
            "lease_until": after_s(lease_s),
            "prior": {"$concatArrays": ["$prior", unsettled]},
            "started": 0,
            "takeovers": {"$add": ["$takeovers", {"$cond": [{"$eq": ["$status", "leased"]}, 1, 0]}]},
            "reason": None,
        }
        where = {"_id": shard_id, "$or": [due, expired]}
        return self._docs.find_one_and_update(where, [{"$set": new}], return_document=ReturnDocument.AFTER)

    def settle_prior(self, shard_id: str, fence: int, possibly_repeated: int) -> bool:
        """Add what earlier leases may have called without recording; once, under our fence."""
        where = {"_id": shard_id, "fence": fence, "prior.0": {"$exists": True}}
        new = {"$set": {"prior": []}, "$inc": {"possibly_repeated": possibly_repeated}}
        return bool(self._docs.update_one(where, new).modified_count)

    def renew(self, held: Mapping[str, int], lease_s: float) -> set[str]:
        """Extend leases {shard id: fence}; gives the ids that are still ours. Asks for the fence, not the time."""
        still = set()
        for shard_id, fence in held.items():
            where = {"_id": shard_id, "fence": fence, "status": "leased"}
            if self._docs.update_one(where, [{"$set": {"lease_until": after_s(lease_s)}}]).matched_count:
                still.add(shard_id)
        return still

    def set_started(self, shard_id: str, fence: int, started: int) -> bool:
        """Write, before they start, how many items' calls this lease has started. False: no longer ours."""
        where = {"_id": shard_id, "fence": fence, "status": "leased"}
        return bool(self._docs.update_one(where, {"$set": {"started": started}}).matched_count)

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
            attempts: what items without a result have been through, {line: History.to_doc()}.
            unknown: calls that were cut off under way, so that a repeat of them is counted.
        """
        new: Doc = {
            "status": str(states.RELEASE.target),
            "next_at": after_s(wait_s) if wait_s >= 0 else NEVER,
            "reason": {"$literal": reason},
            "parked_at": NOW,
            "started": 0,
            "attempts": {"$literal": dict(attempts or {})},
            "possibly_repeated": {"$add": ["$possibly_repeated", unknown]},
        }
        where = {"_id": shard_id, "fence": fence, "status": states.RELEASE.filter()}
        return bool(self._docs.update_one(where, [{"$set": new}]).modified_count)

    def expire(self, limit: int) -> int:
        """leased -> queued for leases that ran out; `started` stays, the next claim settles it."""
        where = {"status": states.EXPIRE.filter()} | is_due("lease_until")
        ids = [row["_id"] for row in self._docs.find(where, {"_id": 1}).limit(limit)]
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
        self, shard_id: str, fence: int, moved: Sequence[Doc], *, started: int | None = None, unknown: int = 0
    ) -> bool:
        """Give parts of the shard to children; the parent says so first, in one write that needs its fence.

        Whoever claims the parent later inserts the children that are missing (`child_docs`). True for parts that
        have moved already: asking again, when nobody knows whether it was written, adds nothing.

        Args:
            started: calls of this lease that may still be repeated, without those of the moved items (`set_started`).
            unknown: calls for the moved items that their next calls may repeat; counted here, once.
        """
        ids = [part["child_id"] for part in moved]
        held = {"_id": shard_id, "fence": fence, "status": "leased"}
        new: Doc = {"$push": {"moved": {"$each": list(moved)}}, "$inc": {"possibly_repeated": unknown}}
        if started is not None:
            new["$set"] = {"started": started}
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

    def close(self, shard_id: str, *, fence: int | None, counts: Tally) -> bool:
        """-> closed: every missing item has its closing row. With `fence` from our lease, else from the queue."""
        held, free = {"fence": fence, "status": "leased"}, {"status": {"$in": ["queued", "dispatched"]}}
        where = {
            "_id": shard_id,
            "$and": [{"status": states.CLOSE.filter()}, free if fence is None else held],
        }
        new = {"status": str(states.CLOSE.target), "counts": counts.as_dict()}
        return bool(self._docs.update_one(where, {"$set": new}).modified_count)

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
        """Shards of an ending batch that nobody holds."""
        where = {"batch_id": batch_id, "status": {"$in": ["queued", "dispatched"]}}
        return list(self._docs.find(where).limit(limit))

    def summed(self, batch_id: str) -> Sums:
        """The sums of the shards' tallies by provider, of their possibly repeated calls and of their hand-overs."""
        group: Doc = {"_id": "$provider", "possibly_repeated": {"$sum": "$possibly_repeated"}}
        group["handed_over"] = {"$sum": _lines_of(_HANDED_OVER)}
        group |= {name: {"$sum": f"$counts.{name}"} for name in FIELD_NAMES}
        rows = list(self._docs.aggregate([{"$match": {"batch_id": batch_id}}, {"$group": group}]))
        by_provider = {row["_id"]: tally_from(row) for row in sorted(rows, key=lambda row: row["_id"])}
        repeated, handed_over = (
            sum(row[name] for row in rows) for name in ("possibly_repeated", "handed_over")
        )
        return Sums(by_provider, repeated, handed_over)

    def by_state(self, batch_id: str) -> list[Doc]:
        """Rows {provider, status, reason, shards, since, next_at}: what the open shards of a batch wait for."""
        keys = {"provider": "$provider", "status": "$status", "reason": "$reason"}
        group = {"_id": keys, "shards": {"$sum": 1}}
        group |= {"since": {"$min": "$parked_at"}, "next_at": {"$min": "$next_at"}}
        where = {"batch_id": batch_id, "status": {"$nin": _ENDED}}
        rows = self._docs.aggregate([{"$match": where}, {"$group": group}])
        return [{**row.pop("_id"), **row} for row in rows]

    def providers_of(self, shard_ids: Iterable[str]) -> dict[str, str]:
        """Whose these shards are; shards that do not exist are left out."""
        rows = self._docs.find({"_id": {"$in": list(set(shard_ids))}}, {"provider": 1})
        return {row["_id"]: row["provider"] for row in rows}

    def children_missing(self, moved: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those of a shard's moved parts whose child document does not exist yet."""
        parts = {part["child_id"]: part for part in moved}
        there = {row["_id"] for row in self._docs.find({"_id": {"$in": list(parts)}}, {"_id": 1})}
        return [part for child_id, part in parts.items() if child_id not in there]


def _lines_of(parts: Doc | str) -> Doc:
    return {"$sum": {"$map": {"input": parts, "as": "part", "in": {"$size": "$$part.lines"}}}}


MOVED_LINES = _lines_of("$moved")
# The parts for other providers: halves of a split shard have tried nobody yet.
_HANDED_OVER: Doc = {"$filter": {"input": "$moved", "as": "part", "cond": {"$isArray": "$$part.tried"}}}
