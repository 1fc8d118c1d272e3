"""The frozen tree of settings. One field is one setting: default, bounds, other names, meaning (setting.py).

The environment name of `section.field` is BATCHWRIGHT_<SECTION>_<FIELD>; `also` lists what else is
understood, in falling order of strength. loading.py fills the tree, describe.py prints it, provider.py says what
a provider is.
Units are in the names (`_s` seconds, `_bytes`); MB is 1,000,000 bytes and MiB is 1,048,576.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from config.alerts import BUILT_IN, AlertRule
from config.catalog import Catalog
from config.catalog_file import builtin_catalog
from config.faces import Api, Flower, Webhook
from config.prices import OwnPrice
from config.provider import Provider
from config.setting import setting
from config.watching import Monitoring, Schedules, Warming

_REDIS = ("redis", "rediss", "unix")
_MONGODB = ("mongodb", "mongodb+srv")
_HTTP = ("http", "https")
_DAY_S = 86_400
_MB = 1_000_000
_MIB = 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where Redis and MongoDB are. A URL may hold a password, so none is ever in a repr."""

    redis_url: str | None = setting(
        None,
        "Control Redis: broker, limits, flights. Must not evict. Unset: an embedded server.",
        also=("BATCHWRIGHT_REDIS_URL", "REDIS_URL"),
        schemes=_REDIS,
        sensitive=True,
    )
    cache_redis_url: str | None = setting(
        None,
        "Cache Redis: answers; may evict. Unset: an embedded server.",
        also=("BATCHWRIGHT_CACHE_REDIS_URL",),
        schemes=_REDIS,
        sensitive=True,
    )
    broker_url: str | None = setting(
        None,
        "Celery's broker, redis or amqp (RabbitMQ). Unset: the control Redis.",
        also=("BATCHWRIGHT_BROKER_URL", "CELERY_BROKER_URL"),
        schemes=(*_REDIS, "amqp", "amqps"),
        sensitive=True,
    )
    redis_max_connections: int = setting(
        50,
        "Connections to each Redis per process, at most.",
        also=("BATCHWRIGHT_REDIS_MAX_CONNECTIONS", "REDIS_MAX_CONNECTIONS"),
        minimum=1,
    )
    mongodb_url: str | None = setting(
        None,
        "MongoDB, a replica set. Unset: an embedded server.",
        also=("BATCHWRIGHT_MONGODB_URL", "MONGODB_URI"),
        schemes=_MONGODB,
        sensitive=True,
    )
    mongodb_database: str = setting(
        "batchwright", "Name of the MongoDB database.", also=("BATCHWRIGHT_MONGODB_DATABASE",)
    )
    mongodb_min_pool: int = setting(
        10, "Connections to MongoDB the API keeps open; a worker keeps those it uses.", minimum=0
    )
    mongodb_max_pool: int = setting(50, "Connections to MongoDB per process, at most.", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The worker processes."""

    processes: int | None = setting(None, "Worker processes. Unset: one per core.", minimum=1)
    providers: str | None = setting(
        None,
        "Providers a process works for, such as openai,azure; -openai means all but that one. Unset: all.",
    )
    threads: int = setting(8, "Shards worked on at once per process.", minimum=1, maximum=64)
    drain_grace_s: float = setting(25.0, "Time for running calls to end at a stop.", minimum=0)
    max_call_slots: int = setting(512, "Calls at once per process and provider.", minimum=1)
    watchdog_s: float = setting(
        60.0,
        "A process with a free slot whose queue nobody empties for this long starts again; 0: never.",
        minimum=0,
    )
    http_host: str = setting("127.0.0.1", "Address at which a worker shows /metrics, /health and /ready.")
    http_port: int | None = setting(
        None,
        "Port of that, one a process; 0: a free one. Unset: none, the API's page shows all.",
        minimum=0,
        maximum=65_535,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """How workers reach providers."""

    transport: Literal["auto", "httpx", "pyreqwest"] = setting(
        "auto",
        "HTTP client for providers; auto takes pyreqwest where it is installed, else httpx.",
        also=("BATCHWRIGHT_WORKER_TRANSPORT",),
    )
    max_connections: int = setting(100, "Connections at once per process and provider.", minimum=1)
    streams_per_connection: int = setting(
        50, "Requests at once over one HTTP/2 connection.", minimum=1, maximum=1000
    )
    keepalive_s: float = setting(60.0, "An idle connection is closed after this.", minimum=1)
    ca_file: Path | None = setting(
        None, "Certificate authorities to trust besides the usual ones, PEM.", also=("SSL_CERT_FILE",)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a model of a provider is left alone for a while, or its items go to another provider."""

    failures: int = setting(10, "Failures in a row, over all workers, that open the breaker.", minimum=1)
    open_s: float = setting(5.0, "First rest of an open breaker; doubled each time.", minimum=0.1)
    max_open_s: float = setting(60.0, "Longest rest of an open breaker.", minimum=0.1)
    hand_over: bool = setting(
        True, "Items go to another provider that offers their model when theirs fails for good."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a worker may hold work without a sign of life."""

    lease_s: float = setting(
        60.0, "A shard not renewed for this long is free again.", also=("BATCHWRIGHT_LEASE_S",), minimum=1
    )
    sweep_s: float = setting(
        5.0, "Time between two sweeps for ended leases.", also=("BATCHWRIGHT_SWEEP_S",), minimum=0.1
    )
    call_margin_s: float = setting(
        10.0,
        "No call starts later than this before a lease's end. Unset: a sixth of lease_s, at most 10.",
        also=("BATCHWRIGHT_CALL_MARGIN_S",),
        minimum=0,
    )
    dispatch_timeout_s: float = setting(
        60.0,
        "A dispatched shard that nobody claimed is queued again after this.",
        also=("BATCHWRIGHT_DISPATCH_TIMEOUT_S",),
        minimum=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The rules for one batch."""

    invalid_lines: Literal["fail", "skip"] = setting(
        "fail", "A bad line fails its batch, or is skipped into the error file."
    )
    retention_days: float = setting(
        30.0, "Results and files are kept this long after their batch has ended, an hour at least.", minimum=0
    )
    stale_upload_s: float = setting(
        900.0, "An upload that nobody goes on with is removed after this.", minimum=1
    )
    max_line_bytes: int = setting(_MIB, "Longest line of an input file.", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """How full the disk of MongoDB may become."""

    warn_percent: float = setting(80.0, "Warn when it is fuller.", minimum=1, maximum=100)
    stop_percent: float = setting(
        95.0,
        "Take no more files and batches when it is fuller and less than 50 GB are free (status 507).",
        minimum=1,
        maximum=100,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRules:
    """When the planner closes a shard: whichever of these comes first."""

    max_items: int = setting(500, "Items in one shard.", minimum=1, maximum=500)
    max_line_bytes: int = setting(4 * _MB, "Sum of the lines of one shard.", minimum=1)
    max_span_bytes: int = setting(32 * _MB, "Stretch of the input file one shard covers.", minimum=1)
    slot_seconds: float = setting(2.0, "Work in one shard, at its provider's requests a minute.", minimum=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What is remembered of paid answers."""

    enabled: bool = setting(True, "Answer repeated requests from the cache.", also=("CACHE_ENABLED",))
    ttl_answers_s: int = setting(7 * _DAY_S, "Life of an answer.", also=("CACHE_TTL",), minimum=1)
    ttl_embeddings_s: int = setting(_DAY_S, "Life of an embedding.", also=("CACHE_EMBEDDING_TTL",), minimum=1)
    ttl_live_s: int = setting(
        3_600, "Life of an answer to an interactive request.", also=("CACHE_INFERENCE_TTL",), minimum=1
    )
    ttl_conversation_s: int = setting(
        3_600, "Life of an answer of task type conversation.", also=("CACHE_TTL_CONVERSATION",), minimum=1
    )
    ttl_grammar_s: int = setting(
        _DAY_S, "Life of an answer of task type grammar.", also=("CACHE_TTL_GRAMMAR",), minimum=1
    )
    ttl_scenario_s: int = setting(
        7_200, "Life of an answer of task type scenario.", also=("CACHE_TTL_SCENARIO",), minimum=1
    )
    max_entry_bytes: int = setting(256 * 1_024, "Larger answers are not cached.", minimum=1)
    compress_over_bytes: int = setting(2_048, "Larger answers are cached compressed (zstd).", minimum=0)
    early_refresh: float = setting(
        1.0,
        "How early warmed answers are asked for anew before they expire (XFetch's beta); 0: never.",
        minimum=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What follows a failed call."""

    max_attempts: int = setting(3, "Attempts per item when a provider answers 408, 429 or 5xx.", minimum=1)
    repeat_unknown: int = setting(
        1, "Repeats of a call whose outcome is unknown; each may be paid twice.", minimum=0, maximum=1
    )
    max_asks_again: int = setting(
        2, "Answers per item that are asked for anew because they do not match their schema.", minimum=0
    )
    max_wait_s: float = setting(90.0, "Longest wait of our own choice between attempts.", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """The simulated provider; it answers only when asked for."""

    url: str | None = setting(None, "A running simulator; the stack sets it.", schemes=_HTTP)
    all_models: bool = setting(False, "The simulator answers for every model, not for sim-* alone.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What the processes write."""

    level: Literal["debug", "info", "warning", "error", "critical"] = setting(
        "info", "Least severity that is written.", also=("LOG_LEVEL",)
    )
    json: bool = setting(False, "One JSON object per line instead of text.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a user can set. `sources` says where a value came from; absent means default."""

    data_dir: Path = setting(Path(".batchwright"), "Folder of embedded servers, keys and state.")
    profile: Literal["standard", "small"] = setting(
        "standard", "What the stack runs; small leaves out Flower and beat."
    )
    ready_file: Path | None = setting(
        None, "A process writes this file once it serves; the stack sets it for each of its own."
    )
    servers: Servers = field(default_factory=Servers)
    api: Api = field(default_factory=Api)
    flower: Flower = field(default_factory=Flower)
    worker: Worker = field(default_factory=Worker)
    http: Http = field(default_factory=Http)
    breaker: Breaker = field(default_factory=Breaker)
    lease: Lease = field(default_factory=Lease)
    batch: Batch = field(default_factory=Batch)
    webhook: Webhook = field(default_factory=Webhook)
    disk: Disk = field(default_factory=Disk)
    shard: ShardRules = field(default_factory=ShardRules)
    cache: Cache = field(default_factory=Cache)
    retry: Retry = field(default_factory=Retry)
    simulator: Simulator = field(default_factory=Simulator)
    log: Log = field(default_factory=Log)
    monitoring: Monitoring = field(default_factory=Monitoring)
    schedules: Schedules = field(default_factory=Schedules)
    warming: Warming = field(default_factory=Warming)
    catalog: Catalog = field(default_factory=builtin_catalog, repr=False)
    providers: tuple[Provider, ...] = ()
    prices: tuple[OwnPrice, ...] = ()
    alerts: tuple[AlertRule, ...] = BUILT_IN
    # Those that were read: the TOML file and `.env`, where there is one.
    files: tuple[Path, ...] = field(default=(), compare=False, repr=False, hash=False)
    sources: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False, hash=False
    )
