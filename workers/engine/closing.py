"""Close a shard of a batch that ended early: a closing row for every item that has no result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from workers.core.history import History
from workers.core.lines import custom_id_of
from workers.core.messages import ItemError, Result, unpack_items
from workers.core.states import CLOSING_CODES, CLOSING_MESSAGES, Ending
from workers.core.tally import Tally
from workers.store.results import record, tally_of
from workers.store.stores import Stores


def close_shard(
    stores: Stores,
    doc: Mapping[str, Any],
    batch: Mapping[str, Any],
    ending: Ending,
    *,
    held: bool,
) -> bool:
    """Insert the missing rows, then move the shard to closed. Safe to repeat; the first row of an item wins.

    Args:
        held: the shard is leased by us; its document's fence guards the move. Else it is closed from the queue.
    """
    shards, results = stores.shards, stores.results
    # Children of a moved part close by themselves; they must exist for that.
    shards.insert_missing_children(doc)
    gone = {line for part in doc["moved"] for line in part["lines"]}
    items = [item for item in unpack_items(doc["items"]) if item.line not in gone]
    counts = Tally()
    if items:
        there = results.recorded(doc["batch_id"], items[0].line, items[-1].line)
        missing = [item for item in items if item.line not in there]
        error = ItemError(CLOSING_CODES[ending], CLOSING_MESSAGES[ending])
        wanted = [(item.offset, item.length) for item in missing]
        rows, now_s = [], time.time()
        for item, raw in zip(missing, stores.files.blobs.ranges(batch["input_file_id"], wanted), strict=True):
            # Whatever it had cost until then was paid.
            past = History.from_doc(doc["attempts"].get(str(item.line))).woken(now_s)
            row = past.ends(Result(item.line, custom_id_of(raw), "none", error=error))
            rows.append(record(doc["batch_id"], doc["tenant"], doc["_id"], doc["fence"], row))
        results.insert(rows)
        now_there = results.recorded(doc["batch_id"], items[0].line, items[-1].line)
        counts = tally_of([now_there[item.line] for item in items if item.line in now_there])
    return shards.close(doc["_id"], fence=doc["fence"] if held else None, counts=counts)
