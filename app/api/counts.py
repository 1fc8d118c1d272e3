"""What a batch has done so far, summed over its shards at most once a second, however many clients ask.

batches.py shows it. A finished batch carries its counts; a running one's are kept for the next reader too.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.api.services import Services
from workers.core.budget import money_of
from workers.core.states import BatchStatus, is_terminal
from workers.core.tally import Tally, tally_from
from workers.core.wire import batch_object

Doc = dict[str, Any]
FRESH_S = 1.0
_MAX_KEPT = 5_000
_SIM = "sim"


@dataclass(frozen=True, slots=True)
class _Sum:
    at: float
    counts: Doc
    simulated: bool


class Counts:
    """Sums of running batches, each made by one reader while the others wait for it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        kinds = {provider.name for provider in services.settings.providers if provider.kind == "sim"}
        self._simulators = kinds | {_SIM}
        self._sums: OrderedDict[str, _Sum] = OrderedDict()
        self._running: dict[tuple[str, bool], asyncio.Task[_Sum]] = {}

    async def shown(self, doc: Doc) -> Doc:
        """The batch object as a client sees it now."""
        summed = await self._of(doc)
        return batch_object(doc, summed.counts, extension(doc, summed.counts, simulated=summed.simulated))

    async def of(self, doc: Doc) -> Doc:
        """The sums over a batch's shards, a second old at most while it runs."""
        return (await self._of(doc)).counts

    async def _of(self, doc: Doc) -> _Sum:
        if doc["status"] in (BatchStatus.VALIDATING, BatchStatus.FAILED):
            return _Sum(0.0, {}, simulated=False)
        batch_id, kept = doc["_id"], self._sums.get(doc["_id"])
        ended = is_terminal(doc["status"])
        if ended and (counts := doc.get("counts")):
            return _Sum(0.0, counts, self._is_simulated(counts.get("by_provider") or ()))
        if kept is not None and time.monotonic() - kept.at < FRESH_S:
            return kept
        # A reader who saw the end must not get the sum of one who came before it.
        wanted = (batch_id, ended)
        task = self._running.get(wanted)
        if task is None:
            task = asyncio.create_task(self._services.run(self._sum, doc, kept, ended=ended))
            self._running[wanted] = task
            task.add_done_callback(lambda _: self._running.pop(wanted, None))
        summed = await asyncio.shield(task)
        self._sums[batch_id] = summed
        self._sums.move_to_end(batch_id)
        if len(self._sums) > _MAX_KEPT:
            self._sums.popitem(last=False)
        return summed

    def _sum(self, doc: Doc, kept: _Sum | None, *, ended: bool) -> _Sum:
        summed = self._services.shards.summed(doc["_id"])
        simulated = self._is_simulated(summed.by_provider)
        counts = summed.as_dict(summed.total)
        if not ended and (kept is None or kept.counts != counts):
            self._services.batches.save_counts(doc["_id"], counts)
        return _Sum(time.monotonic(), counts, simulated)

    def _is_simulated(self, providers: Iterable[str]) -> bool:
        return not self._simulators.isdisjoint(providers)


def extension(doc: Doc, counts: Doc, *, simulated: bool) -> Doc:
    """Our own fields of the batch object.

    `excess_calls` is an upper bound: calls known to repeat an unknown outcome, and those that workers lost in
    flight may have made. `handed_over` counts items given to another provider, each time they were. The cost is
    null as soon as one answer has no known price; so is `saved_usd`, what cached and coalesced answers would have
    cost. Under a ceiling, `held_usd` is what calls under way may cost, and `lost_usd` what calls may have cost
    whose worker was lost with them.
    """
    tally = tally_from(counts)
    money = money_of(doc["budget"]) if doc.get("budget") else None
    paused = doc.get("paused_at") is not None and doc.get("status") == "in_progress"
    return {
        "total": doc.get("total", 0),
        "recorded": tally.recorded,
        "cached": tally.cached,
        "coalesced": tally.coalesced,
        "repeats": doc.get("repeats", 0),
        "calls": tally.calls,
        "excess_calls": tally.excess + counts.get("possibly_repeated", 0),
        "asked_again": tally.asks_again,
        "handed_over": counts.get("handed_over", 0),
        "never_ran": tally.never_ran,
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "cost_usd": tally.known_cost_usd,
        "saved_usd": tally.known_saved_usd,
        "by_provider": {
            name: _share(tally_from(share)) for name, share in (counts.get("by_provider") or {}).items()
        },
        "ending": doc.get("ending"),
        "paused": paused,
        "pause_reason": doc.get("pause_reason") if paused else None,
        "max_cost_usd": money.limit_usd if money else None,
        "held_usd": round(money.in_flight_usd, 6) if money else 0.0,
        "lost_usd": round(money.lost_usd, 6) if money else 0.0,
        "simulated": simulated,
        "warm": bool(doc.get("warm")),
        "schedule_id": (doc.get("schedule") or {}).get("id"),
        "webhook": {"url": doc["webhook"]["url"]} if doc.get("webhook") else None,
        "parent_id": doc.get("parent_id"),
        "root_id": doc.get("root_id"),
        "children": doc.get("children", []),
    }


def _share(tally: Tally) -> Doc:
    """What one provider did for a batch, and what it took for it."""
    return {
        "recorded": tally.recorded,
        "failed": tally.failed,
        "calls": tally.calls,
        "input_tokens": tally.input_tokens,
        "cached_tokens": tally.cached_tokens,
        "cache_write_tokens": tally.cache_write_tokens,
        "output_tokens": tally.output_tokens,
        "reasoning_tokens": tally.reasoning_tokens,
        "cost_usd": tally.known_cost_usd,
        "saved_usd": tally.known_saved_usd,
    }
