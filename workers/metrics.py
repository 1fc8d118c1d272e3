"""The names of all metrics, with their labels and meaning: the one place where a metric is named.

Counters and histograms are counted in observed.py; app/api/metrics.py fills in all for `/metrics`, docs/metrics.md
lists them, and a test holds the two together.
Names and base units follow https://prometheus.io/docs/practices/naming/. Labels are bounded: names of providers,
protocols, error classes, routes and seats of worker processes; never an id, a model or a host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; a counter's name ends in `_total` and its value only grows while its process lives.

    A histogram is one of durations in seconds, by the bounds of core/histogram.py.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


_PROCESS = ("process",)
_PROVIDER = ("provider", "process")

MONGODB_UP: Final = Metric(
    "batchwright_mongodb_up", "gauge", "1 if MongoDB answered this scrape; without it no worker is shown."
)
DISK_USED: Final = Metric(
    "batchwright_disk_used_ratio", "gauge", "How full the disk of MongoDB is, 0 to 1, where its server tells."
)
WORKER_UP: Final = Metric(
    "batchwright_worker_up", "gauge", "1 if the process lives, 0 once it is silent for 10 s.", _PROCESS
)
WORKER_TRANSPORT: Final = Metric(
    "batchwright_worker_transport", "gauge", "1 for the HTTP client in use.", ("process", "transport")
)
WORKER_STARTED: Final = Metric(
    "batchwright_worker_start_time_seconds", "gauge", "Start of the process, Unix time.", _PROCESS
)
WORKER_BEAT_AGE: Final = Metric(
    "batchwright_worker_beat_age_seconds", "gauge", "Age of the figures of this process.", _PROCESS
)
RESIDENT_BYTES: Final = Metric(
    "batchwright_process_resident_bytes", "gauge", "Resident memory of the process.", _PROCESS
)
LOOP_LAG: Final = Metric(
    "batchwright_loop_lag_seconds", "gauge", "How late a timer of the process's event loop was.", _PROCESS
)

HTTP_REQUESTS: Final = Metric(
    "batchwright_requests_total",
    "counter",
    "Requests the API has answered, by route and status.",
    ("method", "endpoint", "status"),
)
HTTP_SECONDS: Final = Metric(
    "batchwright_request_duration_seconds",
    "histogram",
    "From a request's head to the last byte of its answer.",
    ("method", "endpoint"),
)

CLIENT_REQUESTS: Final = Metric(
    "batchwright_client_requests_total", "counter", "Requests sent to the provider.", _PROVIDER
)
CLIENT_ANSWERS: Final = Metric(
    "batchwright_client_answers_total",
    "counter",
    "Answers by protocol, whatever their status.",
    ("protocol", *_PROVIDER),
)
CLIENT_FAILURES: Final = Metric(
    "batchwright_client_failures_total",
    "counter",
    "Requests without an HTTP answer, by class of error; `cancelled` is one of them.",
    ("error", *_PROVIDER),
)
CLIENT_CONNECTIONS: Final = Metric(
    "batchwright_client_connections", "gauge", "Open connections, where the client can tell.", _PROVIDER
)
CLIENT_OPENED: Final = Metric(
    "batchwright_client_connections_opened_total",
    "counter",
    "Connections made, where the client can tell.",
    _PROVIDER,
)
CLIENT_STREAMS: Final = Metric(
    "batchwright_client_streams_in_flight", "gauge", "Requests under way.", _PROVIDER
)
CLIENT_BYTES: Final = Metric(
    "batchwright_client_bytes_total",
    "counter",
    "Bytes of bodies before compression, `sent` or `received`.",
    ("direction", *_PROVIDER),
)
CLIENT_RETIRED: Final = Metric(
    "batchwright_client_retired_total",
    "counter",
    "Clients replaced because their connection could not be trusted any more.",
    _PROVIDER,
)
CALL_SLOTS: Final = Metric("batchwright_call_slots", "gauge", "Calls at once, at most.", _PROVIDER)
CALL_SLOTS_IN_USE: Final = Metric("batchwright_call_slots_in_use", "gauge", "Call slots taken.", _PROVIDER)

CACHE_HITS: Final = Metric("batchwright_cache_hits_total", "counter", "Answers found in the cache.", _PROCESS)
CACHE_MISSES: Final = Metric(
    "batchwright_cache_misses_total", "counter", "Look-ups that found no answer.", _PROCESS
)
CACHE_KEPT: Final = Metric("batchwright_cache_kept_total", "counter", "Answers put into the cache.", _PROCESS)
CACHE_TOO_LARGE: Final = Metric(
    "batchwright_cache_too_large_total", "counter", "Answers over the bound, which were not kept.", _PROCESS
)
CACHE_CORRUPT: Final = Metric(
    "batchwright_cache_corrupt_total", "counter", "Entries that could not be read; misses as well.", _PROCESS
)
CACHE_EARLY: Final = Metric(
    "batchwright_cache_early_total", "counter", "Answers asked for anew before they expire.", _PROCESS
)
FLIGHTS_OWNED: Final = Metric(
    "batchwright_flights_owned", "gauge", "Questions asked once for all who ask the same.", _PROCESS
)
FLIGHTS_HELD: Final = Metric(
    "batchwright_flights_held", "gauge", "Those of them held in Redis for all processes.", _PROCESS
)
RECORD_RESULTS: Final = Metric(
    "batchwright_record_buffer_results", "gauge", "Results that wait for MongoDB.", _PROCESS
)
RECORD_BYTES: Final = Metric(
    "batchwright_record_buffer_bytes", "gauge", "Bytes of the results that wait for MongoDB.", _PROCESS
)
RECORD_OLDEST: Final = Metric(
    "batchwright_record_buffer_oldest_seconds", "gauge", "How long the first of them has waited.", _PROCESS
)
MESSAGES_REFUSED: Final = Metric(
    "batchwright_messages_refused_total",
    "counter",
    "Messages from the broker that were no task of ours, or not in its form, and were dropped.",
    ("reason", "process"),
)

# In the order of the page.
ALL: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
