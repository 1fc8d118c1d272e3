"""Pauses of providers and of tenants (`pauses`): they stand until somebody resumes, whatever process ends meanwhile.

A document: _id ("provider:NAME" or "tenant:ID"), since (Unix seconds), by (the tenant whose key asked). A batch's own
pause stands in the batch. Nothing is written to the shards: whoever would send one off or run it looks here.
"""

from __future__ import annotations

from workers.core.pauses import Pause, PauseKind, Standing, standing
from workers.store.mongo import NOW_S, Db, Doc
from workers.store.tenants import DEFAULT_TENANT


class Pauses:
    """Set, end and read them."""

    def __init__(self, db: Db) -> None:
        self._docs = db["pauses"]

    def pause(self, kind: PauseKind, name: str, *, by: str) -> Pause:
        """Let it rest from now on; one that rests already goes on resting since then.

        What the first tenant has paused stays so, also where the paused tenant asks for it, too.
        """
        asked: Doc = {"$literal": by}
        who = asked if by == DEFAULT_TENANT else {"$ifNull": ["$by", asked]}
        new = {"since": {"$ifNull": ["$since", NOW_S]}, "by": who}
        self._docs.update_one({"_id": _id(kind, name)}, [{"$set": new}], upsert=True)
        found = self._docs.find_one({"_id": _id(kind, name)})
        # Resumed in the same instant: it rested for no time at all.
        return _pause(found) if found else Pause(kind, name, 0.0, by)

    def resume(self, kind: PauseKind, name: str, *, by: str) -> bool:
        """Let it go on. False, and it rests on, where the first tenant has paused it and somebody else asks."""
        where: Doc = {"_id": _id(kind, name)}
        if by != DEFAULT_TENANT:
            where["by"] = {"$ne": DEFAULT_TENANT}
        if self._docs.delete_one(where).deleted_count:
            return True
        return self._docs.find_one({"_id": _id(kind, name)}, {"_id": 1}) is None

    def standing(self) -> Standing:
        """All of them."""
        return standing(map(_pause, self._docs.find()))


def _id(kind: PauseKind, name: str) -> str:
    return f"{kind}:{name}"


def _pause(doc: Doc) -> Pause:
    kind, _, name = doc["_id"].partition(":")
    return Pause("provider" if kind == "provider" else "tenant", name, doc["since"], doc["by"])
