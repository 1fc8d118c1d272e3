"""What must go on beside the batches: beat, alerts, webhooks. Asked of MongoDB, which keeps all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from app.doctor.findings import Finding
from workers.store.alerts import Alerts, shown
from workers.store.chores import Chores
from workers.store.deliveries import Deliveries
from workers.store.mongo import Db, connect

BEAT, ALERTS, WEBHOOKS = "beat", "alerts", "webhooks"
_PATIENCE_S = 3.0
# A tick comes every five seconds, and a worker hears it within a few more.
_SILENT_S = 30.0
_MOST_SHOWN = 20


def check_upkeep(url: str, database: str, *, has_beat: bool, evaluates: bool = True) -> Sequence[Finding]:
    """A finding for each; without MongoDB none: its own check says so.

    Args:
        has_beat: a stack with beat runs.
        evaluates: somebody evaluates alerts; else what fired last would fire for ever.
    """
    try:
        with connect(url, app_name="batchwright-doctor", min_pool=0) as client, pymongo.timeout(_PATIENCE_S):
            db = client[database]
            scheduled = db["schedules"].count_documents({}, limit=1) > 0
            return [
                of_beat(Chores(db).beat_silent_s(), scheduled=scheduled, has_beat=has_beat),
                *(of_alerts(_firing(db)) if evaluates else ()),
                *of_webhooks(_disabled(db), Deliveries(db).often_failed()),
            ]
    except (PyMongoError, ValueError):
        return []


def _firing(db: Db) -> list[Mapping[str, Any]]:
    return [shown(doc) for doc in Alerts(db).page("firing", limit=_MOST_SHOWN)]


def _disabled(db: Db) -> list[Mapping[str, Any]]:
    """Endpoints that were switched off because nobody answered, not by their tenants."""
    where = {"enabled": False, "disabled_reason": {"$ne": None}}
    return list(db["webhooks"].find(where, {"disabled_reason": 1}).limit(_MOST_SHOWN))


def of_beat(silent_s: float | None, *, scheduled: bool, has_beat: bool) -> Finding:
    """Whether the clock of schedules and alerts ticks. Pure."""
    data = {"silent_s": None if silent_s is None else round(silent_s, 1), "scheduled": scheduled}
    fix = "`batchwright logs beat` shows why; `batchwright up` starts one, and two do no harm"
    if silent_s is None and not scheduled and not has_beat:
        return Finding(BEAT, "ok", "none has run here; schedules, alerts and analytics need one", data=data)
    if silent_s is None:
        return Finding(BEAT, "warning", "no worker has heard of one, so nothing runs by the clock", fix, data)
    if silent_s > _SILENT_S:
        what = "schedules and alerts stand still" if scheduled else "alerts and analytics stand still"
        state = "warning" if scheduled or has_beat else "ok"
        text = f"last heard of {silent_s:.0f} s ago; {what}"
        return Finding(BEAT, state, text, fix if state == "warning" else "", data)  # type: ignore[arg-type]
    return Finding(BEAT, "ok", f"last tick {silent_s:.0f} s ago", data=data)


def of_alerts(firing: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """One for each that fires, or one that none does. Pure."""
    if not firing:
        return [Finding(ALERTS, "ok", "none fires")]
    return [
        Finding(ALERTS, "warning", _said_of(each), f"{each['helps']} ({each['runbook']})", dict(each))
        for each in firing
    ]


def _said_of(alert: Mapping[str, Any]) -> str:
    about = f" of {alert['subject']}" if alert["subject"] else ""
    value = f"{alert['measure']} is {alert['value']:g}, {alert['bad']} {alert['threshold']:g}"
    return f"{alert['rule']}{about} fires: {value}"


def of_webhooks(disabled: Sequence[Mapping[str, Any]], often_failed: int) -> list[Finding]:
    """Endpoints that nobody answers at; their addresses are a tenant's and are not shown. Pure."""
    found = [
        Finding(
            WEBHOOKS,
            "warning",
            f"{each['_id']} was switched off: {each['disabled_reason']}",
            f"mend what answers there, then `batchwright webhooks set {each['_id']} --enable`",
            {"id": each["_id"]},
        )
        for each in disabled
    ]
    if often_failed:
        text = f"{often_failed:,} deliveries have failed again and again and are still tried"
        fix = "`batchwright webhooks deliveries --status pending` shows what the receivers answer"
        found.append(Finding(WEBHOOKS, "warning", text, fix, {"often_failed": often_failed}))
    return found or [Finding(WEBHOOKS, "ok", "no receiver fails again and again")]
