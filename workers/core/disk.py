"""How full the disk of MongoDB is, and what follows. Pure; store/disk.py asks, app/api/disk_guard.py obeys.

Above the first bound people are told, above the second nothing new is taken in; what runs goes on either way.
A share says little of a very large disk: while there is ROOMY_BYTES of room, intake goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Far more than what has been taken in can still need.
ROOMY_BYTES = 50_000_000_000


class Room(StrEnum):
    """What a disk's fill means for us."""

    PLENTY = "plenty"
    LITTLE = "little"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class DiskUse:
    """The file system that MongoDB writes to; `total_bytes` is over 0. What is reserved for root counts as used."""

    used_bytes: int
    total_bytes: int

    @property
    def ratio(self) -> float:
        """From 0 to 1."""
        return min(1.0, max(0.0, self.used_bytes / self.total_bytes))

    @property
    def percent(self) -> float:
        """From 0 to 100."""
        return self.ratio * 100

    @property
    def free_bytes(self) -> int:
        """What MongoDB may still write."""
        return max(0, self.total_bytes - self.used_bytes)


def room_left(use: DiskUse, *, warn_percent: float, stop_percent: float) -> Room:
    """What it means that a disk is so full. A bound of 100 is never passed, so it turns its rule off."""
    if use.percent > stop_percent and use.free_bytes < ROOMY_BYTES:
        return Room.NONE
    return Room.LITTLE if use.percent > min(warn_percent, stop_percent) else Room.PLENTY


def no_room_text(use: DiskUse, stop_percent: float) -> str:
    """Why nothing is taken in, and what helps."""
    return (
        f"The disk of MongoDB is {use.percent:.1f} % full; above {stop_percent:g} % no files and batches are taken. "
        "Delete files, or let batches go sooner (batch.retention_days); give MongoDB more room; "
        "or raise disk.stop_percent. What runs goes on."
    )


def fullest(disks: list[DiskUse]) -> DiskUse | None:
    """The one that will be full first; None of none."""
    return max(disks, key=lambda each: each.ratio, default=None)
