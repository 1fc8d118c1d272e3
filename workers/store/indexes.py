"""The table of all indexes by collection: mongo.py makes them, index_check.py holds a database to them.

Each is there for a query; tests/load/test_query_plans.py holds every query to one, docs/database.md says which. A name
stands for one kind of index for ever: MongoDB makes no other of the same name, and no process would start.
"""

from __future__ import annotations

from pymongo import ASCENDING, DESCENDING, TEXT, IndexModel

_DISPATCH_PREFIX = [
    ("provider", ASCENDING),
    ("status", ASCENDING),
    ("tenant", ASCENDING),
    ("priority", DESCENDING),
]
# What has it goes at that moment by itself; what has none stays.
_AT_ITS_TIME = IndexModel([("expire_at", ASCENDING)], expireAfterSeconds=0, sparse=True)


def _searchable(*fields: str) -> IndexModel:
    """Words of these fields, of one tenant: a search that names no tenant is refused by MongoDB itself.

    No language: names of samples are of many, and stemming one as another loses words. A field `language` in a document
    would be taken for its language and an unknown one refuse the document, hence a name nobody uses.
    """
    keys: list[tuple[str, int | str]] = [("tenant", ASCENDING), *((field, TEXT) for field in fields)]
    return IndexModel(keys, name="search", default_language="none", language_override="search_language")


INDEXES: dict[str, list[IndexModel]] = {
    "batch_jobs": [
        IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)]),
        # What the sweeper looks for, each of them without a look at what needs nothing.
        IndexModel([("status", ASCENDING), ("ending", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("status", ASCENDING), ("window_ends", ASCENDING)]),
        IndexModel([("status", ASCENDING), ("plan.opened", ASCENDING), ("_id", ASCENDING)]),
        # Not by status: an earlier version has a whole index of that name, and one of two kinds cannot be made.
        IndexModel(
            [("ending", ASCENDING), ("_id", ASCENDING)], partialFilterExpression={"paused_at": {"$gt": 0}}
        ),
        IndexModel([("events.id", ASCENDING)], sparse=True),
        IndexModel([("status", ASCENDING), ("expire_at", ASCENDING)]),
        IndexModel([("input_file_id", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("run_key", ASCENDING)], sparse=True),
        # What the ledger does not have yet.
        IndexModel([("tenant", ASCENDING), ("booked", ASCENDING), ("_id", DESCENDING)]),
        IndexModel(
            [("tenant", ASCENDING), ("idempotency_key", ASCENDING)],
            unique=True,
            partialFilterExpression={"idempotency_key": {"$type": "string"}},
        ),
        # One batch of each generation of a lineage: of two retries at once, one is made.
        IndexModel(
            [("root_id", ASCENDING), ("generation", ASCENDING)],
            unique=True,
            partialFilterExpression={"root_id": {"$type": "string"}},
        ),
    ],
    "batch_results": [
        # Failures alone, with all that a retry and a count of them ask for: neither reads a document.
        IndexModel(
            [(name, ASCENDING) for name in ("ok", "_id", "error.code", "status_code", "line_bytes")],
            partialFilterExpression={"ok": False},
        ),
    ],
    "batch_shards": [
        IndexModel([("batch_id", ASCENDING), ("status", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([*_DISPATCH_PREFIX, ("_id", ASCENDING), ("next_at", ASCENDING)]),
        IndexModel([*_DISPATCH_PREFIX, ("seq", ASCENDING), ("next_at", ASCENDING)]),
        IndexModel([("status", ASCENDING), ("lease_until", ASCENDING)]),
        # Whether a limit is used up, beside thousands that rest for as long as their batch is paused.
        IndexModel(
            [("status", ASCENDING), ("provider", ASCENDING), ("reason", ASCENDING), ("next_at", ASCENDING)]
        ),
        # Whether a tenant has a shard that is due, beside thousands that are parked.
        IndexModel(
            [("provider", ASCENDING), ("status", ASCENDING), ("tenant", ASCENDING), ("next_at", ASCENDING)]
        ),
        # What of a paused batch does not rest yet.
        IndexModel([("batch_id", ASCENDING), ("status", ASCENDING), ("next_at", ASCENDING)]),
        IndexModel([("batch_id", ASCENDING)], partialFilterExpression={"reason": "paused"}),
    ],
    "files": [
        IndexModel([("tenant", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel(
            [("tenant", ASCENDING), ("purpose", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)]
        ),
        IndexModel([("state", ASCENDING), ("touched_at", ASCENDING)]),
        # What a tenant stores: all that is asked for is in it.
        IndexModel([(name, ASCENDING) for name in ("tenant", "state", "touched_at", "_id", "bytes")]),
    ],
    # Asked every few seconds, and of nearly all there is nothing to say.
    "tenants": [IndexModel([("erasing_since", ASCENDING)], sparse=True)],
    "files.chunks": [IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)],
    "accounts": [IndexModel([("events.id", ASCENDING)], sparse=True)],
    "usage": [
        IndexModel([("tenant", ASCENDING), ("ended_day", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("part", ASCENDING), ("_id", ASCENDING)]),
        # What no part of recorded_totals.py has yet, of all tenants and of one.
        IndexModel([("folded", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("folded", ASCENDING), ("_id", ASCENDING)]),
    ],
    "usage_totals": [IndexModel([("made", ASCENDING)])],
    "usage_parts": [IndexModel([("tenant", ASCENDING), ("made", ASCENDING)])],
    "outbox": [
        IndexModel([("state", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("batch_id", ASCENDING)]),
        # Only what goes with no batch has it: a few rows a month, which may go at whatever moment.
        _AT_ITS_TIME,
    ],
    "schedules": [
        IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("enabled", ASCENDING), ("next_due", ASCENDING)]),
        IndexModel([("batch.input_file_id", ASCENDING)]),
        IndexModel([("events.id", ASCENDING)], sparse=True),
    ],
    "schedule_runs": [
        IndexModel([("schedule_id", ASCENDING), ("due", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("begun_at", ASCENDING)], partialFilterExpression={"state": "starting"}),
        IndexModel([("tenant", ASCENDING)]),
        _AT_ITS_TIME,
    ],
    "webhooks": [IndexModel([("tenant", ASCENDING), ("_id", ASCENDING)])],
    "deliveries": [
        # With the lane: whoever has thousands waiting for one that is slow is passed over without a look at them.
        IndexModel(
            [("state", ASCENDING), ("tenant", ASCENDING), ("next_at", ASCENDING), ("lane", ASCENDING)]
        ),
        IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("batch_id", ASCENDING)]),
        # How many wait, and since when, for `/metrics`.
        IndexModel([("state", ASCENDING), ("created_at", ASCENDING)]),
        _AT_ITS_TIME,
    ],
    "minutes": [IndexModel([("span", ASCENDING), ("at", ASCENDING)]), _AT_ITS_TIME],
    "totals": [_AT_ITS_TIME],
    "alerts": [
        # Of two who evaluate at once, one makes the alert.
        IndexModel([("key", ASCENDING)], unique=True, partialFilterExpression={"open": True}),
        IndexModel([("phase", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("events.id", ASCENDING)], sparse=True),
        _AT_ITS_TIME,
    ],
    "api_keys": [
        IndexModel([("tenant", ASCENDING)]),
        IndexModel([("id", ASCENDING)], sparse=True),
        # Those that were used today.
        IndexModel([("last_used_at", ASCENDING), ("tenant", ASCENDING)], sparse=True),
    ],
    "users": [
        IndexModel([("tenant", ASCENDING), ("_id", ASCENDING)]),
        IndexModel(
            [("tenant", ASCENDING), ("email", ASCENDING)],
            unique=True,
            partialFilterExpression={"email": {"$type": "string"}},
        ),
        # Who signs in elsewhere: an issuer's word for a person is the person's for ever, an address is not.
        IndexModel(
            [("issuer", ASCENDING), ("subject", ASCENDING)],
            unique=True,
            partialFilterExpression={"subject": {"$type": "string"}},
        ),
        IndexModel([("tenant", ASCENDING), ("role", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("last_seen_at", DESCENDING)]),
    ],
    "reloads": [_AT_ITS_TIME],
    "sessions": [
        IndexModel(
            [("token_hash", ASCENDING)],
            unique=True,
            partialFilterExpression={"token_hash": {"$type": "string"}},
        ),
        IndexModel([("tenant", ASCENDING), ("user_id", ASCENDING), ("_id", DESCENDING)]),
        _AT_ITS_TIME,
    ],
    "audio_files": [
        IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)]),
        # The same sample once, however many folders hold it.
        IndexModel(
            [("tenant", ASCENDING), ("content_hash", ASCENDING)],
            unique=True,
            partialFilterExpression={"content_hash": {"$type": "string"}},
        ),
        IndexModel([("tenant", ASCENDING), ("folder", ASCENDING), ("name", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("features.tempo_bpm", ASCENDING)]),
        # Samples that go together: of one key, near in tempo.
        IndexModel([("tenant", ASCENDING), ("features.key", ASCENDING), ("features.tempo_bpm", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("features.loudness_lufs", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("duration_s", ASCENDING)]),
        IndexModel([("tenant", ASCENDING), ("tags", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("batch_id", ASCENDING)]),
        _searchable("name", "folder", "tags", "description"),
        _AT_ITS_TIME,
    ],
    "analyses": [
        IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("tenant", ASCENDING), ("audio_file_id", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("tenant", ASCENDING), ("genre", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("tenant", ASCENDING), ("mood", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("tenant", ASCENDING), ("tags", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("batch_id", ASCENDING)]),
        _searchable("genre", "mood", "tags", "summary"),
        _AT_ITS_TIME,
    ],
}
