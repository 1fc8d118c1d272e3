"""How full MongoDB's own disk is, which may be another machine's than ours."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo.errors import PyMongoError

from app.doctor.findings import Finding
from config.tree import Disk as Bounds
from workers.core.disk import ROOMY_BYTES, DiskUse, Room, room_left
from workers.store.disk import Disk
from workers.store.mongo import connect

NAME = "mongodb disk"
_MAKE_ROOM = (
    "delete files, let batches go sooner (BATCHWRIGHT_BATCH_RETENTION_DAYS), give MongoDB more room, "
    "or raise BATCHWRIGHT_DISK_STOP_PERCENT"
)


def check_disk(url: str, database: str, bounds: Bounds) -> Sequence[Finding]:
    """One finding. Without MongoDB none: its own check says so."""
    try:
        with connect(url, app_name="batchwright-doctor", min_pool=0) as client:
            return [of_use(Disk(client[database]).use(), bounds)]
    except (PyMongoError, ValueError):
        return []


def of_use(use: DiskUse | None, bounds: Bounds) -> Finding:
    """What a fill means; None where the server does not tell it."""
    if use is None:
        text = "the server does not tell how full its disk is, so a full one is not guarded against"
        return Finding(NAME, "warning", text, "watch the disk of MongoDB by other means")
    data = {"used_bytes": use.used_bytes, "total_bytes": use.total_bytes}
    text = f"{use.percent:.1f} % of {use.total_bytes / 1e9:,.1f} GB used"
    room = room_left(use, warn_percent=bounds.warn_percent, stop_percent=bounds.stop_percent)
    if room is Room.PLENTY:
        return Finding(NAME, "ok", text, data=data)
    if room is Room.LITTLE:
        free = f"with under {ROOMY_BYTES // 10**9} GB free"
        text = f"{text}; over {bounds.stop_percent:g} %, {free}, no files and batches are taken"
        return Finding(NAME, "warning", text, _MAKE_ROOM, data)
    return Finding(NAME, "problem", f"{text}, so no files and batches are taken", _MAKE_ROOM, data)
