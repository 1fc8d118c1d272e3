"""Which shards could go to a worker, and their way there: queued -> dispatched, and back when nobody came for them.

The shards are the queue's truth; dispatcher.py asks here what to send, the sweeper what was sent in vain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pymongo import DESCENDING

from workers.core import states
from workers.core.fairness import Out, Sent, Waiting
from workers.core.lanes import TENANT_LIMITS
from workers.store.mongo import NEVER, NOW, NOW_S, Db, Doc, after_s, is_due

# A shard that is sent off starts its calls within this time, or it has none to make.
START_S = 10.0
_OF_WAITING = ("tenant", "batch_id", "est_tokens", "priority", "size", "dispatch.at")
_OUT = [str(states.ShardStatus.DISPATCHED), str(states.ShardStatus.LEASED)]


class Dispatches:
    """Looks at the queued shards of a provider, and the two moves between queued and dispatched."""

    def __init__(self, db: Db) -> None:
        self._docs, self._batches = db["batch_shards"], db["batch_jobs"]

    def providers_with_work(self) -> list[str]:
        """Providers for which shards are queued, due or not."""
        return list(self._docs.distinct("provider", {"status": "queued"}))

    def providers_dispatched(self) -> list[str]:
        """Providers that have shards on their way to a worker."""
        return list(self._docs.distinct("provider", {"status": "dispatched"}))

    def sent(self) -> dict[str, Sent]:
        """How many shards each provider has dispatched or leased, and how many of them hold or need a thread."""
        goes_on = {"$and": [{"$eq": ["$status", "leased"]}, {"$eq": ["$unseated", "$fence"]}]}
        group = {
            "_id": "$provider",
            "shards": {"$sum": 1},
            "seated": {"$sum": {"$cond": [goes_on, 0, 1]}},
        }
        rows = self._docs.aggregate([{"$match": {"status": {"$in": _OUT}}}, {"$group": group}])
        return {row["_id"]: Sent(row["shards"], row["seated"]) for row in rows}

    def unseat(self, ids: Sequence[str], owner: str) -> None:
        """Remember that these go on without a thread under their present leases, so that others may have it."""
        where = {"_id": {"$in": list(ids)}, "status": "leased", "owner": owner}
        self._docs.update_many(where, [{"$set": {"unseated": "$fence"}}])

    def due(self, provider: str, limit: int, *, without: Collection[str] = ()) -> int:
        """How many shards could be sent off now, counted up to `limit`; those of the tenants `without` cannot."""
        where: Doc = {"provider": provider, "status": "queued", "tenant": {"$nin": list(without)}}
        return self._docs.count_documents(where | is_due("next_at"), limit=max(1, limit))

    def overdue(self, older_than_s: float, providers: Collection[str]) -> dict[str, dict[str, int]]:
        """By these providers and by batch, the shards that were sent off so long ago and that nobody has taken."""
        where: Doc = {"status": "dispatched", "provider": {"$in": list(providers)}}
        where["$expr"] = {"$lte": ["$dispatch.at", after_s(-older_than_s)]}
        group = {"_id": {"provider": "$provider", "batch": "$batch_id"}, "shards": {"$sum": 1}}
        found: dict[str, dict[str, int]] = {}
        for row in self._docs.aggregate([{"$match": where}, {"$group": group}]):
            found.setdefault(row["_id"]["provider"], {})[row["_id"]["batch"]] = row["shards"]
        return found

    def without_lease(self, batches: Mapping[str, Collection[str]]) -> int:
        """How many of these batches, by provider, have no shard there in a worker's hands."""
        asked = {(provider, batch_id) for provider, ids in batches.items() for batch_id in ids}
        where = {"batch_id": {"$in": [batch_id for _, batch_id in asked]}, "status": "leased"}
        rows = self._docs.find(where, {"provider": 1, "batch_id": 1})
        return len(asked - {(row["provider"], row["batch_id"]) for row in rows})

    def overdue_plans(self, older_than_s: float) -> int:
        """Batches made so long ago whose file nobody has begun to check, counted up to ten."""
        old = {"$lte": ["$created_at", {"$subtract": [NOW_S, older_than_s]}]}
        where = {"status": "validating", "ending": None, "plan.owner": None, "$expr": old}
        return self._batches.count_documents(where, limit=10)

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
        by_tenant: dict[str, list[Doc]] = {}
        for row in rows:
            tokens.update({row["_id"]["tenant"]: row["tokens"], row["_id"]["batch"]: row["tokens"]})
            by_tenant.setdefault(row["_id"]["tenant"], []).append(row)
        of_tenant = {tenant: _out(theirs) for tenant, theirs in by_tenant.items()}
        return replace(_out(rows), tokens=dict(tokens), of_tenant=of_tenant)

    def at_their_limits(self, providers: Collection[str]) -> dict[str, tuple[str, datetime]]:
        """Tenants of which a shard rests because a limit of their own is used up: why, and until when the first does.

        Any other shard of theirs would come back as well. `providers`: all that have shards queued.
        """
        resting: Doc = {"status": "queued", "provider": {"$in": list(providers)}}
        resting["reason"] = {"$in": list(TENANT_LIMITS)}
        later: Doc = {"next_at": {"$lt": NEVER}, "$expr": {"$gt": ["$next_at", NOW]}}
        first: Doc = {"_id": "$tenant", "next_at": {"$first": "$next_at"}, "reason": {"$first": "$reason"}}
        steps: list[Doc] = [{"$match": resting | later}, {"$sort": {"next_at": 1}}, {"$group": first}]
        return {row["_id"]: (row["reason"], row["next_at"]) for row in self._docs.aggregate(steps)}

    def waits_for_its_limit(self, provider: str) -> bool:
        """Whether a shard rests because the provider's limit is used up: any other one would come back as well.

        A rest of one model alone has another reason (`model_paused`): shards of other models go on.
        """
        resting = {"provider": provider, "status": "queued", "reason": {"$in": ["limit", "paused"]}}
        later = {"next_at": {"$lt": NEVER}, "$expr": {"$gt": ["$next_at", NOW]}}
        return self._docs.find_one(resting | later, {"_id": 1}) is not None

    def waiting(self, provider: str, per_tenant: int, *, without: Collection[str] = ()) -> list[Waiting]:
        """Due shards: of each tenant up to `per_tenant` of the oldest batches, and as many that open a batch.

        The oldest alone would hide a small new batch behind a large one, the openers alone an old one's rest.
        Tenants in `without` are left out.
        """
        where = {"provider": provider, "status": "queued"}
        orders = ([("priority", DESCENDING), ("_id", 1)], [("priority", DESCENDING), ("seq", 1)])
        found: dict[str, Waiting] = {}
        for tenant in set(self._docs.distinct("tenant", where)) - set(without):
            due = where | {"tenant": tenant} | is_due("next_at")
            # All of one may be parked: in the orders below, each of them would be passed.
            if self._docs.find_one(due, {"_id": 1}) is None:
                continue
            for order in orders:
                rows = self._docs.find(due, dict.fromkeys(_OF_WAITING, 1))
                for row in rows.sort(order).limit(per_tenant):
                    found[row["_id"]] = _waiting(row)
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

    def take_back(self, shard_id: str, *, rest_s: float, reason: str | None) -> bool:
        """dispatched -> queued for one shard whose message will not be worked on; due in `rest_s`."""
        where = {"_id": shard_id, "status": states.TAKE_BACK.filter()}
        new: Doc = {
            "status": str(states.TAKE_BACK.target),
            "next_at": after_s(rest_s),
            "reason": {"$literal": reason},
            "parked_at": NOW,
        }
        return bool(self._docs.update_one(where, [{"$set": new}]).modified_count)


def _out(rows: Sequence[Doc]) -> Out:
    return Out(
        sum(row["shards"] for row in rows),
        {},
        sum(row["left"] for row in rows),
        int(sum(row["left_tokens"] for row in rows)),
    )


def _waiting(row: Doc) -> Waiting:
    sent_at = row.get("dispatch", {}).get("at")
    return Waiting(
        row["_id"],
        row["tenant"],
        row["batch_id"],
        row["est_tokens"],
        row["priority"],
        row["size"],
        sent_at.timestamp() if sent_at else 0.0,
    )
