"""What a disk's fill means, and what `dbStats` says of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.disk import DiskUse, Room, fullest, room_left
from workers.store.disk import told

pytestmark = pytest.mark.fast
PERCENT = st.integers(0, 1000).map(lambda tenths: tenths / 10)
ORDER = list(Room)


def full(percent: float, total_bytes: int = 1000) -> DiskUse:
    """A disk, by default a small one."""
    return DiskUse(round(percent * total_bytes / 100), total_bytes)


@given(PERCENT, PERCENT, PERCENT, PERCENT)
def test_a_fuller_disk_never_means_more_room(one: float, other: float, warn: float, stop: float) -> None:
    less, more = sorted((one, other))
    rooms = [room_left(full(each), warn_percent=warn, stop_percent=stop) for each in (less, more)]
    assert ORDER.index(rooms[0]) <= ORDER.index(rooms[1])


@given(PERCENT, PERCENT)
def test_intake_stops_above_its_bound_alone_wherever_the_other_one_is(percent: float, warn: float) -> None:
    room = room_left(full(percent), warn_percent=warn, stop_percent=95)
    assert (room is Room.NONE) == (percent > 95)
    assert room_left(full(percent), warn_percent=100, stop_percent=100) is Room.PLENTY


@pytest.mark.parametrize(
    ("percent", "room"), [(80, Room.PLENTY), (80.1, Room.LITTLE), (95, Room.LITTLE), (95.1, Room.NONE)]
)
def test_a_bound_is_passed_not_reached(percent: float, room: Room) -> None:
    assert room_left(full(percent), warn_percent=80, stop_percent=95) is room


def test_a_large_disk_with_much_room_is_not_called_full_whatever_its_share() -> None:
    bounds = {"warn_percent": 80, "stop_percent": 95}
    assert room_left(full(96, 8 * 10**12), **bounds) is Room.LITTLE
    assert room_left(full(96, 10**12), **bounds) is Room.NONE


def test_of_a_clusters_shards_the_fullest_counts() -> None:
    shards = {"a": {"fsUsedSize": 1, "fsTotalSize": 10}, "b": {"fsUsedSize": 9.0, "fsTotalSize": 10.0}}
    assert told({"raw": shards, "ok": 1}) == DiskUse(9, 10)
    assert fullest([]) is None


def test_a_server_that_does_not_tell_is_no_empty_disk() -> None:
    assert told({"ok": 1.0}) is None
    assert told({"fsUsedSize": 0, "fsTotalSize": 0}) is None
