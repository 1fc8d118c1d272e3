"""The settings of what watches and what runs by the clock. Branches of the tree (tree.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedules:
    """What runs by the clock."""

    missed: Literal["once", "all", "skip"] = setting(
        "once", "After an outage: run what was missed once, each time it was due, or only tell of it."
    )
