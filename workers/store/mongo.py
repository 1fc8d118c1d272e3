"""The connection to MongoDB, its indexes (the table is indexes.py), and the few expressions every noun uses.

Times that decide something (leases, next_at, windows) are BSON dates compared with `$$NOW`, the server's
clock, so a worker whose clock is wrong harms nobody. Times that the Batch API shows are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from pymongo import ASCENDING, MongoClient, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)

from workers.core.errors import UserError
from workers.store.indexes import INDEXES as _INDEXES

Doc: TypeAlias = dict[str, Any]
Db: TypeAlias = Database[Doc]

# The server did not answer; what was asked may or may not have happened.
MONGO_DOWN = (ConnectionFailure, ExecutionTimeout, WaitQueueTimeoutError)

# The server answers, but takes no write now: its disk is full, it is no primary, it stops, or too few members keep up.
# Names and numbers: error_codes.yml of MongoDB's source; the driver knows only some of them as ConnectionFailure.
_REFUSES_WRITES = frozenset(
    {
        *(14031, 64, 100),  # OutOfDiskSpace, WriteConcernTimeout, UnsatisfiableWriteConcern
        *(10107, 189),  # NotWritablePrimary, PrimarySteppedDown
        *(13435, 13436),  # NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary
        *(91, 11600, 11602),  # ShutdownInProgress, InterruptedAtShutdown, InterruptedDueToReplStateChange
    }
)

# Whatever the database may say (down, disk full, a right revoked): a loop that serves others logs it and goes on.
STORE_TROUBLE = (PyMongoError,)

NOW = "$$NOW"
NOW_S: Doc = {"$divide": [{"$toLong": NOW}, 1000.0]}
DUPLICATE_KEY = 11000
_OTHER_INDEX = (67, 85, 86)  # CannotCreateIndex, IndexOptionsConflict, IndexKeySpecsConflict
# A date no clock reaches: `next_at` of shards that must not run yet.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def connect(
    url: str, *, app_name: str = "batchwright", min_pool: int = 1, max_pool: int = 50
) -> MongoClient[Doc]:
    """A client with the project's settings: majority and journal, 5 s to find a server."""
    return MongoClient(
        url,
        appname=app_name,
        w="majority",
        journal=True,
        retryWrites=True,
        serverSelectionTimeoutMS=5000,
        connectTimeoutMS=5000,
        socketTimeoutMS=60_000,
        maxPoolSize=max_pool,
        minPoolSize=min_pool,
        maxIdleTimeMS=45_000,
        tz_aware=True,
    )


def ensure_indexes(db: Db) -> None:
    """Make every index that is missing; safe to call from any process at any time.

    Raises: UserError where another index is in the place of one.
    """
    for name, indexes in _INDEXES.items():
        try:
            db[name].create_indexes(indexes)
        except OperationFailure as error:
            if error.code not in _OTHER_INDEX:
                raise
            said = f"in the database another index is in the place of one that {name} needs"
            raise UserError(said, hint="`batchwright db check` says which, and what to do") from error


def insert_missing(collection: Collection[Doc], docs: Sequence[Doc]) -> None:
    """Insert those whose `_id` is not there yet. Raises what pymongo raises for any other refusal, without them."""
    if not docs:
        return
    try:
        collection.insert_many(docs, ordered=False)
    except BulkWriteError as error:
        if any(problem["code"] != DUPLICATE_KEY for problem in error.details["writeErrors"]):
            raise without_documents(error) from None


def without_documents(error: BulkWriteError) -> BulkWriteError:
    """The same error, fit for a log: as the driver raises it, its text has every refused document in it, whole."""
    problems = [
        {name: value for name, value in problem.items() if name != "op"}
        for problem in error.details["writeErrors"]
    ]
    return BulkWriteError(dict(error.details) | {"writeErrors": problems})


def distinct_after(
    collection: Collection[Doc],
    field: str,
    after: str,
    limit: int,
    *,
    where: Doc | None = None,
    beyond: str = "",
    name: Callable[[str], str] = str,
) -> list[str]:
    """Different values of an indexed field in order, those after `after`: one seek for each, however many share it.

    Args:
        beyond, name: for a field that begins with what is wanted: `name` takes that from a value, and with `beyond`
            behind it, it sorts after all values that begin so.
    """
    found: list[str] = []
    while len(found) < limit:
        past = {field: {"$gt": (found[-1] if found else after) + beyond}}
        row = collection.find_one(past | (where or {}), {field: 1}, sort=[(field, ASCENDING)])
        if row is None:
            break
        found.append(name(row[field]))
    return found


def unacknowledged_by_majority() -> WriteConcern:
    """w:1 without journal: only for bytes whose later majority write vouches for them."""
    return WriteConcern(w=1, j=False)


def refuses_writes(error: PyMongoError) -> bool:
    """Whether the server could not write now, whatever it was asked to: the same may pass later."""
    if isinstance(error, MONGO_DOWN):
        return True
    details = getattr(error, "details", None) or {}
    parts = [details, *details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return bool(_REFUSES_WRITES & {getattr(error, "code", None), *(part.get("code") for part in parts)})


def after_s(seconds: float) -> Doc:
    """The server's clock plus `seconds`."""
    return {"$add": [NOW, int(seconds * 1000)]}


def is_due(field: str) -> Doc:
    """A filter: the date in `field` has come, by the server's clock."""
    return {"$expr": {"$lte": [f"${field}", NOW]}}
