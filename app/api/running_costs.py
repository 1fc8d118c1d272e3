"""What running batches have cost by provider and model, summed from their results, however many clients ask.

costs.py shows it. A batch of a million results takes seconds to sum: how long a sum is good for grows with what it
took, so that one batch keeps the database busy for a twentieth of the time at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from app.api.services import Services
from workers.core import savings
from workers.core.savings import Row

FRESH_S = 5.0
_TIMES_WHAT_IT_TOOK = 20.0
_MAX_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class _Sum:
    shares: list[Row]
    at_s: float
    good_until: float
    ended: bool


class RunningCosts:
    """Sums by batch, each made by one reader while the others wait for it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept: OrderedDict[str, _Sum] = OrderedDict()
        self._making: dict[tuple[str, bool], asyncio.Task[_Sum]] = {}

    async def of(self, batch_id: str, *, ended: bool) -> tuple[list[Row], float]:
        """The batch's shares (core/savings.py) and when they were summed, Unix seconds.

        `ended`: its results are all there, so one sum after that is good for ever.
        """
        kept = self._kept.get(batch_id)
        if kept is not None and (kept.ended or (not ended and time.monotonic() < kept.good_until)):
            return kept.shares, kept.at_s
        # Who saw the end must not get the sum of one who came before it.
        wanted = (batch_id, ended)
        task = self._making.get(wanted)
        if task is None:
            task = asyncio.create_task(self._services.run(self._sum, batch_id, ended=ended))
            self._making[wanted] = task
            task.add_done_callback(lambda _: self._making.pop(wanted, None))
        summed = await asyncio.shield(task)
        self._kept[batch_id] = summed
        self._kept.move_to_end(batch_id)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return summed.shares, summed.at_s

    def _sum(self, batch_id: str, *, ended: bool) -> _Sum:
        at_s, began = time.time(), time.monotonic()
        counts = self._services.results.shares(batch_id)
        providers = self._services.shards.providers_of(shard_id for shard_id, _ in counts)
        shares, now = savings.shares(counts, providers), time.monotonic()
        return _Sum(shares, at_s, now + max(FRESH_S, (now - began) * _TIMES_WHAT_IT_TOOK), ended)
