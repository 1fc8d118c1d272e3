"""Schedules in words: when they are due, and what became of it. Pure; `now` comes as an argument."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from app.cli import words
from app.cli.rhythm import every_text

Reply = Mapping[str, Any]
# Beat asks every five seconds; so long no worker hears of it only if it does not run, or none takes its messages.
SILENT_S = 60.0


def when(schedule: Reply) -> str:
    """Its rhythm: `0 5 * * * Europe/Berlin`, `every 30m`."""
    if schedule["cron"]:
        return f"{schedule['cron']} {schedule['timezone']}"
    return f"every {every_text(schedule['every_s'])}"


def due_times(schedule: Reply, now_s: float) -> list[str]:
    """Its next due times in its own time zone: `Sunday 2026-11-22 05:00 Europe/Berlin, in 5h28`."""
    name = schedule["timezone"]
    zone = _zone(name)
    if zone is None:
        name, zone = "UTC", UTC
    # To the second only where it comes by seconds.
    form = "%A %Y-%m-%d %H:%M" if schedule["cron"] else "%A %Y-%m-%d %H:%M:%S"
    return [
        f"{datetime.fromtimestamp(due, zone).strftime(form)} {name}, in {words.brief(due - now_s)}"
        for due in schedule["next_due_times"]
    ]


def last_run(schedule: Reply) -> str:
    """What it did last."""
    last = schedule["last_run"]
    return f"{last['state']} {words.moment(last['due'])}" if last else "never"


def came_of(run: Reply) -> str:
    """What became of a due time: the state of its batch, why there is none, or how many were missed."""
    if run["state"] == "missed":
        until = (
            ""
            if run["count"] == 1
            else f", {words.count(run['count'])} times until {words.moment(run['until'])}"
        )
        return f"missed{until}"
    if run["error"]:
        return f"refused: {run['error']['message']}"
    return str(run["batch_status"] or run["state"]).replace("_", " ")


def silent_warning(schedule: Reply) -> str | None:
    """What to say where nobody looks at the clock; None if somebody does."""
    silent_s = schedule["beat_silent_s"]
    if silent_s is not None and silent_s < SILENT_S:
        return None
    since = (
        "no worker has ever heard of beat"
        if silent_s is None
        else f"beat is silent for {words.brief(silent_s)}"
    )
    return (
        f"{since}: nothing runs by the clock until it does; `batchwright up` starts it, but not with "
        "profile = small"
    )


def _zone(name: str) -> tzinfo | None:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # the server knows more of them than this machine
        return None
