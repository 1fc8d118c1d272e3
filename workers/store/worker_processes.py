"""Which worker processes live, what they serve, how many slots they have, and their vital signs; and API processes.

The dispatcher fills the slots; `/metrics` and `batchwright doctor` read the signs. Each process sits on a seat,
`worker-1`, `api-1` and so on, unique over all machines: it names the process where host names and process ids must not
appear. A seat is free once its process has left or been silent for 10 s, and the lowest is taken first, so there
are never more names than processes at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError

from workers.core.progress_running import Seat
from workers.store.mongo import NOW, Db, Doc

ALIVE_S = 10.0


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of life of one process: `age_s` old by MongoDB's clock; `stats` is None where none came."""

    seat: str
    age_s: float
    stats: Mapping[str, Any] | None

    @property
    def alive(self) -> bool:
        """Whether the process still counts."""
        return self.age_s < ALIVE_S


class WorkerProcesses:
    """Each process says every few seconds that it lives; who is silent for 10 s has no slots.

    `kind`: those of the API have seats of their own, and no slots.
    """

    def __init__(self, db: Db, kind: Literal["worker", "api"] = "worker") -> None:
        self._docs, self._kind = db[f"{kind}_processes"], kind
        self._seated: dict[str, str] = {}

    def beat(
        self, owner: str, *, providers: Sequence[str], slots: int, stats: Mapping[str, Any] | None = None
    ) -> int:
        """This process (`NAME@HOST:PID`) lives and serves these providers with this many slots. Gives how many live.

        `stats` is any document without dots in its names; it replaces the one before.
        """
        # Literal: what others named may begin with a dollar sign, which is an expression in a pipeline.
        said = {"providers": list(providers), "stats": dict(stats) if stats is not None else None}
        doc = {"owner": owner, "slots": slots, "seen_at": NOW} | {
            name: {"$literal": value} for name, value in said.items()
        }
        if not self._docs.update_one({"owner": owner}, [{"$set": doc}]).matched_count:
            seats = _seats(self._kind, owner)
            self._seated[owner] = next(seat for seat in seats if self._sit(seat, owner, doc))
        return self.count()

    def seat(self, owner: str) -> str:
        """Where this process sits since its beat here; empty before."""
        return self._seated.get(owner, "")

    def leave(self, owner: str) -> None:
        """This process takes no more work."""
        self._docs.delete_many({"owner": owner})

    def slots(self) -> dict[str, int]:
        """Slots of living processes by provider."""
        slots: dict[str, int] = {}
        for doc in self._docs.find(_alive(ALIVE_S), {"providers": 1, "slots": 1}):
            for provider in doc["providers"]:
                slots[provider] = slots.get(provider, 0) + doc["slots"]
        return slots

    def owners(self) -> frozenset[str]:
        """Who lives, as `NAME@HOST:PID`: so leases name them."""
        return frozenset(str(doc["owner"]) for doc in self._docs.find(_alive(ALIVE_S), {"owner": 1}))

    def seats(self) -> dict[str, Seat]:
        """Who lives, by owner as leases name them, with what each calls."""
        shown = dict.fromkeys(("owner", "stats.providers"), 1)
        return {doc["owner"]: _seat(doc) for doc in self._docs.find(_alive(ALIVE_S), shown)}

    def last_seen(self) -> dict[str, datetime]:
        """When the last silent process that served a provider was seen, where it is not forgotten yet."""
        latest: Doc = {"_id": "$providers", "at": {"$max": "$seen_at"}}
        steps: list[Doc] = [{"$match": _silent(ALIVE_S)}, {"$unwind": "$providers"}, {"$group": latest}]
        return {doc["_id"]: doc["at"] for doc in self._docs.aggregate(steps)}

    def count(self) -> int:
        """How many processes live."""
        return self._docs.count_documents(_alive(ALIVE_S))

    def beats(self) -> list[Beat]:
        """The last sign of every process that is not forgotten yet, living ones and silent ones, by seat."""
        age_ms = {"$dateDiff": {"startDate": "$seen_at", "endDate": NOW, "unit": "millisecond"}}
        found = self._docs.aggregate([{"$project": {"stats": 1, "age_ms": age_ms}}])
        beats = [Beat(doc["_id"], max(0.0, doc["age_ms"] / 1000), doc.get("stats")) for doc in found]
        return sorted(beats, key=lambda beat: (len(beat.seat), beat.seat))

    def forget_dead(self) -> int:
        """Delete what has been silent for ten times as long; gives how many there were."""
        return self._docs.delete_many(_silent(ALIVE_S * 10)).deleted_count

    def _sit(self, seat: str, owner: str, doc: Doc) -> bool:
        """Take a seat that nobody has, or whose process is silent, or was this one before its restart."""
        free: Doc = {"_id": seat, "$or": [_silent(ALIVE_S)]}
        place, _, pid = owner.rpartition(":")
        # Two stacks of one machine that share a database both have a worker-1. They would take its seat from one
        # another for ever, so only a first beat takes one; who has lost it finds another.
        if pid and owner not in self._seated:
            free["$or"].append({"owner": {"$regex": f"^{re.escape(place)}:"}})
        if self._docs.update_one(free, [{"$set": doc}]).matched_count:
            return True
        try:
            self._docs.update_one({"_id": seat, "owner": owner}, [{"$set": doc}], upsert=True)
        except DuplicateKeyError:
            return False
        return True


def _seat(doc: Doc) -> Seat:
    """Another version's signs may have another form: then nothing is known of its calls."""
    try:
        providers = (doc.get("stats") or {}).get("providers") or ()
        return Seat(str(doc["_id"]), {name: int(each["slots_in_use"]) for name, each in providers})
    except (TypeError, ValueError, KeyError):
        return Seat(str(doc["_id"]))


def _seats(kind: str, owner: str) -> Iterator[str]:
    """The process's own name where it is one that a person gave, not made of an id; then the lowest free number."""
    name = owner.partition("@")[0]
    if re.fullmatch(rf"{kind}-[1-9]\d{{0,3}}", name):
        yield name
    yield from (f"{kind}-{number}" for number in count(1))


def _alive(seconds: float) -> Doc:
    return {"$expr": {"$gt": ["$seen_at", {"$subtract": [NOW, int(seconds * 1000)]}]}}


def _silent(seconds: float) -> Doc:
    return {"$expr": {"$lte": ["$seen_at", {"$subtract": [NOW, int(seconds * 1000)]}]}}
