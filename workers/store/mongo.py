"""The connection to MongoDB, its indexes, and the few expressions every noun uses.

Times that decide something (leases, next_at, windows) are BSON dates compared with `$$NOW`, the server's
clock, so a worker whose clock is wrong harms nobody. Times that the Batch API shows are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from pymongo import ASCENDING, DESCENDING, IndexModel, MongoClient, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    PyMongoError,
    WaitQueueTimeoutError,
)

Doc: TypeAlias = dict[str, Any]
Db: TypeAlias = Database[Doc]

# The server did not answer; what was asked may or may not have happened.
MONGO_DOWN = (ConnectionFailure, ExecutionTimeout, WaitQueueTimeoutError)

# Whatever the database may say (down, disk full, a right revoked): a loop that serves others logs it and goes on.
STORE_TROUBLE = (PyMongoError,)

NOW = "$$NOW"
NOW_S: Doc = {"$divide": [{"$toLong": NOW}, 1000.0]}
DUPLICATE_KEY = 11000
# A date no clock reaches: `next_at` of shards that must not run yet.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_DISPATCH_PREFIX = [
    ("provider", ASCENDING),
    ("status", ASCENDING),
    ("tenant", ASCENDING),
    ("priority", DESCENDING),
]
_INDEXES: dict[str, list[IndexModel]] = {
    "batch_jobs": [
        IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("status", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("run_key", ASCENDING)], sparse=True),
        IndexModel(
            [("tenant", ASCENDING), ("idempotency_key", ASCENDING)],
            unique=True,
            partialFilterExpression={"idempotency_key": {"$type": "string"}},
        ),
    ],
    "batch_shards": [
        IndexModel([("batch_id", ASCENDING), ("status", ASCENDING)]),
        IndexModel([*_DISPATCH_PREFIX, ("_id", ASCENDING), ("next_at", ASCENDING)]),
        IndexModel([*_DISPATCH_PREFIX, ("seq", ASCENDING), ("next_at", ASCENDING)]),
        IndexModel([("status", ASCENDING), ("lease_until", ASCENDING)]),
        IndexModel([("status", ASCENDING), ("provider", ASCENDING), ("reason", ASCENDING)]),
    ],
    "files": [
        IndexModel([("tenant", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("state", ASCENDING), ("touched_at", ASCENDING)]),
    ],
    "files.chunks": [IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)],
    "api_keys": [IndexModel([("tenant", ASCENDING)])],
}


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
    """Make every index that is missing; safe to call from any process at any time."""
    for name, indexes in _INDEXES.items():
        db[name].create_indexes(indexes)


def insert_missing(collection: Collection[Doc], docs: Sequence[Doc]) -> None:
    """Insert those whose `_id` is not there yet. Raises what pymongo raises for any other refusal."""
    if not docs:
        return
    try:
        collection.insert_many(docs, ordered=False)
    except BulkWriteError as error:
        if any(problem["code"] != DUPLICATE_KEY for problem in error.details["writeErrors"]):
            raise


def unacknowledged_by_majority() -> WriteConcern:
    """w:1 without journal: only for bytes whose later majority write vouches for them."""
    return WriteConcern(w=1, j=False)


def after_s(seconds: float) -> Doc:
    """The server's clock plus `seconds`."""
    return {"$add": [NOW, int(seconds * 1000)]}


def is_due(field: str) -> Doc:
    """A filter: the date in `field` has come, by the server's clock."""
    return {"$expr": {"$lte": [f"${field}", NOW]}}
