"""MongoDB's indexes for the doctor and for `batchwright db`: whether the database has those that the work needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pymongo
from pymongo.errors import PyMongoError

from app.doctor.findings import Finding
from workers.store.index_check import (
    LACKING,
    CollectionSize,
    IndexFinding,
    check,
    collections,
    make_missing,
)
from workers.store.mongo import Db, connect

__all__ = ["Checked", "CollectionSize", "Db", "IndexFinding", "check_indexes", "look", "make_missing"]
NAME = "mongodb indexes"
# As in mongo_check.py: a check that takes longer than all may is a finding of its own.
_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Checked:
    """What the database has."""

    indexes: Sequence[IndexFinding]
    collections: Sequence[CollectionSize]

    @property
    def lacking(self) -> list[IndexFinding]:
        """Those without which something is slow, or stays for ever."""
        return [each for each in self.indexes if each.state in LACKING]


def look(db: Db) -> Checked:
    """Ask the server. Raises what pymongo raises."""
    return Checked(check(db), collections(db))


def check_indexes(url: str, database: str) -> Sequence[Finding]:
    """One finding. Without MongoDB none: its own check says so."""
    try:
        with connect(url, app_name="batchwright-doctor", min_pool=0) as client, pymongo.timeout(_PATIENCE_S):
            return [of_indexes(check(client[database]))]
    except (PyMongoError, ValueError):
        return []


def of_indexes(found: Sequence[IndexFinding]) -> Finding:
    """What they mean together. Pure."""
    lacking = [each for each in found if each.state in LACKING]
    counts = {state: sum(each.state == state for each in found) for state in {each.state for each in found}}
    data = {"counts": counts, "lacking": [f"{each.collection}.{each.name}: {each.state}" for each in lacking]}
    if found and all(each.state in ("missing", "unexpected") for each in found):
        text = "the database is new: its indexes are made by the first start"
        return Finding(NAME, "ok", text, data=data)
    if lacking:
        first = lacking[0]
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        text = f"{first.state}: {first.collection}.{first.name}{more}"
        fix = "run `batchwright db init`; `batchwright db check` says more"
        return Finding(NAME, "warning", text, fix, data)
    building = counts.get("building", 0)
    text = f"{counts.get('ok', 0)} as they should be" + (f", {building} being built" if building else "")
    return Finding(NAME, "ok", text, data=data)
