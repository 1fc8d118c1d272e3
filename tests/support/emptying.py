"""Empty a database between two tests, in a round trip or two: asking every collection costs more than most tests."""

from __future__ import annotations

from typing import Any

from workers.store.mongo import Db, Doc, unacknowledged_by_majority


def empty(db: Db) -> None:
    """Take away every document; indexes stay, since making them is slow."""
    for name in _filled(db):
        # The next test runs on the same server: nothing else need know of it.
        db[name].with_options(write_concern=unacknowledged_by_majority()).delete_many({})


def _filled(db: Db) -> list[str]:
    """Collections in which there is anything, all asked at once."""
    names = db.list_collection_names()
    if not names:
        return []
    stages: list[Doc] = _any_of(names[0])
    stages += [{"$unionWith": {"coll": name, "pipeline": _any_of(name)}} for name in names[1:]]
    return [row["name"] for row in db[names[0]].aggregate(stages)]


def _any_of(name: str) -> list[dict[str, Any]]:
    return [{"$limit": 1}, {"$project": {"_id": 0, "name": {"$literal": name}}}]
