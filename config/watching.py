"""The settings of what watches and what runs by the clock. Branches of the tree (tree.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from config.secret import Secret
from config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """What is measured, how long it is kept, and when it alarms."""

    enabled: bool = setting(
        True, "Keep figures for /analytics, and evaluate alerts.", also=("MONITORING_ENABLED",)
    )
    retention_hours: float = setting(
        168.0, "Figures and alerts are kept this long.", also=("METRICS_RETENTION_HOURS",), minimum=1
    )
    error_rate_threshold: float = setting(
        0.1,
        "Alert when more than this share of requests or items fails.",
        also=("ALERT_ERROR_RATE_THRESHOLD",),
        minimum=0,
        maximum=1,
    )
    response_time_threshold_s: float = setting(
        5.0,
        "Alert when the API's p95 is over this.",
        also=("ALERT_RESPONSE_TIME_THRESHOLD",),
        minimum=0.001,
    )
    metrics_token: Secret | None = setting(
        None,
        "Who asks an API or a worker for /metrics must send it as a bearer token. Unset: nobody must.",
        sensitive=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Warming:
    """Asking again, before they expire, the prompts that are asked most; each tenant has these bounds."""

    # Off: it spends money that nobody has asked for by name.
    refresh: bool = setting(False, "Ask again, before they expire, for the answers that are found most.")
    top: int = setting(100, "So many of them.", minimum=1, maximum=2_000)
    min_hits: int = setting(
        24, "Found so often at least; counted by a sample of one in eight, halved each day.", minimum=1
    )
    horizon_s: float = setting(600.0, "As soon as they expire within this time.", minimum=1)
    max_calls_per_hour: int = setting(100, "At most so many calls an hour.", minimum=0)
    max_usd_per_day: float = setting(1.0, "At most so many US dollars a day.", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedules:
    """What runs by the clock."""

    missed: Literal["once", "all", "skip"] = setting(
        "once", "After an outage: run what was missed once, each time it was due, or only tell of it."
    )
