"""By what MongoDB has answered: the plan of every query and aggregation of one database, as its profiler saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workers.store.mongo import Db


@contextmanager
def plans_of(db: Db) -> Iterator[Callable[[], list[str]]]:
    """Watch a database; afterwards the function gives `COLLECTION: PLAN` for each look that was made in between."""
    db["system.profile"].drop()
    db.command("profile", 2)
    found: list[str] = []
    try:
        yield lambda: found
    finally:
        db.command("profile", 0)
        where = {"op": {"$in": ["query", "command"]}, "planSummary": {"$exists": True}}
        rows = list(db["system.profile"].find(where))
        db["system.profile"].drop()
        # What is small by its nature, and read whole: who holds what, who lives.
        found += [f"{row['ns'].partition('.')[2]}: {row['planSummary']}" for row in rows]
