"""What operators have paused: it rests until somebody lets it go on, so somebody who looks for a reason must see it."""

from __future__ import annotations

from collections.abc import Sequence

import pymongo
from pymongo.errors import PyMongoError

from app.doctor.findings import Finding
from workers.core.pauses import Pause, Standing
from workers.store.mongo import connect
from workers.store.pauses import Pauses

NAME = "pauses"
_PATIENCE_S = 3.0


def check_pauses(url: str, database: str) -> Sequence[Finding]:
    """One finding for each pause, or one that there is none. Without MongoDB none: its own check says so."""
    try:
        with connect(url, app_name="batchwright-doctor", min_pool=0) as client, pymongo.timeout(_PATIENCE_S):
            return findings(Pauses(client[database]).standing())
    except (PyMongoError, ValueError):
        return []


def findings(standing: Standing) -> list[Finding]:
    """What rests, providers first."""
    paused = [*standing.providers.values(), *standing.tenants.values()]
    if not paused:
        return [Finding(NAME, "ok", "no provider and no tenant is paused")]
    return [_of(pause) for pause in paused]


def _of(pause: Pause) -> Finding:
    text = f"{pause.kind} {pause.name} is paused by a key of tenant {pause.by}"
    fix = f"`batchwright resume --{pause.kind} {pause.name}` lets it go on"
    data = {"kind": pause.kind, "name": pause.name, "since": pause.since, "by": pause.by}
    return Finding(NAME, "warning", text, fix, data)
