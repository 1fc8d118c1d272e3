"""The names of all metrics, with their labels and meaning: the one place where a metric is named, with metrics_kept.py.

exposition.py fills them in for `/metrics`, docs/metrics.md lists them, and a test holds the three together. Where a
figure comes from:

    what is recorded     metrics_kept.py, store/recorded_totals.py: exact, and the same after any kill
    what stands now      metrics_kept.py, store/standing.py: asked when a page is made
    what a process saw   here, observed.py: one line where something is seen
    what a process is    here, vitals.py, with each beat

Names and base units follow https://prometheus.io/docs/practices/naming/. Labels are bounded: names of providers,
protocols, error classes, routes and seats of processes; never an id, a tenant, a model or a host.
"""

from __future__ import annotations

from typing import Final

from workers.metric import Metric, counter, gauge, times
from workers.metrics_kept import KEPT

_PROVIDER = ("provider", "process")

# --- what a process saw: the API

HTTP_REQUESTS: Final = counter(
    "batchwright_requests_total",
    "Requests the API has answered, by route and status.",
    *("method", "endpoint", "status", "process"),
)
HTTP_SECONDS: Final = times(
    "batchwright_request_duration_seconds",
    "From a request's head to the last byte of its answer.",
    *("method", "endpoint", "process"),
)
ERRORS: Final = counter(
    "batchwright_errors_total",
    "Requests that failed, by route: client (4xx), server (5xx), broken_off (no answer).",
    *("kind", "endpoint", "process"),
)
KEY_USES: Final = counter(
    "batchwright_api_key_uses_total", "Requests with an API key: accepted or refused.", "outcome", "process"
)
WEBHOOK_ATTEMPTS: Final = counter(
    "batchwright_webhook_attempts_total",
    "Attempts at a delivery: delivered, failed (another one follows), given_up.",
    *("outcome", "process"),
)
WEBHOOK_SECONDS: Final = times(
    "batchwright_webhook_duration_seconds", "How long attempts at a delivery took.", "process"
)

# --- what a process saw: calls and what decides about them

LLM_SECONDS: Final = times(
    "batchwright_llm_request_duration_seconds",
    "How long calls took: ok, rate_limited, overloaded, refused, unusable, timeout, broken, engine.",
    *("provider", "outcome", "process"),
)
LIMITER_WAITS: Final = counter(
    "batchwright_limiter_waits_total",
    "Times that calls were told to wait, by what for; `pace`: granted for a moment ahead.",
    *("provider", "reason", "process"),
)
LIMITER_WAIT_SECONDS: Final = counter(
    "batchwright_limiter_wait_seconds_total",
    "How long they were told to wait, summed over the calls.",
    *("provider", "reason", "process"),
)
FLIGHTS: Final = counter(
    "batchwright_flights_total",
    "Questions that missed the cache: own (asked by us), wait (another process asks), see (recorded by then).",
    *("verdict", "process"),
)
CACHE_HITS: Final = counter("batchwright_cache_hits_total", "Answers found in the cache.", "process")
CACHE_MISSES: Final = counter("batchwright_cache_misses_total", "Look-ups that found no answer.", "process")
CACHE_LATE: Final = counter(
    "batchwright_cache_late_hits_total", "Misses that found an answer when they looked again.", "process"
)
CACHE_KEPT: Final = counter("batchwright_cache_kept_total", "Answers put into the cache.", "process")
CACHE_TOO_LARGE: Final = counter(
    "batchwright_cache_too_large_total", "Answers over the bound, which were not kept.", "process"
)
CACHE_CORRUPT: Final = counter(
    "batchwright_cache_corrupt_total", "Entries that could not be read; misses as well.", "process"
)
CACHE_EARLY: Final = counter(
    "batchwright_cache_early_total", "Answers asked for anew before they expire.", "process"
)
WARM_REFRESHES: Final = counter(
    "batchwright_warm_refreshes_total",
    "Answers that are found most, near their end: `asked` for anew, `over_budget`, or `unreadable`.",
    *("outcome", "process"),
)
MODEL_PREWARMS: Final = counter(
    "batchwright_model_prewarms_total",
    "Models loaded ahead of their first call: `loaded`, `failed` or `unreachable`.",
    *("provider", "outcome", "process"),
)

# --- what a process saw: shards, records and upkeep

SHARD_SECONDS: Final = times(
    "batchwright_shard_duration_seconds",
    "How long a worker had a shard, by how it left: done, parked, released, lease_lost and others.",
    *("provider", "outcome", "process"),
)
SHARDS_DISPATCHED: Final = counter(
    "batchwright_shards_dispatched_total", "Shards sent to Celery's queues.", "provider", "process"
)
PLAN_SECONDS: Final = times("batchwright_plan_duration_seconds", "How long planning a batch took.", "process")
RECORD_SECONDS: Final = times(
    "batchwright_record_flush_duration_seconds", "How long MongoDB took to record a buffer.", "process"
)
RECORD_FLUSHED: Final = counter("batchwright_record_results_total", "Results recorded by flushes.", "process")
RECORD_FLUSHED_BYTES: Final = counter(
    "batchwright_record_bytes_total", "Bytes recorded by flushes.", "process"
)
LEASES_LOST: Final = counter(
    "batchwright_leases_lost_total", "Shards that another worker took over while this one lived.", "process"
)
SHARDS_RESCUED: Final = counter(
    "batchwright_shards_rescued_total", "Shards taken up that a worker had fallen silent over.", "process"
)
SWEEP_SECONDS: Final = times(
    "batchwright_sweep_duration_seconds", "How long a sweeper's round took.", "process"
)
SWEEP_TAKEN: Final = counter(
    "batchwright_sweep_taken_total",
    "What the sweeper took back: leases, dispatches, uploads, batches.",
    *("kind", "process"),
)
SCHEDULE_RUNS: Final = counter(
    "batchwright_schedule_runs_total", "Runs of schedules, by outcome.", "outcome", "process"
)
SCHEDULES_MISSED: Final = counter(
    "batchwright_schedules_missed_total", "Due times of schedules that passed while nothing ran.", "process"
)
MESSAGES_REFUSED: Final = counter(
    "batchwright_messages_refused_total",
    "Messages from the broker that were no task of ours, or not in its form, and were dropped.",
    *("reason", "process"),
)
DEPENDENCY_SECONDS: Final = times(
    "batchwright_dependency_round_trip_seconds",
    "A ping with each beat: mongodb, control_redis, cache_redis, broker.",
    *("dependency", "process"),
)
DEPENDENCY_FAILURES: Final = counter(
    "batchwright_dependency_failures_total", "Pings without an answer.", "dependency", "process"
)

# --- what a process is, with each beat

WORKER_UP: Final = gauge(
    "batchwright_worker_up", "1 if the worker process lives, 0 once it is silent for 10 s.", "process"
)
API_UP: Final = gauge(
    "batchwright_api_up", "1 if the API process lives, 0 once it is silent for 10 s.", "process"
)
BUILD_INFO: Final = gauge(
    "batchwright_build_info", "1 for the version that the process runs.", "version", "python", "process"
)
WORKER_TRANSPORT: Final = gauge(
    "batchwright_worker_transport", "1 for the HTTP client in use.", "process", "transport"
)
PROCESS_STARTED: Final = gauge(
    "batchwright_process_start_time_seconds", "Start of the process, Unix time.", "process"
)
UPTIME: Final = gauge("batchwright_uptime_seconds", "How long the process has run.", "process")
BEAT_AGE: Final = gauge("batchwright_beat_age_seconds", "Age of the figures of this process.", "process")
CPU_SECONDS: Final = counter("batchwright_process_cpu_seconds_total", "CPU time of the process.", "process")
RESIDENT_BYTES: Final = gauge(
    "batchwright_process_resident_bytes", "Resident memory of the process.", "process"
)
OPEN_FILES: Final = gauge("batchwright_process_open_files", "Open file descriptors.", "process")
OPEN_FILES_MOST: Final = gauge("batchwright_process_open_files_limit", "How many there may be.", "process")
LOOP_LAG: Final = gauge(
    "batchwright_loop_lag_seconds", "How late a timer of the process's event loop was.", "process"
)
HTTP_IN_PROGRESS: Final = gauge(
    "batchwright_requests_in_progress", "Requests the API is answering, streams among them.", "process"
)
STREAMS: Final = gauge(
    "batchwright_streams_open", "Open streams of events: sse or websocket.", "kind", "process"
)
FLIGHTS_OWNED: Final = gauge(
    "batchwright_flights_owned", "Questions asked once for all who ask the same.", "process"
)
FLIGHTS_HELD: Final = gauge(
    "batchwright_flights_held", "Those of them held in Redis for all processes.", "process"
)
RECORD_RESULTS: Final = gauge(
    "batchwright_record_buffer_results", "Results that wait for MongoDB.", "process"
)
RECORD_BYTES: Final = gauge(
    "batchwright_record_buffer_bytes", "Bytes of the results that wait for MongoDB.", "process"
)
RECORD_OLDEST: Final = gauge(
    "batchwright_record_buffer_oldest_seconds", "How long the first of them has waited.", "process"
)

# --- the machine of a process; several on one machine tell the same

MACHINE_CPU: Final = counter("batchwright_machine_cpu_seconds_total", "Busy time of all cores.", "process")
MACHINE_CORES: Final = gauge("batchwright_machine_cores", "Cores of the machine.", "process")
MACHINE_MEMORY: Final = gauge(
    "batchwright_machine_memory_bytes", "Memory of the machine: total or available.", "kind", "process"
)
MACHINE_DISK: Final = gauge(
    "batchwright_machine_disk_bytes", "The disk the process works on: total or free.", "kind", "process"
)
MACHINE_NETWORK: Final = counter(
    "batchwright_machine_network_bytes_total",
    "Bytes through the machine's network, sent or received.",
    *("direction", "process"),
)

# --- a provider as a worker process reaches it

CLIENT_REQUESTS: Final = counter(
    "batchwright_client_requests_total", "Requests sent to the provider.", *_PROVIDER
)
CLIENT_ANSWERS: Final = counter(
    "batchwright_client_answers_total",
    "Answers by protocol, whatever their status.",
    *("protocol", *_PROVIDER),
)
CLIENT_FAILURES: Final = counter(
    "batchwright_client_failures_total",
    "Requests without an HTTP answer, by class of error; `cancelled` is one of them.",
    *("error", *_PROVIDER),
)
CLIENT_CONNECTIONS: Final = gauge(
    "batchwright_client_connections", "Open connections, where the client can tell.", *_PROVIDER
)
CLIENT_OPENED: Final = counter(
    "batchwright_client_connections_opened_total",
    "Connections made, where the client can tell.",
    *_PROVIDER,
)
CLIENT_STREAMS: Final = gauge("batchwright_client_streams_in_flight", "Requests under way.", *_PROVIDER)
CLIENT_BYTES: Final = counter(
    "batchwright_client_bytes_total",
    "Bytes of bodies before compression, `sent` or `received`.",
    *("direction", *_PROVIDER),
)
CLIENT_RETIRED: Final = counter(
    "batchwright_client_retired_total",
    "Clients replaced because their connection could not be trusted any more.",
    *_PROVIDER,
)
CALL_SLOTS: Final = gauge("batchwright_call_slots", "Calls at once, at most.", *_PROVIDER)
CALL_SLOTS_IN_USE: Final = gauge("batchwright_call_slots_in_use", "Call slots taken.", *_PROVIDER)

# In the order of the page.
ALL: Final = (*KEPT, *(each for each in list(globals().values()) if isinstance(each, Metric)))
