"""Items that are planned and not recorded yet, read from their shards: what state they are in, what they went through.

A shard holds its items packed, so a page is found by shard and then by line: in input order within each provider. What
is recorded meanwhile leaves the list; nothing is in it twice but what is handed to another provider between two pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from workers.core import states
from workers.core.history import History
from workers.core.identity import line_of, result_id
from workers.core.messages import Item, unpack_items
from workers.store.mongo import NEVER, NOW, Db, Doc

State = Literal["queued", "leased", "parked"]
# A page ends after so many shards, even if it is not full: whoever wants more asks with its cursor.
SHARDS_A_PAGE = 200
_OPEN = [str(status) for status in states.ShardStatus if status not in states.ENDED_SHARD]
_SHOWN: Doc = dict.fromkeys(
    ("items", "moved.lines", "status", "reason", "next_at", "provider", "attempts"), 1
)


@dataclass(frozen=True, slots=True)
class PendingItem:
    """One item without a result. `parked` ones rest for `reason`, until `until` (Unix seconds) where that is known."""

    shard_id: str
    line: int
    state: State
    provider: str
    reason: str | None
    until: float | None
    history: History


@dataclass(frozen=True, slots=True)
class Place:
    """After which item a page begins; the beginning is before all shards."""

    shard_id: str = ""
    line: int = 0


class Pending:
    """Read a batch's open shards."""

    def __init__(self, db: Db) -> None:
        self._shards, self._results = db["batch_shards"], db["batch_results"]

    def page(self, batch_id: str, *, after: Place, limit: int) -> tuple[list[PendingItem], Place | None]:
        """Up to `limit` items behind a place, and the place where it goes on; None at the end."""
        found: list[PendingItem] = []
        last = after
        for number, shard in enumerate(self._open(batch_id, after.shard_id)):
            if number == SHARDS_A_PAGE:
                return found, last
            behind = after.line if shard["_id"] == after.shard_id else 0
            for item in self._unrecorded(batch_id, shard, behind):
                if len(found) == limit:
                    return found, last
                found.append(_pending(shard, item))
                last = Place(shard["_id"], item.line)
            last = Place(shard["_id"], 1 << 32)
        return found, None

    def find(self, batch_id: str, line: int) -> PendingItem | None:
        """One of them, by its line; looks through the shards that are open."""
        for shard in self._open(batch_id, ""):
            for item in _own_items(shard):
                if item.line == line:
                    return _pending(shard, item)
        return None

    def item(self, shard_id: str, line: int) -> Item | None:
        """Where a line of this shard stands in its file, whatever has come of it; None where it has no such line."""
        shard = self._shards.find_one({"_id": shard_id}, {"items": 1})
        items = unpack_items(shard["items"]) if shard else ()
        return next((item for item in items if item.line == line), None)

    def _open(self, batch_id: str, first_id: str) -> Iterator[Doc]:
        where = {"batch_id": batch_id, "status": {"$in": _OPEN}, "_id": {"$gte": first_id}}
        rests: Doc = {"rests": {"$gt": ["$next_at", NOW]}}
        yield from self._shards.find(where, _SHOWN | rests, batch_size=20).sort("_id", 1)

    def _unrecorded(self, batch_id: str, shard: Doc, after_line: int) -> list[Item]:
        items = [item for item in _own_items(shard) if item.line > after_line]
        ids = [result_id(batch_id, item.line) for item in items]
        recorded = {line_of(row["_id"]) for row in self._results.find({"_id": {"$in": ids}}, {"_id": 1})}
        return [item for item in items if item.line not in recorded]


def _own_items(shard: Doc) -> list[Item]:
    """Those the shard has not given to others, by line."""
    moved = {line for part in shard.get("moved", ()) for line in part["lines"]}
    return sorted(
        (item for item in unpack_items(shard["items"]) if item.line not in moved), key=lambda item: item.line
    )


def _pending(shard: Doc, item: Item) -> PendingItem:
    history = History.from_doc(shard["attempts"].get(str(item.line)))
    waiting: Any = history.waiting
    parked = shard["status"] == states.ShardStatus.QUEUED and shard["rests"]
    state: State = (
        "leased" if shard["status"] == states.ShardStatus.LEASED else "parked" if parked else "queued"
    )
    until = shard["next_at"].timestamp() if parked and shard["next_at"] < NEVER else None
    reason = shard["reason"] if parked else waiting[0] if waiting else None
    return PendingItem(shard["_id"], item.line, state, shard["provider"], reason, until, history)
