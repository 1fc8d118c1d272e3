"""What stands in the document of a shard (`batch_shards`).

_id (derived), batch_id, tenant, provider, seq, priority, items (packed), size, est_tokens, status, next_at (date),
reason (why it rests), parked_at (since when), owner, fence, lease_until, unseated (the fence of a lease that goes on
without a thread, engine/seats.py), dispatch {token, at}, started, prior
[{fence, started}], possibly_repeated, takeovers, moved [{child_id, provider, lines, ...}], attempts {line:
core/history.py}, counts (Tally). A child has its parent, and one that was handed over tried, model and warnings
(core/handover.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bson import Binary

from workers.core import states
from workers.core.handover import INHERITED
from workers.core.messages import ShardPlan, pack_items, unpack_items
from workers.core.tally import Tally
from workers.store.mongo import EPOCH, NEVER, NOW, Doc, after_s


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


def lines_of(parts: Doc | str) -> Doc:
    """How many lines these moved parts have, as an expression."""
    return {"$sum": {"$map": {"input": parts, "as": "part", "in": {"$size": "$$part.lines"}}}}


MOVED_LINES = lines_of("$moved")


def by_state_stages(lease_s: float, *apart: str) -> list[Doc]:
    """The stages that make the rows of Shards.by_state of open shards, those that differ in `apart` in rows apart."""

    def leased(value: object) -> Doc:
        return {"$cond": [{"$eq": ["$status", str(states.ShardStatus.LEASED)]}, value, None]}

    keys: Doc = {name: f"${name}" for name in ("provider", "status", "reason", *apart)}
    # Renewed every third of its length; half is more than a slow round.
    keys |= {"owner": leased("$owner"), "stale": leased({"$lt": ["$lease_until", after_s(lease_s / 2)]})}
    rests = {"$and": ["$reason", {"$gt": ["$next_at", NOW]}]}
    recorded = {"$add": ["$counts.recorded", MOVED_LINES]}
    sums: Doc = {
        "shards": {"$sum": 1},
        "requests": {"$sum": {"$subtract": ["$size", recorded]}},
        "since": {"$min": "$parked_at"},
        "next_at": {"$min": "$next_at"},
        "still": {"$min": {"$cond": [rests, "$next_at", None]}},
        "lease_until": {"$max": leased("$lease_until")},
        "sent_at": {"$min": leased("$dispatch.at")},
    }
    named = {
        "$replaceWith": {
            "$mergeObjects": ["$_id", "$$ROOT", {"next_at": {"$ifNull": ["$still", "$next_at"]}}]
        }
    }
    return [{"$group": {"_id": keys} | sums}, named, {"$unset": ["_id", "still"]}]
