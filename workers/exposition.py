"""A page for Prometheus from values: what a process has counted and is (vitals.py), and other figures.

The API's page (app/api/metrics.py) shows all processes and what is recorded; a worker that serves a page of its own
shows itself alone. What observed.py has counted needs no line here: its name says what it is (metrics.py).
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from config.secret import Secret
from workers import metrics
from workers.core.histogram import Histogram
from workers.metric import Metric
from workers.observed import Readings
from workers.vitals import ProviderVitals, Vitals

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
# One value of one metric, its labels in the metric's own order.
Sample = tuple[Metric, tuple[str, ...], float | Histogram]

_FAMILIES: Final = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
_BY_NAME: Final = {each.name: each for each in metrics.ALL}
_OF_CACHE: Final[Mapping[str, Metric]] = {
    "hits": metrics.CACHE_HITS,
    "misses": metrics.CACHE_MISSES,
    "late": metrics.CACHE_LATE,
    "kept": metrics.CACHE_KEPT,
    "too_large": metrics.CACHE_TOO_LARGE,
    "corrupt": metrics.CACHE_CORRUPT,
    "early": metrics.CACHE_EARLY,
}
# Shown before the first is counted: a series that begins with what was counted has not grown, and no alert fires.
_FROM_ZERO: Final = (
    metrics.LEASES_LOST,
    metrics.SHARDS_RESCUED,
    metrics.SCHEDULES_MISSED,
    metrics.RECORD_FLUSHED,
    metrics.RECORD_FLUSHED_BYTES,
)
_OF_OWN: Final[Mapping[str, Metric]] = {
    "cpu_s": metrics.CPU_SECONDS,
    "open_files": metrics.OPEN_FILES,
    "open_files_limit": metrics.OPEN_FILES_MOST,
}
# With the labels that stand before the process's.
_OF_MACHINE: Final[Mapping[str, tuple[Metric, tuple[str, ...]]]] = {
    "cpu_s": (metrics.MACHINE_CPU, ()),
    "cores": (metrics.MACHINE_CORES, ()),
    "memory_total": (metrics.MACHINE_MEMORY, ("total",)),
    "memory_available": (metrics.MACHINE_MEMORY, ("available",)),
    "disk_total": (metrics.MACHINE_DISK, ("total",)),
    "disk_free": (metrics.MACHINE_DISK, ("free",)),
    "network_sent": (metrics.MACHINE_NETWORK, ("sent",)),
    "network_received": (metrics.MACHINE_NETWORK, ("received",)),
}


def may_read(authorization: str | None, token: Secret | None) -> bool:
    """Whether who sends this header may read pages for which this token is set; None: everybody may."""
    if token is None:
        return True
    scheme, _, given = (authorization or "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.reveal().encode())
    return same and scheme.lower() == "bearer"


def page_of(samples: Iterable[Sample], accept: str = "") -> tuple[bytes, str]:
    """These values in the format that the header `Accept` asks for, and its content type."""
    encode, content_type = choose_encoder(accept)
    return encode(_Page(samples)), content_type


def page_of_process(vitals: Vitals, accept: str = "") -> tuple[bytes, str]:
    """The page that a process serves of itself alone."""
    return page_of(samples_of(vitals, vitals.process), accept)


def samples_of(vitals: Vitals, process: str, *, now_s: float | None = None) -> Iterator[Sample]:
    """All that one process says of itself, under this name. `now_s`: Unix time, by default the clock's."""
    at = (process,)
    now_s = time.time() if now_s is None else now_s
    yield metrics.BUILD_INFO, (vitals.version, vitals.python, process), 1
    yield metrics.PROCESS_STARTED, at, vitals.started_at
    yield metrics.UPTIME, at, max(0.0, now_s - vitals.started_at)
    yield metrics.RESIDENT_BYTES, at, vitals.resident_bytes
    yield metrics.LOOP_LAG, at, vitals.loop_lag_s
    for word, value in vitals.own.items():
        if word in _OF_OWN:
            yield _OF_OWN[word], at, value
    for word, value in vitals.machine.items():
        if word in _OF_MACHINE:
            metric, labels = _OF_MACHINE[word]
            yield metric, (*labels, process), value
    yield from _of_worker(vitals, process) if vitals.requests is None else _of_api(vitals, process)
    yield from _counted(vitals.observed, process)


def _of_api(vitals: Vitals, process: str) -> Iterator[Sample]:
    yield metrics.HTTP_IN_PROGRESS, (process,), vitals.requests or 0
    for kind, streams in vitals.streams.items():
        yield metrics.STREAMS, (kind, process), streams


def _of_worker(vitals: Vitals, process: str) -> Iterator[Sample]:
    at = (process,)
    yield metrics.WORKER_TRANSPORT, (process, vitals.transport), 1
    for word, metric in _OF_CACHE.items():
        yield metric, at, vitals.cache.get(word, 0)
    yield metrics.FLIGHTS_OWNED, at, vitals.flights_owned
    yield metrics.FLIGHTS_HELD, at, vitals.flights_held
    yield metrics.RECORD_RESULTS, at, vitals.record_buffer_results
    yield metrics.RECORD_BYTES, at, vitals.record_buffer_bytes
    yield metrics.RECORD_OLDEST, at, vitals.record_buffer_oldest_s
    for reason, refused in vitals.refused.items():
        yield metrics.MESSAGES_REFUSED, (reason, process), refused
    for metric in _FROM_ZERO:
        if (metric.name, ()) not in vitals.observed.counts:
            yield metric, at, 0
    for name, provider in vitals.providers.items():
        yield from _of_provider((name, process), provider)


def _of_provider(at: tuple[str, str], provider: ProviderVitals) -> Iterator[Sample]:
    client = provider.client
    yield metrics.CLIENT_REQUESTS, at, client.requests
    for protocol, answers in client.protocols.items():
        yield metrics.CLIENT_ANSWERS, (protocol, *at), answers
    for error, failures in client.failures.items():
        yield metrics.CLIENT_FAILURES, (error, *at), failures
    if client.connections is not None:
        yield metrics.CLIENT_CONNECTIONS, at, client.connections
    if client.connections_opened is not None:
        yield metrics.CLIENT_OPENED, at, client.connections_opened
    yield metrics.CLIENT_STREAMS, at, client.in_flight
    yield metrics.CLIENT_BYTES, ("sent", *at), client.bytes_sent
    yield metrics.CLIENT_BYTES, ("received", *at), client.bytes_received
    yield metrics.CLIENT_RETIRED, at, client.retired
    yield metrics.CALL_SLOTS, at, provider.slots
    yield metrics.CALL_SLOTS_IN_USE, at, provider.slots_in_use


def _counted(observed: Readings, process: str) -> Iterator[Sample]:
    for (name, labels), count in observed.counts.items():
        if (metric := _known(name, labels)) is not None and metric.kind == "counter":
            yield metric, (*labels, process), count
    for (name, labels), times in observed.times.items():
        if (metric := _known(name, labels)) is not None and metric.kind == "histogram":
            yield metric, (*labels, process), times


def _known(name: str, labels: tuple[str, ...]) -> Metric | None:
    """None for what another version of this program counts and this one does not know, or by other labels."""
    metric = _BY_NAME.get(name)
    return metric if metric is not None and len(metric.labels) == len(labels) + 1 else None


class _Page(Collector):
    """Made for one page and thrown away: no state of its own, no global one."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterable[Family]:
        """Every metric there is a value for, in the order of metrics.py."""
        families: dict[str, Family] = {}
        for metric, labels, value in self._samples:
            family = families.get(metric.name)
            if family is None:
                family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
                families[metric.name] = family
            if isinstance(family, HistogramMetricFamily) and isinstance(value, Histogram):
                family.add_metric(labels, _buckets(value), value.sum_s)
            elif not isinstance(family, HistogramMetricFamily) and not isinstance(value, Histogram):
                family.add_metric(labels, value)
        return [families[name] for name in _BY_NAME if name in families]


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    # `0.001`, `1.0`, `1000.0`: as OpenMetrics wants them, https://prometheus.io/docs/specs/om/open_metrics_spec/
    below = [(str(bound), float(count)) for bound, count in histogram.below()]
    return [*below, ("+Inf", float(histogram.count))]
