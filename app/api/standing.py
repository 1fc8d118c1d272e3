"""The figures of `/metrics` that no process has counted: what is recorded and what stands now, as samples.

Each part is looked at anew at most every five seconds, however many scrapers ask, and a part that takes long is good
for twenty times as long. What hangs holds up no page: it is left out of it until its look has ended, and what failed
is asked again after five seconds, however long it took to fail.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.api.services import Services
from workers import metrics_kept as kept
from workers.celery_config import PLAN_QUEUE, SCHEDULES_QUEUE, batch_queue
from workers.core.errors import StoreUnavailable
from workers.core.lanes import LimitState, Rates
from workers.core.recorded import Row, never_less
from workers.exposition import Sample
from workers.store.limit_state import read_state
from workers.store.mongo import STORE_TROUBLE
from workers.store.recorded_totals import RecordedTotals
from workers.store.redis import REDIS_DOWN, connect
from workers.store.standing import Standing, Stands
from workers.store.worker_processes import Beat

FRESH_S = 5.0
WITHIN_S = 2.0
_TIMES_WHAT_IT_TOOK = 20.0
# Lines that we refused ourselves are no provider's.
_NOBODY = "none"
_STATES = ("closed", "half-open", "open")
log = logging.getLogger("batchwright.api")
T = TypeVar("T")

_TOKENS: Mapping[str, str] = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cached_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
}


@dataclass(frozen=True, slots=True)
class Beats:
    """The last signs of worker and of API processes."""

    workers: Sequence[Beat]
    apis: Sequence[Beat]


class Part(Generic[T]):
    """One look that serves everybody who asks within its time.

    `nothing` stands for what cannot be had now. With `fresh_s` 0 each who asks gets a look that ends after that. What
    `lasts` is shown while a look takes long; else only what that finds.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], Awaitable[T]],
        nothing: T,
        *,
        fresh_s: float = FRESH_S,
        lasts: bool = False,
        within_s: float = WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._look, self._nothing = name, look, nothing
        self._fresh_s, self._lasts, self._within_s, self._clock = fresh_s, lasts, within_s, clock
        self._kept = nothing
        self._good_until = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def now(self) -> T:
        """What it found, `fresh_s` old at most unless looking takes long."""
        if self._clock() >= self._good_until:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._renew())
            await asyncio.wait({self._looking}, timeout=self._within_s)
            if not self._looking.done() and not self._lasts:
                return self._nothing
        return self._kept

    async def _renew(self) -> None:
        began, times = self._clock(), _TIMES_WHAT_IT_TOOK if self._fresh_s else 0.0
        kept = self._nothing
        try:
            kept = await self._look()
        except (*STORE_TROUBLE, *REDIS_DOWN, StoreUnavailable) as error:
            log.warning("metrics without %s: %s", self._name, type(error).__name__)
            times = 0.0
        except Exception:
            log.exception("metrics without %s", self._name)
            times = 0.0
        now = self._clock()
        self._kept, self._good_until = kept, now + max(self._fresh_s, (now - began) * times)


class WhatStands:
    """All parts: `samples` for one page. Without `monitoring.enabled`, only what is recorded."""

    def __init__(self, services: Services, *, within_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._services, self._totals = services, RecordedTotals(services.db)
        self._standing, self._recorded = Standing(services.db), dict[str, Row]()

        def part(
            name: str, look: Callable[[], Awaitable[Sequence[Sample]]], *, lasts: bool = False
        ) -> Part[Sequence[Sample]]:
            return Part(name, look, (), lasts=lasts, within_s=within_s)

        self._recorded_part = part("what is recorded", self._look_at_totals, lasts=True)
        self._parts = (
            part("what stands", self._look_at_stands),
            part("queues", self._look_at_queues),
            part("limits", self._look_at_limits),
        )
        self._beats = Part[Beats | None](
            "other processes", self._look_at_beats, None, fresh_s=0.0, within_s=within_s
        )

    async def beats(self) -> Beats | None:
        """The last signs of all processes; None where MongoDB does not tell them in time."""
        return await self._beats.now()

    async def samples(self) -> list[Sample]:
        """Every figure that can be had now."""
        parts = self._parts if self._services.settings.monitoring.enabled else ()
        found = await asyncio.gather(*(part.now() for part in (self._recorded_part, *parts)))
        return [sample for each in found for sample in each]

    async def _look_at_beats(self) -> Beats:
        workers, apis = self._services.workers, self._services.own
        return await self._services.run(lambda: Beats(workers.beats(), apis.processes.beats()))

    async def _look_at_totals(self) -> list[Sample]:
        found = await self._services.run(self._totals.read)
        self._recorded = never_less(self._recorded, found)
        return list(of_recorded(self._recorded))

    async def _look_at_stands(self) -> list[Sample]:
        names = [provider.name for provider in self._services.settings.providers]
        return list(of_stands(await self._services.run(self._standing.look, names, time.time())))

    async def _look_at_queues(self) -> list[Sample]:
        providers = self._services.settings.providers
        queues = [PLAN_QUEUE, SCHEDULES_QUEUE, *(batch_queue(provider.name) for provider in providers)]
        depths = await self._services.run(self._depths, queues)
        return [(kept.QUEUE_MESSAGES, (queue,), depth) for queue, depth in depths.items()]

    def _depths(self, queues: Iterable[str]) -> dict[str, int]:
        return {queue: self._services.queue.depth(queue) for queue in queues}

    async def _look_at_limits(self) -> list[Sample]:
        settings = self._services.settings
        url, samples = str(settings.servers.redis_url), list[Sample]()
        try:
            # Shorter than a page waits: else a Redis that hangs would be left out of it, instead of told as down.
            within_s = self._within_s / 2
            async with connect(url, max_connections=1, timeout_s=within_s, repeats_late=False) as client:
                ping: Awaitable[object] = client.ping()
                await ping  # also where no provider is configured
                for provider in settings.providers:
                    limits = provider.limits
                    rates = Rates(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)
                    samples += of_limits(await read_state(client, provider.name, rates, 0.0))
        except REDIS_DOWN:
            return [(kept.CONTROL_REDIS_UP, (), 0)]
        return [(kept.CONTROL_REDIS_UP, (), 1), *samples]


def of_recorded(rows: Mapping[str, Row]) -> Iterator[Sample]:
    """What is recorded, by provider."""
    for provider, row in rows.items():
        at = (provider or _NOBODY,)
        yield kept.ITEMS, (*at, "completed"), row["items"] - row["failed"]
        yield kept.ITEMS, (*at, "failed"), row["failed"]
        yield kept.ITEMS, (*at, "never_ran"), row["never_ran"]
        yield kept.ITEMS_SHARED, (*at, "cache"), row["cached"]
        yield kept.ITEMS_SHARED, (*at, "coalesced"), row["coalesced"]
        yield kept.LLM_REQUESTS, at, row["calls"]
        yield kept.LLM_EXCESS, at, row["excess"] + row["possibly_repeated"]
        yield kept.POSSIBLY_REPEATED, at, row["possibly_repeated"]
        yield kept.ASKED_AGAIN, at, row["asks_again"]
        for kind, name in _TOKENS.items():
            yield kept.LLM_TOKENS, (*at, kind), row[name]
        yield kept.LLM_COST, at, row["cost_usd"]
        yield kept.LLM_SAVED, at, row["saved_usd"]
        yield kept.LLM_UNPRICED, at, row["unpriced"]


def of_stands(stands: Stands) -> Iterator[Sample]:
    """What stands now."""
    for (provider, status), shards in stands.shards.items():
        yield kept.SHARDS, (provider or _NOBODY, status), shards
    for provider, age_s in stands.oldest_due_s.items():
        yield kept.OLDEST_DUE, (provider or _NOBODY,), age_s
    for status, batches in stands.batches.items():
        yield kept.BATCHES, (status,), batches
    yield kept.BATCHES_TODAY, (), stands.batches_today
    yield kept.KEYS_TODAY, (), stands.keys_today
    yield kept.TENANTS_TODAY, (), stands.tenants_today
    yield kept.WEBHOOKS_WAITING, (), stands.deliveries
    yield kept.WEBHOOK_OLDEST, (), stands.oldest_delivery_s
    for rule, firing in stands.alerts.items():
        yield kept.ALERTS_FIRING, (rule,), firing
    if stands.beat_silent_s is not None:
        yield kept.BEAT_SILENT, (), stands.beat_silent_s


def of_limits(state: LimitState) -> Iterator[Sample]:
    """How a provider's limits stand."""
    at = (state.provider,)
    yield kept.CALLS_IN_FLIGHT, at, state.in_flight
    yield kept.LIMIT_WAIT, (*at, "requests"), state.request_wait_s
    yield kept.LIMIT_WAIT, (*at, "tokens"), state.token_wait_s
    yield kept.LIMIT_PAUSED, at, max(0.0, state.paused_s)
    for allowance in state.allowances:
        yield kept.LIMIT_LEFT, (*at, allowance.kind), allowance.left
        yield kept.LIMIT_SIZE, (*at, allowance.kind), allowance.limit
    lanes: Counter[str] = Counter(lane.breaker for lane in state.lanes)
    for name in _STATES:
        yield kept.BREAKER_LANES, (*at, name), lanes[name]
