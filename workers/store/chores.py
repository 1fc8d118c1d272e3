"""When each chore of workers/chores.py has last begun and who is at it (`chores`), and when beat was last heard of.

A chore: _id (its name), owner, until (date: its lease), next_at (date). The document `beat` has seen_at (date).
"""

from __future__ import annotations

from workers.store.mongo import EPOCH, NOW, Db, Doc, after_s

_BEAT = "beat"


class Chores:
    """`begin` and `end` a chore; the server's clock decides."""

    def __init__(self, db: Db) -> None:
        self._docs = db["chores"]

    def begin(self, name: str, owner: str, *, every_s: float, lease_s: float) -> bool:
        """Take the chore if it is due and nobody is at it; it is due again `every_s` after this."""
        due = {"_id": name, "$expr": {"$and": [_come("$next_at", every_s), _come("$until", lease_s)]}}
        taken = [{"$set": {"owner": owner, "until": after_s(lease_s), "next_at": after_s(every_s)}}]
        if self._docs.update_one(due, taken).modified_count:
            return True
        # An upsert's filter may not hold an $expr: the first time its document is made here.
        fresh = {"_id": name, "owner": "", "until": EPOCH, "next_at": EPOCH}
        made = self._docs.update_one({"_id": name}, {"$setOnInsert": fresh}, upsert=True).upserted_id
        return made is not None and bool(self._docs.update_one(due, taken).modified_count)

    def end(self, name: str, owner: str) -> None:
        """Let the next one have it, once it is due again."""
        self._docs.update_one({"_id": name, "owner": owner}, {"$set": {"until": EPOCH}})

    def hear_beat(self) -> None:
        """Beat was heard of just now."""
        self._docs.update_one({"_id": _BEAT}, [{"$set": {"seen_at": NOW}}], upsert=True)

    def beat_silent_s(self) -> float | None:
        """Seconds since a worker last heard of beat, by the server's clock; None if none ever has."""
        age = {"age_ms": {"$subtract": [NOW, "$seen_at"]}}
        found = list(self._docs.aggregate([{"$match": {"_id": _BEAT}}, {"$project": age}]))
        return float(found[0]["age_ms"]) / 1000.0 if found else None


def _come(field: str, ahead_s: float) -> Doc:
    """Whether this date has come, or lies so far ahead that the clock was put back since: a primary took over, say."""
    return {"$or": [{"$lte": [field, NOW]}, {"$gt": [field, after_s(2 * ahead_s)]}]}
