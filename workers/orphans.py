"""Remove what nobody refers to: bytes without a file or a result, shards and results without a batch, hidden files.

Whatever is being written is safe by the order in which it is written, not by its age: the file's document comes before
its chunks and the batch before its shards and results; a large body comes before its result, and is looked at only
once its batch has ended, when no result can be added any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.store.mongo import Doc
from workers.store.results import BODY, batch_of_body
from workers.store.stores import Stores
from workers.walk import Walk, safely

log = logging.getLogger(__name__)

PAGE = 100
SLICE = 1_000
_FILE = "file-"


@dataclass(slots=True)
class Orphans:
    """Blocking; `round` by the sweeper: a page of each walk."""

    stores: Stores
    _names: Walk = field(default_factory=lambda: Walk("bytes without an owner"))
    _shards: Walk = field(default_factory=lambda: Walk("shards without a batch"))
    _results: Walk = field(default_factory=lambda: Walk("results without a batch"))
    _events: Walk = field(default_factory=lambda: Walk("events without a batch"))
    _files: Walk = field(default_factory=lambda: Walk("files nobody needs"))

    def round(self, until: float) -> None:
        """Look at the next page of everything; remove until that moment (monotonic seconds)."""
        shards, results = self.stores.shards, self.stores.results
        self._remove(self._names, self._bytes(), self.stores.files.blobs.delete, until)
        for walk, look, delete_some in (
            (self._shards, self.stores.upkeep.with_shards, shards.delete_of),
            (self._results, results.batch_ids, results.delete_some),
        ):
            strays = self.stores.upkeep.without_items(walk.page(look, PAGE))
            self._remove(walk, strays, _all_of(delete_some, until), until)
        of_events = self._events.page(self.stores.outbox.batch_ids, PAGE)
        self.stores.outbox.forget(self.stores.upkeep.gone(of_events))
        self._look_at_files(until)

    def _bytes(self) -> list[str]:
        names = self._names.page(self.stores.files.blobs.names, PAGE)
        of_files = [name for name in names if name.startswith(_FILE)]
        bodies = [name for name in names if name.startswith(BODY)]
        # First which batches have ended, then what their results refer to: the other way round a result could come
        # in between.
        ended = set(self.stores.upkeep.ended_or_gone([batch_of_body(name) for name in bodies]))
        settled = [name for name in bodies if batch_of_body(name) in ended]
        return self.stores.files.unknown(of_files) + self.stores.results.unreferred(settled)

    def _look_at_files(self, until: float) -> None:
        files, upkeep = self.stores.files, self.stores.upkeep
        found: dict[str, Doc] = {}

        def look(after: str, limit: int) -> list[str]:
            found.update({doc["_id"]: doc for doc in files.look(after, limit)})
            return list(found)

        self._files.page(look, PAGE)
        views = {doc["view"]["batch_id"]: doc["_id"] for doc in found.values() if doc.get("view")}
        if gone := upkeep.gone(list(views)):
            files.delete_views([doc["_id"] for doc in found.values() if _batch_of(doc) in gone])
        unseen = [doc["_id"] for doc in found.values() if doc["unseen"] and not doc.get("view")]
        needed = upkeep.inputs_in_use(unseen)
        self._remove(self._files, [one for one in unseen if one not in needed], files.drop, until)

    def _remove(self, walk: Walk, strays: list[str], remove: Callable[[str], object], until: float) -> None:
        for one in strays:
            if time.monotonic() > until:
                return
            safely(walk.name, one, remove)
        if strays:
            log.info("%s: %d removed", walk.name, len(strays))


def _all_of(delete_some: Callable[[str, int], int], until: float) -> Callable[[str], None]:
    def delete(batch_id: str) -> None:
        while delete_some(batch_id, SLICE) and time.monotonic() < until:
            pass  # a slice at a time

    return delete


def _batch_of(file: Doc) -> str | None:
    view = file.get("view")
    return view["batch_id"] if view else None
