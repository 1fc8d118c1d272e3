"""What MongoDB really did for each command of ours, from its own profiler: the plan, and how much it looked at.

    with profiled(db): ...whatever the processes under test do...
    for each in looks(db): ...

The profiler sees the commands of every process with their real values, and the figures are of their execution: what
`explain` with `executionStats` says of one command that somebody thought of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from workers.store.mongo import Db, Doc

_PROFILE_BYTES = 512 << 20
# What a command is about; the rest is of sessions and the driver.
_TELLING = ("filter", "sort", "projection", "pipeline", "query", "key", "q", "u", "update", "hint")
# A collection of so few documents may be read as a whole.
_FEW = 1_000
# A command may look at so many documents or keys for each that it finds, and at so many for nothing.
_EACH, _ROOM = 10, 300


@dataclass(frozen=True)
class Look:
    """One command. `found`: documents it gave, changed or removed."""

    collection: str
    kind: str
    shape: str
    plan: str
    documents: int
    keys: int
    found: int
    app: str
    ms: int

    def __str__(self) -> str:
        return (
            f"{self.collection} {self.kind} by {self.app}: {self.plan}, {self.documents} documents and "
            f"{self.keys} keys for {self.found} in {self.ms} ms\n      {self.shape}"
        )


@contextmanager
def profiled(db: Db) -> Iterator[None]:
    """Have every command on this database written down while the block runs."""
    db.drop_collection("system.profile")
    db.create_collection("system.profile", capped=True, size=_PROFILE_BYTES)
    db.command({"profile": 2, "filter": "unset"})
    try:
        yield
    finally:
        db.command({"profile": 0})


def looks(db: Db) -> list[Look]:
    """The worst command of each shape and plan, those of our processes alone."""
    worst: dict[tuple[str, str, str, str], Look] = {}
    ours = {"appName": {"$regex": "^batchwright-"}, "op": {"$ne": "insert"}, "planSummary": {"$exists": True}}
    for row in db["system.profile"].find(ours):
        command = row.get("originatingCommand") or row.get("command", {})
        if "$changeStream" in (command.get("pipeline") or [{}])[0]:
            continue  # it reads the oplog, whatever the database holds
        look = _look(row, command)
        name = (look.collection, look.kind, look.shape, look.plan)
        if name not in worst or look.documents + look.keys > worst[name].documents + worst[name].keys:
            worst[name] = look
    return sorted(worst.values(), key=lambda each: -(each.documents + each.keys))


def faults(db: Db, seen: Sequence[Look], allowed: Mapping[tuple[str, str], int]) -> list[Look]:
    """Those that look at more than what they find, or at everything where there is much.

    Args:
        allowed: by collection and a part of the shape: so many documents and keys may be looked at more, since
            something else bounds them.
    """
    counts = {name: db[name].estimated_document_count() for name in {each.collection for each in seen}}
    return [each for each in seen if _is_fault(each, counts[each.collection], allowed)]


def _is_fault(look: Look, documents: int, allowed: Mapping[tuple[str, str], int]) -> bool:
    more = max(
        (most for (name, part), most in allowed.items() if name == look.collection and part in look.shape),
        default=0,
    )
    if "COLLSCAN" in look.plan and documents > _FEW:
        return documents > more
    return max(look.documents, look.keys) > _EACH * look.found + max(_ROOM, more)


def _look(row: Doc, command: Doc) -> Look:
    kinds = ("find", "aggregate", "count", "distinct", "findAndModify", "findandmodify")
    kind = next((name for name in kinds if name in command), row["op"])
    return Look(
        collection=row["ns"].partition(".")[2],
        kind=kind,
        shape=_shape({name: command[name] for name in _TELLING if name in command}),
        plan=str(row.get("planSummary", "")),
        documents=int(row.get("docsExamined", 0)),
        keys=int(row.get("keysExamined", 0)),
        found=sum(int(row.get(name, 0)) for name in ("nreturned", "nMatched", "ndeleted")),
        app=str(row.get("appName")),
        ms=int(row.get("millis", 0)),
    )


def _shape(value: Any) -> str:
    return json.dumps(_without_values(value), default=str)


def _without_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_values(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        shapes: list[Any] = []
        for each in map(_without_values, value):
            if each not in shapes:
                shapes.append(each)
        return shapes
    # Paths and variables are a part of the shape.
    return value if isinstance(value, str) and value.startswith("$") else "?"
