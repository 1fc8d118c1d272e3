"""`GET /metrics`, for Prometheus: all processes, what is recorded, and what stands now; `/metrics/targets`.

Every process writes its vital signs into MongoDB with each beat; this shows the last ones, and this process as it is
now. So any API process shows the same page. It names no batch, tenant, model or host, and is open like `/health` unless
a token is set (docs/metrics.md says more).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response

from app.api.errors import ApiError
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from app.api.shapes_metrics import Targets
from app.api.spec import gives, streams
from app.api.standing import Beats, WhatStands
from workers import metrics as named
from workers import metrics_kept as kept
from workers.exposition import Sample, may_read, page_of, samples_of
from workers.metric import Metric
from workers.store.worker_processes import Beat
from workers.vitals import Vitals

# `Accept` chooses.
_FORMATS = ("text/plain", "application/openmetrics-text")
router = APIRouter(tags=["server"])


@router.get("/metrics", responses=streams(*_FORMATS, 401, words="Metrics for Prometheus."))
async def metrics(request: Request, behind: Behind) -> Response:
    """The page, in the format the caller accepts. Without MongoDB it shows the process that was asked."""
    _refuse_strangers(request, behind)
    standing: WhatStands = request.app.state.standing
    beats, samples = await asyncio.gather(standing.beats(), standing.samples())
    if (disk := behind.disk.seen) is not None:
        samples.append((kept.DISK_USED, (), disk.ratio))
    # Of many workers it takes tens of milliseconds: not in the loop, nor behind calls that wait for MongoDB.
    page, content_type = await asyncio.to_thread(
        _page, beats, behind.own.vitals(), samples, request.headers.get("accept", "")
    )
    return Response(page, headers={"content-type": content_type, "cache-control": "no-store"})


@router.get("/metrics/targets", name="list_metrics_targets", responses=gives(Targets, 401))
async def targets(request: Request, behind: Behind) -> Response:
    """The workers' own pages, as Prometheus's http_sd wants them: those of living processes that serve one."""
    _refuse_strangers(request, behind)
    standing: WhatStands = request.app.state.standing
    beats = await standing.beats()
    found = [(beat.seat, vitals_of(beat)) for beat in (beats.workers if beats else ()) if beat.alive]
    shown = [
        {"targets": [vitals.http_address], "labels": {"process": seat}}
        for seat, vitals in found
        if vitals is not None and vitals.http_address
    ]
    return json_reply(shown)


def _refuse_strangers(request: Request, behind: Services) -> None:
    """A token of its own, where one is set: an API key in a scraper's configuration could spend money."""
    if not may_read(request.headers.get("authorization"), behind.settings.monitoring.metrics_token):
        text = "Send the token of the setting monitoring.metrics_token as `Authorization: Bearer TOKEN`."
        raise ApiError(401, text, code="invalid_metrics_token", headers={"www-authenticate": "Bearer"})


def _page(beats: Beats | None, own: Vitals, stands: list[Sample], accept: str) -> tuple[bytes, str]:
    return page_of([*of_processes(beats, own), *(stands if beats is not None else ())], accept)


def of_processes(beats: Beats | None, own: Vitals) -> Iterator[Sample]:
    """All processes by their last signs, and this one as it is now; `beats` None: MongoDB does not tell."""
    yield kept.MONGODB_UP, (), float(beats is not None)
    yield named.API_UP, (own.process,), 1
    yield from samples_of(own, own.process)
    if beats is None:
        return
    for beat in beats.workers:
        yield from _of_beat(beat, named.WORKER_UP)
    for beat in beats.apis:
        if beat.seat != own.process:
            yield from _of_beat(beat, named.API_UP)


def _of_beat(beat: Beat, up: Metric) -> Iterator[Sample]:
    yield up, (beat.seat,), float(beat.alive)
    vitals = vitals_of(beat) if beat.alive else None
    if vitals is not None:
        yield named.BEAT_AGE, (beat.seat,), beat.age_s
        yield from samples_of(vitals, beat.seat)


def vitals_of(beat: Beat) -> Vitals | None:
    """The vital signs in a beat; None where there are none, or only what another version understands."""
    if beat.stats is None:
        return None
    try:
        return Vitals.from_doc(beat.stats)
    except (TypeError, ValueError, KeyError):
        return None
