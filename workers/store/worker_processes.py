"""Which worker processes live, what they serve and how many slots they have: what the dispatcher fills."""

from __future__ import annotations

from collections.abc import Sequence

from workers.store.mongo import NOW, Db

ALIVE_S = 10.0


class WorkerProcesses:
    """Each process says every few seconds that it lives; who is silent for 10 s has no slots."""

    def __init__(self, db: Db) -> None:
        self._docs = db["worker_processes"]

    def beat(self, name: str, *, providers: Sequence[str], slots: int) -> None:
        """This process lives and serves these providers with this many slots."""
        doc = {"providers": list(providers), "slots": slots, "seen_at": NOW}
        self._docs.update_one({"_id": name}, [{"$set": doc}], upsert=True)

    def leave(self, name: str) -> None:
        """This process takes no more work."""
        self._docs.delete_one({"_id": name})

    def slots(self) -> dict[str, int]:
        """Slots of living processes by provider."""
        slots: dict[str, int] = {}
        for doc in self._docs.find(_alive(ALIVE_S)):
            for provider in doc["providers"]:
                slots[provider] = slots.get(provider, 0) + doc["slots"]
        return slots

    def count(self) -> int:
        """How many processes live."""
        return self._docs.count_documents(_alive(ALIVE_S))

    def forget_dead(self) -> int:
        """Delete what has been silent for ten times as long; gives how many there were."""
        dead = {"$expr": {"$lt": ["$seen_at", {"$subtract": [NOW, int(ALIVE_S * 10_000)]}]}}
        return self._docs.delete_many(dead).deleted_count


def _alive(seconds: float) -> dict[str, object]:
    return {"$expr": {"$gt": ["$seen_at", {"$subtract": [NOW, int(seconds * 1000)]}]}}
