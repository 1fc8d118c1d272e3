"""What stands now in the whole installation, for `/metrics`: how much waits and for how long, what runs, who was here.

app/api/standing.py asks every few seconds. Each look takes an index alone, but for what waits to be delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from workers.core import states
from workers.core.states import BatchStatus, ShardStatus
from workers.store.alerts import Alerts
from workers.store.chores import Chores
from workers.store.mongo import EPOCH, NOW, Db, Doc
from workers.store.outbox import PENDING

_OPEN = [str(status) for status in ShardStatus if status not in states.ENDED_SHARD]
_WAITING = [str(ShardStatus.QUEUED), str(ShardStatus.DISPATCHED)]
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Stands:
    """One look.

    Attributes:
        shards: those that have not ended, by provider and status.
        oldest_due_s: by provider, how long the first of those that may run waits; 0 where none does.
        batches: by status. `batches_today`, `keys_today`, `tenants_today`: since midnight, UTC.
        deliveries: webhooks that wait, the first since `oldest_delivery_s`.
        alerts: how many fire, by rule.
        beat_silent_s: since a worker last did what beat asked for; None if none ever has.
    """

    shards: Mapping[tuple[str, str], int] = field(default_factory=dict)
    oldest_due_s: Mapping[str, float] = field(default_factory=dict)
    batches: Mapping[str, int] = field(default_factory=dict)
    batches_today: int = 0
    keys_today: int = 0
    tenants_today: int = 0
    deliveries: int = 0
    oldest_delivery_s: float = 0.0
    alerts: Mapping[str, int] = field(default_factory=dict)
    beat_silent_s: float | None = None


class Standing:
    """Reads alone."""

    def __init__(self, db: Db) -> None:
        self._batches, self._shards = db["batch_jobs"], db["batch_shards"]
        self._keys, self._deliveries = db["api_keys"], db["deliveries"]
        self._alerts, self._chores = Alerts(db), Chores(db)

    def look(self, providers: Collection[str], now_s: float) -> Stands:
        """Ask for everything. `providers`: those of the settings; others that have shards are found. Unix time."""
        midnight_s = now_s // _DAY_S * _DAY_S
        keys = list(self._keys.find({"last_used_at": {"$gte": midnight_s}}, {"_id": 0, "tenant": 1}))
        waiting: Doc = {"state": PENDING}
        first = self._deliveries.find_one(waiting, {"_id": 0, "created_at": 1}, sort=[("created_at", 1)])
        shards = self.open_shards()
        names = {*providers, *(provider for provider, _ in shards)}
        return Stands(
            shards=dict.fromkeys(((name, status) for name in names for status in _OPEN), 0) | shards,
            oldest_due_s=dict.fromkeys(names, 0.0) | self.oldest_due_s(names),
            batches={str(each): self._batches.count_documents({"status": str(each)}) for each in BatchStatus},
            batches_today=self._batches.count_documents(
                {"_id": {"$gte": f"batch_{int(midnight_s * 1000):012x}"}}
            ),
            keys_today=len(keys),
            tenants_today=len({key["tenant"] for key in keys}),
            deliveries=self._deliveries.count_documents(waiting),
            oldest_delivery_s=max(0.0, now_s - first["created_at"]) if first else 0.0,
            alerts=self._alerts.firing(),
            beat_silent_s=self._chores.beat_silent_s(),
        )

    def open_shards(self) -> dict[tuple[str, str], int]:
        """Shards that have not ended, by provider and status."""
        group: Doc = {"_id": {"provider": "$provider", "status": "$status"}, "shards": {"$sum": 1}}
        rows = self._shards.aggregate([{"$match": {"status": {"$in": _OPEN}}}, {"$group": group}])
        return {(row["_id"]["provider"], row["_id"]["status"]): row["shards"] for row in rows}

    def oldest_due_s(self, providers: Collection[str]) -> dict[str, float]:
        """By provider, how long the first of those that may run waits; only where one does.

        A moved part is due from the beginning of time on: nobody knows since when, and it counts not here.
        """
        where: Doc = {"provider": {"$in": sorted(providers)}, "status": {"$in": _WAITING}}
        where |= {"next_at": {"$gt": EPOCH}, "$expr": {"$lte": ["$next_at", NOW]}}
        age_ms = {"$subtract": [NOW, {"$min": "$next_at"}]}
        steps = [
            {"$match": where},
            {"$group": {"_id": "$provider", "next_at": {"$min": "$next_at"}}},
            {"$project": {"age_ms": age_ms}},
        ]
        return {row["_id"]: row["age_ms"] / 1000 for row in self._shards.aggregate(steps)}
