"""What happened to a batch, in its own document: `log` for whoever watches, `events` for whoever is told of its end.

Both are written in the same single-document write as what they tell of, so nothing happens without them. A log entry
is {n, at, type, data}: n counts from 1 without a gap (`log_n` is the last one's), at is Unix seconds. The last entries
alone are kept; a watcher who comes later than that sees by n that some are gone. `events` wait for the outbox, which
takes them out (store/outbox.py).
"""

from __future__ import annotations

from workers.store.mongo import NOW_S, Doc

# A batch has six states; only one that is paused and resumed again and again comes here.
KEPT_ENTRIES = 200

_LAST_N: Doc = {"$ifNull": ["$log_n", 0]}


def logged(kind: str, data: Doc | None = None, *, values: Doc | None = None) -> Doc:
    """Fields of a `$set` stage that append one entry to the log.

    Args:
        kind: the entry's type, such as `batch.in_progress`.
        data: what belongs to it, as literal values.
        values: the same as expressions, in place of `data`.
    """
    entry: Doc = {
        "n": {"$add": [_LAST_N, 1]},
        "at": NOW_S,
        "type": {"$literal": kind},
        "data": values or {"$literal": data or {}},
    }
    kept = {"$slice": [{"$ifNull": ["$log", []]}, -(KEPT_ENTRIES - 1)]}
    return {"log": {"$concatArrays": [kept, [entry]]}, "log_n": entry["n"]}


def told(event: Doc) -> Doc:
    """Fields of a `$set` stage that leave an event for the outbox."""
    return {"events": {"$concatArrays": [{"$ifNull": ["$events", []]}, [event]]}}
