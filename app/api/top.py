"""`GET /v1/top`: what goes on at this moment in the whole installation, for `batchwright top` and other live views.

One look serves everybody who asks within a second, and a look that took long is good for ten times as long, so that
watching keeps the database busy for a tenth of the time at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api import top_signs
from app.api.auth import Operator
from app.api.json_reply import json_reply
from app.api.metrics import vitals_of
from app.api.services import Services
from app.api.shapes_top import Top
from app.api.spec import gives
from app.version import VERSION
from config.settings import Provider
from workers.core import glance
from workers.core.glance import Latencies, Paces, ProviderLook
from workers.core.histogram import Histogram
from workers.core.lanes import LimitState, Rates
from workers.core.pauses import Standing
from workers.core.progress import waiting_for
from workers.core.progress_helps import shown as shown_reason
from workers.core.progress_parts import Surroundings
from workers.core.tally import Tally, total
from workers.store.alerts import Alerts
from workers.store.alerts import shown as alert_shown
from workers.store.dispatches import Dispatches
from workers.store.glance import Glance
from workers.store.limit_state import read_state
from workers.store.redis import REDIS_DOWN, connect
from workers.store.worker_processes import Beat
from workers.vitals import Vitals

Doc = dict[str, Any]
FRESH_S = 1.0
MOST_BATCHES = 50
MOST_ALERTS = 20
_TIMES_WHAT_IT_TOOK = 10.0
_TODAY_FRESH_S = 5.0
_DAY_S = 86_400
_REDIS_WITHIN_S = 1.0
router = APIRouter(tags=["server"])


@router.get("/v1/top", name="look_at_all", responses=gives(Top))
async def top(request: Request, _: Operator) -> Response:
    """Batches that run, providers, workers, today's savings and firing alerts, over all tenants.

    Rates are of the last seconds and null at the first look.
    """
    look: TopLook = request.app.state.top
    return json_reply(await look.now())


@dataclass(frozen=True, slots=True)
class _Stores:
    """What MongoDB says: everything of one look but the rates and the limits."""

    batches: list[Doc]
    running: int
    names: Mapping[str, str]
    sums: Mapping[str, Mapping[str, Tally]]
    rows: list[Doc]
    beats: Sequence[Beat]
    around: Surroundings
    standing: Standing
    today: Mapping[str, Any]
    alerts: list[Doc]


class TopLook:
    """Makes the reply, once for all who wait for it."""

    def __init__(self, services: Services) -> None:
        self._services, self._glance = services, Glance(services.db)
        self._paces, self._latencies = Paces(), Latencies()
        self._kept: Doc = {}
        self._good_until = float("-inf")
        self._today: tuple[float, Mapping[str, Any]] = (float("-inf"), {})
        self._making: asyncio.Task[Doc] | None = None

    async def now(self) -> Doc:
        """The reply, a second old at most unless looking takes long."""
        if time.monotonic() < self._good_until:
            return self._kept
        if self._making is None:
            self._making = asyncio.create_task(self._look())
            self._making.add_done_callback(self._made)
        return await asyncio.shield(self._making)

    def _made(self, _: asyncio.Task[Doc]) -> None:
        self._making = None

    async def _look(self) -> Doc:
        began = time.monotonic()
        found, broker = await asyncio.gather(self._services.run(self._ask), self._services.broker.answers())
        vitals = {beat.seat: signs for beat in found.beats if beat.alive and (signs := vitals_of(beat))}
        rates = self._rates_by_provider(found, vitals)
        self._kept = self._reply(found, vitals, rates, await self._limits(rates), broker=broker)
        ended = time.monotonic()
        self._good_until = ended + max(FRESH_S, (ended - began) * _TIMES_WHAT_IT_TOOK)
        return self._kept

    def _ask(self) -> _Stores:
        behind = self._services
        lease_s = behind.settings.lease.lease_s
        batches, running = self._glance.running(MOST_BATCHES)
        dispatches, workers, standing = Dispatches(behind.db), behind.workers, behind.pauses.standing()
        around = Surroundings(
            workers.slots(),
            workers.owners(),
            standing,
            dispatches.at_their_limits(dispatches.providers_with_work()),
            lease_s=lease_s,
        )
        return _Stores(
            batches=batches,
            running=running,
            names=self._glance.names([doc["input_file_id"] for doc in batches]),
            sums=self._glance.sums([doc["_id"] for doc in batches]),
            rows=self._glance.open_shards(lease_s),
            beats=workers.beats(),
            around=around,
            standing=standing,
            today=self._of_today([doc["_id"] for doc in batches]),
            alerts=Alerts(behind.db).page("firing", limit=MOST_ALERTS)
            if behind.settings.monitoring.enabled
            else [],
        )

    def _of_today(self, without: Sequence[str]) -> Mapping[str, Any]:
        """Sums of the batches that have ended by now; those that run are summed with each look."""
        good_until, kept = self._today
        began = time.monotonic()
        if began < good_until and kept["without"] == without:
            return kept
        now_s = time.time()
        found = {**self._glance.made_since(now_s // _DAY_S * _DAY_S, without), "without": without}
        ended = time.monotonic()
        self._today = (ended + max(_TODAY_FRESH_S, (ended - began) * 2 * _TIMES_WHAT_IT_TOOK), found)
        return found

    def _rates_by_provider(self, found: _Stores, vitals: Mapping[str, Vitals]) -> dict[str, Rates]:
        """Every provider there is: those of the settings, of workers, and of shards; limits only where they are set."""
        served = {name for signs in vitals.values() for name in signs.providers}
        names = {*served, *(row["provider"] for row in found.rows)} - {""}
        settings = {each.name: _rates(each) for each in self._services.settings.providers}
        return {name: settings.get(name, Rates()) for name in sorted({*names, *settings})}

    async def _limits(self, rates: Mapping[str, Rates]) -> dict[str, LimitState] | None:
        """How the limits stand; None while the control Redis does not answer."""
        url = self._services.settings.servers.redis_url
        if url is None:
            return None
        try:
            async with connect(
                url, max_connections=1, timeout_s=_REDIS_WITHIN_S, repeats_late=False
            ) as redis:
                await redis.ping()  # also where no provider is named here
                return {name: await read_state(redis, name, each, 0.0) for name, each in rates.items()}
        except REDIS_DOWN:
            return None

    def _reply(
        self,
        found: _Stores,
        vitals: Mapping[str, Vitals],
        rates: Mapping[str, Rates],
        limits: Mapping[str, LimitState] | None,
        *,
        broker: bool,
    ) -> Doc:
        now = datetime.now(UTC)
        self._note_paces(found, vitals)
        today = [
            each
            for doc in found.batches
            if _is_of_today(doc, now)
            for each in found.sums.get(doc["_id"], {}).values()
        ]
        away = [*(["control redis"] if limits is None else []), *([] if broker else ["broker"])]
        return {
            "object": "top",
            "at": round(now.timestamp(), 3),
            "version": VERSION,
            "batches_running": found.running,
            "batches": self._batches(found, now),
            "providers": self._providers(found, vitals, rates, limits or {}, now),
            "workers": [self._worker(beat, vitals.get(beat.seat)) for beat in found.beats],
            "savings": glance.savings_of(found.today, today),
            "alerts": [_alert(each) for each in found.alerts],
            "away": away,
        }

    def _note_paces(self, found: _Stores, vitals: Mapping[str, Vitals]) -> None:
        done: dict[Hashable, int] = top_signs.cpu_ms(vitals)
        for doc in found.batches:
            by_provider = found.sums.get(doc["_id"], {})
            done[doc["_id"]] = sum(each.recorded for each in by_provider.values())
            for provider, each in by_provider.items():
                done[doc["_id"], provider, "calls"] = each.calls
                done[doc["_id"], provider, "tokens"] = each.input_tokens + each.output_tokens
        self._paces.look(time.monotonic(), done)

    def _worker(self, beat: Beat, vitals: Vitals | None) -> Doc:
        cpu = None if vitals is None else self._paces.per_second(top_signs.cpu_key(beat.seat, vitals))
        return top_signs.worker_row(beat, vitals, cpu)

    def _batches(self, found: _Stores, now: datetime) -> list[Doc]:
        rows: dict[str, list[Doc]] = {}
        for row in found.rows:
            rows.setdefault(row["batch_id"], []).append(row)
        return [
            glance.batch_row(
                doc,
                found.names.get(doc["input_file_id"], ""),
                total(found.sums.get(doc["_id"], {}).values()),
                self._paces.per_second(doc["_id"]),
                [
                    shown_reason(why, doc)
                    for why in waiting_for(doc, rows.get(doc["_id"], []), found.around, now)
                ],
            )
            for doc in found.batches
        ]

    def _providers(
        self,
        found: _Stores,
        vitals: Mapping[str, Vitals],
        rates: Mapping[str, Rates],
        limits: Mapping[str, LimitState],
        now: datetime,
    ) -> list[Doc]:
        latencies = self._latencies.look(time.monotonic(), top_signs.times(vitals))
        rows = []
        for name, allowed in rates.items():
            speeds = [
                self._paces.sum_per_second((doc["_id"], name, what) for doc in found.batches)
                for what in ("calls", "tokens")
            ]
            look = ProviderLook(
                name,
                [row for row in found.rows if row["provider"] == name],
                top_signs.hands(vitals, name),
                allowed,
                limits.get(name),
                found.standing.providers.get(name),
                latencies.get(name, Histogram()),
                *speeds,
            )
            rows.append(glance.provider_row(look, now))
        return rows


def _rates(provider: Provider) -> Rates:
    limits = provider.limits
    return Rates(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)


def _alert(doc: Doc) -> Doc:
    said = alert_shown(doc)
    about = f" of {said['subject']}" if said["subject"] else ""
    text = f"{said['measure']}{about} is {said['value']:g}, {said['bad']} {said['threshold']:g}"
    return {"name": said["rule"], "text": text, "since": said["since"]}


def _is_of_today(doc: Mapping[str, Any], now: datetime) -> bool:
    return float(doc["created_at"]) // _DAY_S == now.timestamp() // _DAY_S
