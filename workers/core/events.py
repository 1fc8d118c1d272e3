"""What a watcher of a batch is sent: the entries of its log by number, and its progress between them. Pure.

app/api/event_hub.py brings the batch documents, app/api/events.py and event_socket.py send what this makes of them:

    {"object": "event", "type": "batch.completed", "n": 3, "created_at": ..., "data": {"id": "batch_...", ...}}

A watcher is known by `seen`, the number of the last entry that reached it. `batch.created` is number 0: it is not in
the log (store/batch_log.py) but made from the batch itself. Progress has no number, so that a watcher who comes back
names an entry. Entries the log no longer keeps are told of by one `log.gap`, which has the last one's number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from workers.core.pace import Pace
from workers.core.states import TERMINAL_BATCH, is_terminal

CREATED, GAP, PROGRESS = "batch.created", "log.gap", "batch.progress"
FINAL = frozenset(f"batch.{status}" for status in TERMINAL_BATCH)
NOTHING = -1  # `seen` of a watcher that nothing has reached yet
_MAX_DIGITS = 9
_OF_CREATION = ("endpoint", "input_file_id", "completion_window")
# What of our own fields of the batch object a progress event repeats.
_OF_PROGRESS = ("recorded", "cached", "coalesced", "calls", "cost_usd", "ending", "paused", "pause_reason")
# They change with the clock alone, so they are no news.
_NO_NEWS = ("per_second", "eta_s", "waiting_for")

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log; `at` is Unix seconds."""

    n: int
    at: float
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


def entries_of(batch: Mapping[str, Any]) -> list[Entry]:
    """The creation, and what the log keeps, by number. `batch` is its document."""
    created = Entry(0, batch["created_at"], CREATED, {name: batch.get(name) for name in _OF_CREATION})
    logged = [Entry(each["n"], each["at"], each["type"], each["data"]) for each in batch.get("log") or ()]
    status = batch["status"]
    if not logged and is_terminal(status):  # it ended in a version that kept no log
        logged = [Entry(1, batch.get(f"{status}_at") or batch["created_at"], f"batch.{status}")]
    return [created, *logged]


def unseen(entries: Sequence[Entry], seen: int) -> list[Entry]:
    """What a watcher who has seen up to that number is sent, in order: each entry once, or the gap it fell into.

    Args:
        entries: of `entries_of`; the first is the creation, and the others have numbers without a gap.
    """
    found = [entry for entry in entries if entry.n > seen]
    kept = [entry for entry in found if entry.n > 0]
    first_lost = max(seen, 0) + 1
    if kept and kept[0].n > first_lost:
        last_lost = kept[0].n - 1
        gap = Entry(last_lost, kept[0].at, GAP, {"from": first_lost, "to": last_lost})
        found.insert(len(found) - len(kept), gap)
    return found


def is_over(batch: Mapping[str, Any], seen: int) -> bool:
    """Whether nothing will come any more for a watcher who has seen up to that number."""
    return is_terminal(batch["status"]) and seen >= entries_of(batch)[-1].n


def seen_from(last_event_id: str | None, batch: Mapping[str, Any]) -> int:
    """What a watcher says it has seen. Raises ValueError for what is no number of an entry.

    A number that the log has not reached (the database was restored from an earlier copy) counts as its last.
    """
    text = (last_event_id or "").strip()
    if not text:
        return NOTHING
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ValueError(f"an event id is the number of an entry of the log, got {text[:40]!r}")
    return min(int(text), entries_of(batch)[-1].n)


def entry_event(batch_id: str, entry: Entry, batch_object: Mapping[str, Any]) -> Doc:
    """An entry as a watcher reads it; that of the end carries the whole batch object."""
    data = {"id": batch_id, **entry.data}
    if entry.type in FINAL:
        data["batch"] = batch_object
    return _event(entry.type, entry.n, entry.at, data)


def progress_event(data: Mapping[str, Any], at: float) -> Doc:
    """The progress as a watcher reads it; it has no number."""
    return _event(PROGRESS, None, at, data)


def progress_of(batch_object: Mapping[str, Any], pace: Pace, waiting_for: Sequence[Mapping[str, Any]]) -> Doc:
    """How far a batch is, the `data` of a progress event.

    `per_second` is the rate of the last seconds, `eta_s` the seconds left at it (null where nobody can say), and
    `waiting_for` the reasons of `GET /v1/batches/{id}/why`, empty while something moves.
    """
    ours, total = batch_object["batchwright"], batch_object["request_counts"]["total"]
    rest = max(0, total - ours["recorded"])
    per_second = round(pace.per_second, 2)
    return {
        "id": batch_object["id"],
        "status": batch_object["status"],
        "request_counts": batch_object["request_counts"],
        **{name: ours[name] for name in _OF_PROGRESS},
        "per_second": per_second,
        "eta_s": round(rest / per_second) if per_second and total else None,
        "waiting_for": list(waiting_for),
    }


def is_news(data: Mapping[str, Any], told: Mapping[str, Any] | None) -> bool:
    """Whether progress differs from what was told last by more than what the clock alone changes."""
    return told is None or _gist(data) != _gist(told)


def _gist(data: Mapping[str, Any]) -> tuple[Doc, bool, list[tuple[Any, ...]]]:
    reasons = [tuple(why[name] for name in ("kind", "provider", "shards")) for why in data["waiting_for"]]
    lasting = {name: value for name, value in data.items() if name not in _NO_NEWS}
    return lasting, data["per_second"] > 0, reasons


def sse(event: Mapping[str, Any]) -> bytes:
    """One event of a stream, as the HTML standard, 'Server-sent events', has it; JSON has no line breaks."""
    number = b"" if event["n"] is None else b"id: %d\n" % event["n"]
    return b"%sevent: %s\ndata: %s\n\n" % (number, event["type"].encode(), orjson.dumps(event))


def _event(kind: str, n: int | None, at: float, data: Mapping[str, Any]) -> Doc:
    return {"object": "event", "type": kind, "n": n, "created_at": int(at), "data": dict(data)}
