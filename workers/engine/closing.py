"""Close shards of a batch that ended early: a closing row for every item that has no result.

Those that nobody holds go by the hundred, a leased one is closed by its holder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workers.core.errors import MissingBytes
from workers.core.history import History
from workers.core.lines import custom_id_of
from workers.core.messages import Item, ItemError, Result, unpack_items
from workers.core.recorded import lost_calls
from workers.core.states import CLOSING_CODES, CLOSING_MESSAGES, Ending
from workers.core.tally import Tally
from workers.store.results import Record, record, tally_of
from workers.store.stores import Stores

log = logging.getLogger(__name__)

# Rows on their way into the database at once, a megabyte or two.
ROWS_AT_ONCE = 2000


def close_shard(
    stores: Stores, doc: Mapping[str, Any], batch: Mapping[str, Any], ending: Ending, *, unknown: int = 0
) -> bool:
    """Close a shard that is leased by us; its document's fence guards the move.

    `unknown`: as in `Shards.close`.
    """
    counts = _insert_rows(stores, [doc], batch, ending)
    return bool(stores.shards.close(counts, fence=doc["fence"], unknown=unknown))


def close_free(
    stores: Stores, docs: Sequence[Mapping[str, Any]], batch: Mapping[str, Any], ending: Ending
) -> int:
    """Close shards that nobody holds; gives how many were closed. One that was claimed meanwhile stays its holder's."""
    return sum(
        stores.shards.close(_insert_rows(stores, portion, batch, ending)) for portion in _portions(docs)
    )


def _portions(docs: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    portion: list[Mapping[str, Any]] = []
    size = 0
    for doc in docs:
        if portion and size + doc["size"] > ROWS_AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append(doc)
        size += doc["size"]
    if portion:
        yield portion


def _insert_rows(
    stores: Stores, docs: Sequence[Mapping[str, Any]], batch: Mapping[str, Any], ending: Ending
) -> dict[str, Tally]:
    """Insert the rows that are missing; gives each shard's counts. Safe to repeat; the first row of an item wins."""
    own: dict[str, list[Item]] = {}
    for doc in docs:
        # Children of a moved part close by themselves; they must exist for that.
        stores.shards.insert_missing_children(doc)
        gone = {line for part in doc["moved"] for line in part["lines"]}
        own[doc["_id"]] = [item for item in unpack_items(doc["items"]) if item.line not in gone]
    lines = [item.line for items in own.values() for item in items]
    there = stores.results.recorded_of(batch["_id"], lines)
    for doc in docs:
        _settle(stores, doc, [there[item.line] for item in own[doc["_id"]] if item.line in there])
    missing = [item for items in own.values() for item in items if item.line not in there]
    custom_ids = _custom_ids(stores, batch, missing)
    rows: list[Record] = []
    for doc in docs:
        todo = [item for item in own[doc["_id"]] if item.line not in there]
        rows += _rows(doc, todo, custom_ids, ending)
    if rows:
        stores.results.insert(rows)
        # A holder that comes late may have recorded some of them before us.
        there = stores.results.recorded_of(batch["_id"], lines)
    return {
        shard_id: tally_of([there[item.line] for item in items if item.line in there])
        for shard_id, items in own.items()
    }


def _settle(stores: Stores, doc: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Count what lost workers had under way for it: nobody repeats those calls now, but somebody has to pay them."""
    ours = [row for row in rows if row["shard"] == doc["_id"]]
    if doc["status"] == "leased":
        if doc["prior"]:
            stores.shards.settle_prior(doc["_id"], doc["fence"], lost_calls(doc["prior"], ours))
        return
    leases = [*doc["prior"], {"fence": doc["fence"], "started": doc["started"]}]
    if any(lease["started"] for lease in leases):
        stores.shards.settle_free(doc["_id"], doc["fence"], lost_calls(leases, ours))


def _rows(
    doc: Mapping[str, Any], items: Sequence[Item], ids: Mapping[int, str], ending: Ending
) -> list[Record]:
    error, now_s, rows = ItemError(CLOSING_CODES[ending], CLOSING_MESSAGES[ending]), time.time(), []
    for item in items:
        # Whatever it had cost until then was paid.
        past = History.from_doc(doc["attempts"].get(str(item.line))).woken(now_s)
        row = past.ends(Result(item.line, ids.get(item.line, ""), "none", error=error))
        rows.append(record(doc["batch_id"], doc["tenant"], doc["_id"], doc["fence"], row))
    return rows


def _custom_ids(stores: Stores, batch: Mapping[str, Any], items: Sequence[Item]) -> dict[int, str]:
    """{line: custom_id}, read from the input file; those that can no longer be read are left out."""
    in_order = sorted(items, key=lambda item: item.offset)
    found: dict[int, str] = {}
    raws = stores.files.blobs.ranges(
        batch["input_file_id"], [(item.offset, item.length) for item in in_order]
    )
    try:
        for item, raw in zip(in_order, raws, strict=True):
            found[item.line] = custom_id_of(raw)
    except MissingBytes as error:
        # Damage must not keep a batch from ending.
        log.warning("%s ends without some custom ids: %s", batch["_id"], error)
    return found
