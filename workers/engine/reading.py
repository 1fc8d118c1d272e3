"""Read what a claimed shard still has to do: which items, their lines, what an earlier lease left unsettled."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from workers import metrics
from workers.core import poison
from workers.core.handover import chosen_of, tried
from workers.core.history import NO_HISTORY, History
from workers.core.lines import custom_id_of
from workers.core.messages import Item, Result, unpack_items
from workers.core.recorded import lost_calls
from workers.core.tally import Tally
from workers.engine import pipeline
from workers.engine.ports import Link, Sink
from workers.engine.work import Held, Work
from workers.observed import OBSERVED
from workers.store.mongo import STORE_TROUBLE
from workers.store.results import without_body
from workers.store.stores import Stores
from workers.store.tenants import Tenant
from workers.store.threads import Threads

log = logging.getLogger(__name__)

TENANT_KNOWN_FOR_S = 10.0


class Reader:
    """One per process."""

    def __init__(self, stores: Stores, threads: Threads, sink: Sink) -> None:
        self._stores, self._threads, self._sink = stores, threads, sink
        self._tenants: dict[str, tuple[float, Tenant]] = {}

    async def unrecorded_items(self, doc: dict[str, Any], tally: Tally) -> list[Item]:
        """What is still to do; counts what is done and settles what an earlier lease may have called in vain."""
        gone = {line for part in doc["moved"] for line in part["lines"]}
        items = [item for item in unpack_items(doc["items"]) if item.line not in gone]
        untouched = doc["fence"] == 1 and "parent" not in doc
        if untouched or not items:
            return items
        recorded = await self._threads.call(
            self._stores.results.recorded, doc["batch_id"], items[0].line, items[-1].line
        )
        ours = [recorded[item.line] for item in items if item.line in recorded]
        for row in ours:
            tally.add(without_body(row), row["line_bytes"])
        if doc["prior"]:
            OBSERVED.count(metrics.SHARDS_RESCUED)
            repeated = lost_calls(doc["prior"], (row for row in ours if row["shard"] == doc["_id"]))
            await self._threads.call(self._stores.shards.settle_prior, doc["_id"], doc["fence"], repeated)
        return [item for item in items if item.line not in recorded]

    async def works(
        self, doc: dict[str, Any], batch: dict[str, Any], link: Link, items: list[Item], tally: Tally
    ) -> list[Work]:
        """The items with all that their calls need; a line that cannot be read again is recorded as such."""
        tenant = await self._tenant(doc["tenant"])
        wanted = [(item.offset, item.length) for item in items]
        raws = await self._threads.call(
            lambda: list(self._stores.files.blobs.ranges(batch["input_file_id"], wanted))
        )
        works, chosen = [], chosen_of(doc)
        for item, raw in zip(items, raws, strict=True):
            made = pipeline.prepare(
                raw,
                item,
                batch=batch,
                link=link,
                secret=tenant.secret,
                generation=tenant.generation,
                chosen=chosen,
            )
            if isinstance(made, Result):
                self._sink.add(Target(doc, tally), made)
            else:
                if history := doc["attempts"].get(str(item.line)):
                    made.recall(History.from_doc(history))
                works.append(made)
        return works

    async def condemn(
        self, doc: dict[str, Any], batch: dict[str, Any], items: list[Item], tally: Tally
    ) -> None:
        """End these items as errors of their workers, even where nothing of them can be read."""
        for item in items:
            custom_id, past = await self._threads.call(self._remains, doc, batch, item)
            bad = past.ends(poison.result(item.line, custom_id))
            self._sink.add(Target(doc, tally), bad)

    def _remains(self, doc: dict[str, Any], batch: dict[str, Any], item: Item) -> tuple[str, History]:
        custom_id, past = "", NO_HISTORY
        try:
            (raw,) = self._stores.files.blobs.ranges(batch["input_file_id"], [(item.offset, item.length)])
            custom_id = custom_id_of(raw)
            past = History.from_doc(doc["attempts"].get(str(item.line))).woken(time.time())
        except STORE_TROUBLE:
            raise
        except Exception:
            log.exception("line %d of %s ends without what was known of it", item.line, doc["batch_id"])
        return custom_id, past

    async def _tenant(self, tenant_id: str) -> Tenant:
        known = self._tenants.get(tenant_id)
        if known and time.monotonic() - known[0] < TENANT_KNOWN_FOR_S:
            return known[1]
        tenant = await self._threads.call(self._stores.tenants.get, tenant_id)
        self._tenants[tenant_id] = (time.monotonic(), tenant)
        return tenant


class Target:
    """Results that no run makes (condemned or unreadable items) still count in their shard."""

    def __init__(self, doc: Mapping[str, Any], tally: Tally) -> None:
        self.held = held_of(doc)
        self._tally = tally

    def on_recorded(self, result: Result, line_bytes: int) -> None:
        """Count it in the shard."""
        self._tally.add(result, line_bytes)


def held_of(doc: Mapping[str, Any]) -> Held:
    """The names of a claimed shard."""
    return Held(doc["batch_id"], doc["tenant"], doc["_id"], doc["fence"], tried(doc))
