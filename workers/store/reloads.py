"""That an operator wants every process to read its settings anew, and what each has made of it (`reloads`).

`asked`: {_id: "asked", generation, at}: one number that grows; a process that knows a smaller one reads its settings.
Answers: {_id: "NAME@HOST:PID", generation, changed, restart, error, at, expire_at}, the last of each process; they go
after a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo import ReturnDocument

from workers.store.mongo import NOW_S, Db, Doc, after_s

_ASKED = "asked"
_KEPT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one process made of its settings: `error` says why it changed nothing, None where it went by them."""

    process: str
    changed: Sequence[str] = ()
    restart: Sequence[str] = ()
    error: str | None = None


class Reloads:
    """Ask, look whether somebody has, answer."""

    def __init__(self, db: Db) -> None:
        self._docs = db["reloads"]

    def ask(self) -> int:
        """Every process shall read its settings; gives the number under which they answer."""
        found: Doc = self._docs.find_one_and_update(  # type: ignore[assignment]  # an upsert finds what it made
            {"_id": _ASKED},
            [{"$set": {"generation": {"$add": [{"$ifNull": ["$generation", 0]}, 1]}, "at": NOW_S}}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return int(found["generation"])

    def generation(self) -> int:
        """The number that was asked for last; 0 where nobody ever did."""
        found = self._docs.find_one({"_id": _ASKED}, {"generation": 1})
        return int(found["generation"]) if found else 0

    def answer(self, generation: int, answer: Answer) -> None:
        """What this process made of it."""
        new = {
            "generation": generation,
            "changed": {"$literal": list(answer.changed)},
            "restart": {"$literal": list(answer.restart)},
            "error": {"$literal": answer.error},
            "at": NOW_S,
            "expire_at": after_s(_KEPT_S),
        }
        self._docs.update_one({"_id": answer.process}, [{"$set": new}], upsert=True)

    def answers(self, generation: int) -> list[Answer]:
        """Of those that have read their settings since, by name."""
        found = self._docs.find({"_id": {"$ne": _ASKED}, "generation": {"$gte": generation}}).sort("_id", 1)
        return [Answer(doc["_id"], doc["changed"], doc["restart"], doc["error"]) for doc in found]
