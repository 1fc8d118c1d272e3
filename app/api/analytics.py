"""`/analytics`: figures of all processes over an hour, a day or seven, errors, alerts, the cache, and health.

For the operator: all of it is of the whole installation. What was counted and timed is kept by the minute
(workers/analytics.py); what batches have done is summed from what is recorded, so it is the same here, in `/metrics`
and in the batch objects. docs/analytics.md says more.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api import cached
from app.api.auth import Operator
from app.api.cached import OfTenant, Prefix
from app.api.dependencies import readiness
from app.api.figures import Window, error_counts, figures
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from app.api.shapes_analytics import AnalyticsAlerts, AnalyticsErrors, AnalyticsHealth, AnalyticsStats
from app.api.shapes_work import CacheCleared, CacheState
from app.api.spec import gives
from workers.store.alerts import State, rules_shown, shown
from workers.store.mongo import STORE_TROUBLE

Doc = dict[str, Any]
# A tick is due every five seconds.
BEAT_SILENT_S = 60.0
router = APIRouter(prefix="/analytics", tags=["analytics"])


@router.get("/stats", name="sum_figures", responses=gives(AnalyticsStats))
async def stats(request: Request, _: Operator, behind: Behind, window: Window = "1h") -> Response:
    """Requests by endpoint, calls by provider, and what batches did, over a window; and what stands now.

    `enabled` is false where monitoring.enabled is off: then nothing is kept, and figures of requests and calls are
    empty.
    """
    in_progress = request.app.state.watched.in_progress
    return json_reply(await behind.run(figures, behind, window, in_progress))


@router.get("/errors", name="list_errors", responses=gives(AnalyticsErrors))
async def errors(
    _: Operator,
    behind: Behind,
    window: Window = "1h",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """Errors by code, the most frequent first: of the API, of calls to providers, and of items of batches.

    There are codes and counts here, and no words of a request, which might be anybody's. Items count by the time at
    which their batch was made.
    """
    return json_reply(await behind.run(error_counts, behind, window, limit))


@router.get("/alerts", name="list_alerts", responses=gives(AnalyticsAlerts))
async def alerts(
    _: Operator,
    behind: Behind,
    state: State = "all",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Alerts that fire, and those of the last days, with what to do; and the rules they go by."""
    settings, found = behind.settings, await behind.run(behind.stores.alerts.page, state, limit=limit)
    head = {"object": "analytics.alerts", "enabled": settings.monitoring.enabled}
    return json_reply(head | {"data": [shown(doc) for doc in found], "rules": rules_shown(settings.alerts)})


@router.get("/cache", name="describe_cache_for_analytics", responses=gives(CacheState))
async def cache(_: Operator, behind: Behind) -> Response:
    """The same as GET /v1/cache: hits, misses, memory and entries."""
    return json_reply(await cached.state_of(behind))


@router.delete("/cache", name="clear_cache_for_analytics", responses=gives(CacheCleared, 404))
async def clear(tenant: Operator, behind: Behind, prefix: Prefix = None, of: OfTenant = None) -> Response:
    """The same as DELETE /v1/cache: forget answers."""
    return await cached.clear(tenant, behind, prefix, of)


@router.get("/health", name="check_health", responses=gives(AnalyticsHealth))
async def health(_: Operator, behind: Behind) -> Response:
    """Every server this installation needs with its round trip, workers, beat, the disk, and alerts that fire."""
    seen = await behind.dependencies.look()
    ready, now = readiness(seen, stopping=behind.stopping.is_set()), time.monotonic()
    reasons = [f"{name} is down" for name, each in seen.items() if each.state != "up"]
    found: Doc = {"workers": None, "beat": None, "disk": None, "alerts_firing": {}}
    if seen["mongodb"].state == "up":
        try:
            found = await behind.run(known, behind)
        except STORE_TROUBLE as error:
            reasons.append(f"mongodb refuses: {type(error).__name__}")
    reasons += _looks_bad(found)
    no_worker = found["workers"] is None or not found["workers"]["alive"]
    status = "unhealthy" if ready == "not_ready" or no_worker else "degraded" if reasons else "healthy"
    services = {name: each.as_dict(now) for name, each in seen.items()}
    head = {"object": "analytics.health", "status": status, "reasons": reasons, "dependencies": services}
    return json_reply(head | found)


def known(behind: Services) -> Doc:
    """What MongoDB says of workers, beat, its disk and alerts."""
    beats, small = behind.workers.beats(), behind.settings.profile == "small"
    silent_s = None if small else behind.stores.chores.beat_silent_s()
    alive = sum(beat.alive for beat in beats)
    return {
        "workers": {"alive": alive, "silent": len(beats) - alive},
        "beat": {"silent_s": None if silent_s is None else round(silent_s, 1)},
        "disk": _disk(behind),
        # Where nobody evaluates them, what fired last would fire for ever.
        "alerts_firing": behind.stores.alerts.firing() if behind.settings.monitoring.enabled else {},
    }


def _disk(behind: Services) -> Doc | None:
    use, bounds = behind.disk.seen, behind.settings.disk
    if use is None:
        return None
    head = {"percent": round(use.percent, 1), "free_bytes": use.free_bytes}
    return head | {"warn_percent": bounds.warn_percent, "stop_percent": bounds.stop_percent}


def _looks_bad(found: Doc) -> list[str]:
    """Why somebody should look, beside servers that are down."""
    reasons = [] if found["workers"] is None or found["workers"]["alive"] else ["no worker lives"]
    silent_s = found["beat"]["silent_s"] if found["beat"] else None
    if silent_s is not None and silent_s > BEAT_SILENT_S:
        reasons.append(f"beat is silent for {silent_s:g} s")
    disk = found["disk"]
    if disk is not None and disk["percent"] > disk["warn_percent"]:
        reasons.append(f"the disk is {disk['percent']:g} % full")
    return reasons + [f"alert {rule} fires" for rule in sorted(found["alerts_firing"])]
