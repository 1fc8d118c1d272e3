"""Read the whole database as it was at one moment, and write such a reading back. For `batchwright backup | restore`.

Documents pass as the bytes MongoDB has them in, unread. A collection that appears in a later version is in every
backup unless `LEFT_OUT` names it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import cast

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from workers.core.errors import UserError
from workers.store.mongo import NEVER, NOW, NOW_S, Db, Doc
from workers.store.worker_processes import WorkerProcesses

LEFT_OUT: Mapping[str, str] = {
    "worker_processes": "beats of processes that live now",
    "api_processes": "beats of processes that live now",
    "elections": "leases of seconds; whoever lives takes them anew",
    "chores": "who does by the clock what, and when beat was heard; what is due begins anew",
    "reloads": "what processes that live now made of their settings",
    "restores": "the mark of a restore that has not ended",
}
# What a restore must not bury: a database without any of these holds no work, whatever a first start has made in it.
_WORK = ("batch_jobs", "batch_shards", "batch_results", "files")
_UNFINISHED = "unfinished"
_SNAPSHOT_UNAVAILABLE = 246
_SNAPSHOT_TOO_OLD = 239
_TRIES = 5
_BETWEEN_TRIES_S = 0.2
_PAGE_BYTES = 8 << 20
_PAGE_DOCS = 1000


class SnapshotTooOld(UserError):
    """MongoDB has forgotten the moment that is being read."""


class Snapshot:
    """Every collection as it was at one moment. Made by `snapshot`; `names` in the order of their names."""

    def __init__(self, db: Db, names: Sequence[str], session: ClientSession | None) -> None:
        self.names = tuple(names)
        self._db, self._session = db, session

    def documents(self, name: str) -> Iterator[bytes]:
        """The documents of a collection as BSON, one after the other, at most 16 MB of them in memory.

        Raises: SnapshotTooOld, pymongo's errors.
        """
        with _in_time():
            for page in self._db[name].find_raw_batches({}, session=self._session):
                yield from split(cast("bytes", page))


@contextmanager
def snapshot(db: Db, *, alone: bool) -> Iterator[Snapshot]:
    """Open one. `alone`: nobody writes meanwhile, so no moment must be kept by the server, which it does for 5 minutes.

    Raises: SnapshotTooOld, pymongo's errors.
    """
    names = sorted(
        name
        for name in db.list_collection_names(filter={"type": "collection"})
        if name not in LEFT_OUT and not name.startswith("system.")
    )
    with nullcontext() if alone else _session(db, names) as session:
        yield Snapshot(db, names, session)


def split(page: bytes) -> Iterator[bytes]:
    """The documents in a string of them; each begins with its length, 4 bytes, little-endian (bsonspec.org)."""
    at = 0
    while at < len(page):
        (length,) = struct.unpack_from("<i", page, at)
        yield page[at : at + length]
        at += length


@contextmanager
def _session(db: Db, names: Sequence[str]) -> Iterator[ClientSession]:
    """A session whose reads all see the same moment."""
    for left in reversed(range(_TRIES)):
        with db.client.start_session(snapshot=True) as session:
            try:
                for name in names:
                    db[name].find_one({}, {"_id": 1}, session=session)
            except OperationFailure as error:
                # A collection or an index has just been made; a moment later there is a moment after it.
                if error.code != _SNAPSHOT_UNAVAILABLE or not left:
                    raise
            else:
                yield session
                return
        time.sleep(_BETWEEN_TRIES_S)


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        if error.code != _SNAPSHOT_TOO_OLD:
            raise
        raise SnapshotTooOld(
            "MongoDB has forgotten the moment that this backup shows: reading took longer than it keeps one",
            hint="raise minSnapshotHistoryWindowInSeconds there (300 s unless set), "
            "or stop everything and back up a database that rests",
        ) from error


class Refill:
    """Write a reading into a database: `begin`, `put` each collection, `end`.

    Between `begin` and `end` the database says of itself that it is not whole; see `refuse_half_restored`.
    """

    def __init__(self, db: Db) -> None:
        self._db = db
        self._marks = db["restores"]

    def users(self) -> list[str]:
        """Who works on this database now: living workers, and any process that holds an election, each once."""
        held = self._db["elections"].find({"$expr": {"$gt": ["$until", NOW]}}, {"owner": 1})
        return sorted({*WorkerProcesses(self._db).owners(), *(str(each["owner"]) for each in held)})

    def is_used(self) -> bool:
        """Whether it holds work. What a restore that broke off has left is none."""
        return not is_half_restored(self._db) and any(
            self._db[name].find_one({}, {"_id": 1}) for name in _WORK
        )

    def begin(self) -> None:
        """Say that this is not whole from now on, then drop all there is."""
        self._marks.update_one({"_id": _UNFINISHED}, [{"$set": {"begun_at": NOW}}], upsert=True)
        for name in self._db.list_collection_names(filter={"type": "collection"}):
            if name != self._marks.name and not name.startswith("system."):
                self._db.drop_collection(name)

    def put(self, name: str, documents: Iterator[bytes]) -> None:
        """Write documents, some MB of them at once in memory.

        By majority: a primary that steps down takes with it what it alone has, and no later write would tell.
        """
        raw: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
        target = self._db.get_collection(name, raw)
        page: list[RawBSONDocument] = []
        size_bytes = 0
        for document in documents:
            page.append(RawBSONDocument(document))
            size_bytes += len(document)
            if size_bytes >= _PAGE_BYTES or len(page) >= _PAGE_DOCS:
                target.insert_many(page, ordered=False)
                page, size_bytes = [], 0
        if page:
            target.insert_many(page, ordered=False)

    def end(self, taken_at: float) -> None:
        """Say that it is whole, durably.

        Retention has stood still since the backup was taken (Unix seconds): what was kept then is kept for as long
        again as it had left, or the sweeper would take away at once what an old backup was restored for.
        """
        taken, since_s = {"$toDate": taken_at * 1000}, {"$max": [0, {"$subtract": [NOW_S, taken_at]}]}
        kept: Doc = {"expire_at": {"$lt": NEVER}, "$expr": {"$gt": ["$expire_at", taken]}}
        later = {"$add": ["$expire_at", {"$multiply": [since_s, 1000]}]}
        self._db["batch_jobs"].update_many(kept, [{"$set": {"expire_at": later}}])
        shown = {"expires_at": {"$gt": taken_at}}
        self._db["files"].update_many(shown, [{"$set": {"expires_at": {"$add": ["$expires_at", since_s]}}}])
        self._marks.delete_one({"_id": _UNFINISHED})


def is_half_restored(db: Db) -> bool:
    """Whether a restore into this database has begun and not ended."""
    mark: Doc | None = db["restores"].find_one({"_id": _UNFINISHED})
    return mark is not None


def refuse_half_restored(db: Db) -> None:
    """Raises UserError where a restore has begun and not ended: who worked on it would end batches that lack parts."""
    if is_half_restored(db):
        raise UserError(
            f"a restore into the database {db.name} has begun and not ended",
            hint="repeat it: batchwright restore FILE",
        )
