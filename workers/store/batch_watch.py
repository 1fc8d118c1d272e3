"""Batches as whoever watches them reads them: their documents, and a stream of those whose log has grown.

app/api/event_hub.py has one stream a process. It tells of nothing but that there is news; what the news is stands in
the documents (batch_log.py), so a stream that broke off and begins anew has lost nothing. Everything is read as the
majority has it: what a watcher was told must not be taken back by another primary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pymongo import DESCENDING
from pymongo.read_concern import ReadConcern

from workers.core.states import TERMINAL_BATCH
from workers.store.batches import LONG
from workers.store.mongo import Db, Doc

# How long the server holds a question for which there is no news: so much later a stop is heard at most.
_WAIT_MS = 1_000


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream has begun (anew): what happened before it did is not told."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A batch is new, has an entry more, or is gone; the tenant is told of new ones."""

    batch_id: str
    tenant: str | None


class BatchWatch:
    """Read batches for their watchers."""

    def __init__(self, db: Db) -> None:
        self._docs = db["batch_jobs"].with_options(read_concern=ReadConcern("majority"))

    def get(self, batch_id: str) -> Doc | None:
        """The batch as it is shown, whoever's it is: the caller has seen that it is theirs."""
        return self._docs.find_one({"_id": batch_id}, LONG)

    def tenant_of(self, batch_id: str) -> str | None:
        """Whose batch it is."""
        doc = self._docs.find_one({"_id": batch_id}, {"tenant": 1})
        return doc["tenant"] if doc else None

    def going(self, tenant: str, after: str, limit: int) -> list[str]:
        """The tenant's batches that have not ended, and all that are newer than `after`; newest first."""
        open_or_new: list[Doc] = [{"status": {"$nin": list(TERMINAL_BATCH)}}, {"_id": {"$gt": after}}]
        found = self._docs.find({"tenant": tenant, "$or": open_or_new}, {"_id": 1})
        return [doc["_id"] for doc in found.sort("_id", DESCENDING).limit(limit)]

    def changes(self, stopped: Callable[[], bool]) -> Iterator[Opened | Changed]:
        """News as they are written, until `stopped`. Blocks; raises PyMongoError when the stream cannot go on."""
        news: list[Doc] = [
            {"operationType": {"$in": ["insert", "replace", "delete"]}},
            {"updateDescription.updatedFields.log_n": {"$exists": True}},
        ]
        shown = {"documentKey": 1, "fullDocument.tenant": 1}
        pipeline: list[Doc] = [{"$match": {"$or": news}}, {"$project": shown}]
        with self._docs.watch(pipeline, max_await_time_ms=_WAIT_MS) as stream:
            yield Opened()
            while stream.alive and not stopped():
                change = stream.try_next()
                if change is not None:
                    tenant = (change.get("fullDocument") or {}).get("tenant")
                    yield Changed(change["documentKey"]["_id"], tenant)
