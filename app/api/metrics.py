"""`GET /metrics`: what the worker processes say of themselves, for Prometheus.

Every worker writes its vital signs into MongoDB with each beat; this only shows the last ones, so any API process
shows the same page. Open like `/health`: it names no batch, tenant, model or host (docs/metrics.md says more).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fastapi import APIRouter, Request, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.api.services import Behind, Services
from app.api.spec import streams
from workers import metrics as named
from workers.metrics import Metric
from workers.store.mongo import MONGO_DOWN
from workers.store.worker_processes import Beat
from workers.vitals import ProviderVitals, Vitals

Family = CounterMetricFamily | GaugeMetricFamily
# One value of one metric, its labels in the metric's own order.
Sample = tuple[Metric, tuple[str, ...], float]

# `Accept` chooses.
_FORMATS = ("text/plain", "application/openmetrics-text")
log = logging.getLogger("batchwright.api")
router = APIRouter(tags=["server"])


@router.get("/metrics", responses=streams(*_FORMATS, words="Metrics for Prometheus."))
async def metrics(request: Request, behind: Behind) -> Response:
    """The page, in the format the caller accepts. Without MongoDB it says just that."""
    page, content_type = await behind.run(_page, behind, request.headers.get("accept", ""))
    return Response(page, headers={"content-type": content_type, "cache-control": "no-store"})


def _page(behind: Services, accept: str) -> tuple[bytes, str]:
    beats: Sequence[Beat] | None = None
    try:
        beats = behind.workers.beats()
    except MONGO_DOWN as error:
        log.warning("metrics without workers: %s", type(error).__name__)
    disk = behind.disk.seen if beats is not None else None
    return page(beats, accept, disk_ratio=disk.ratio if disk is not None else None)


def page(
    beats: Sequence[Beat] | None, accept: str = "", *, disk_ratio: float | None = None
) -> tuple[bytes, str]:
    """Beats and the fill of the disk as text, and its content type; None where MongoDB does not tell."""
    encode, content_type = choose_encoder(accept)
    return encode(WorkerMetrics(beats, disk_ratio)), content_type


class WorkerMetrics(Collector):
    """The metrics of these processes. Made for one page and thrown away: no state of its own, no global one."""

    def __init__(self, beats: Sequence[Beat] | None, disk_ratio: float | None = None) -> None:
        self._beats, self._disk_ratio = beats, disk_ratio

    def collect(self) -> Iterable[Family]:
        """Every metric there is a value for."""
        families: dict[Metric, Family] = {}
        for metric, labels, value in self._samples():
            family = families.get(metric)
            if family is None:
                family = families[metric] = _family(metric)
            family.add_metric(labels, value)
        return families.values()

    def _samples(self) -> Iterator[Sample]:
        yield named.MONGODB_UP, (), float(self._beats is not None)
        if self._disk_ratio is not None:
            yield named.DISK_USED, (), self._disk_ratio
        for beat in self._beats or ():
            yield named.WORKER_UP, (beat.seat,), float(beat.alive)
            vitals = vitals_of(beat) if beat.alive else None
            if vitals is not None:
                yield named.WORKER_BEAT_AGE, (beat.seat,), beat.age_s
                yield from _of_process(beat.seat, vitals)
                for name, provider in vitals.providers.items():
                    yield from _of_provider((name, beat.seat), provider)


def vitals_of(beat: Beat) -> Vitals | None:
    """The vital signs in a beat; None where there are none, or only what another version understands."""
    if beat.stats is None:
        return None
    try:
        return Vitals.from_doc(beat.stats)
    except (TypeError, ValueError, KeyError):
        return None


def _family(metric: Metric) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)


_OF_CACHE: Mapping[str, Metric] = {
    "hits": named.CACHE_HITS,
    "misses": named.CACHE_MISSES,
    "kept": named.CACHE_KEPT,
    "too_large": named.CACHE_TOO_LARGE,
    "corrupt": named.CACHE_CORRUPT,
    "early": named.CACHE_EARLY,
}


def _of_process(seat: str, vitals: Vitals) -> Iterator[Sample]:
    process = (seat,)
    yield named.WORKER_TRANSPORT, (seat, vitals.transport), 1
    yield named.WORKER_STARTED, process, vitals.started_at
    yield named.RESIDENT_BYTES, process, vitals.resident_bytes
    yield named.LOOP_LAG, process, vitals.loop_lag_s
    for word, metric in _OF_CACHE.items():
        yield metric, process, vitals.cache.get(word, 0)
    yield named.FLIGHTS_OWNED, process, vitals.flights_owned
    yield named.FLIGHTS_HELD, process, vitals.flights_held
    yield named.RECORD_RESULTS, process, vitals.record_buffer_results
    yield named.RECORD_BYTES, process, vitals.record_buffer_bytes
    yield named.RECORD_OLDEST, process, vitals.record_buffer_oldest_s
    for reason, refused in vitals.refused.items():
        yield named.MESSAGES_REFUSED, (reason, seat), refused


def _of_provider(at: tuple[str, str], provider: ProviderVitals) -> Iterator[Sample]:
    client = provider.client
    yield named.CLIENT_REQUESTS, at, client.requests
    for protocol, answers in client.protocols.items():
        yield named.CLIENT_ANSWERS, (protocol, *at), answers
    for error, failures in client.failures.items():
        yield named.CLIENT_FAILURES, (error, *at), failures
    if client.connections is not None:
        yield named.CLIENT_CONNECTIONS, at, client.connections
    if client.connections_opened is not None:
        yield named.CLIENT_OPENED, at, client.connections_opened
    yield named.CLIENT_STREAMS, at, client.in_flight
    yield named.CLIENT_BYTES, ("sent", *at), client.bytes_sent
    yield named.CLIENT_BYTES, ("received", *at), client.bytes_received
    yield named.CLIENT_RETIRED, at, client.retired
    yield named.CALL_SLOTS, at, provider.slots
    yield named.CALL_SLOTS_IN_USE, at, provider.slots_in_use
