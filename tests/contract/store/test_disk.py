"""The fill of MongoDB's disk, as a real server tells it."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from app.doctor.disk_check import NAME, check_disk, of_use
from config.tree import Disk as Bounds
from tests.support.batches import Stores
from tests.support.servers import TestServers
from workers.core.disk import DiskUse
from workers.store.disk import Disk


def test_a_real_server_tells_how_full_its_disk_is(stores: Stores) -> None:
    use = Disk(stores.db).use()
    here = shutil.disk_usage("/")
    assert use is not None and 0 < use.ratio < 1
    # It may lie on another disk than this, but on one of this machine's.
    assert use.total_bytes >= min(here.total, 1 << 20)


def test_a_server_that_refuses_the_question_is_one_that_does_not_tell(stores: Stores) -> None:
    class Refused:
        """A database in which we have no right to ask."""

        def command(self, _: str) -> Any:
            return stores.db.command("noSuchCommand")

    refused: Any = Refused()
    assert Disk(refused).use() is None


def test_doctor_says_how_full_it_is_and_what_to_do(store_servers: TestServers) -> None:
    (found,) = check_disk(store_servers.mongodb_url, store_servers.mongodb_database, Bounds(stop_percent=100))
    assert found.name == NAME and found.data["total_bytes"] > 0
    states = [of_use(DiskUse(percent, 100), Bounds()) for percent in (50, 85, 99)] + [of_use(None, Bounds())]
    assert [each.state for each in states] == ["ok", "warning", "problem", "warning"]
    assert all("BATCHWRIGHT_DISK_STOP_PERCENT" in each.fix for each in states[1:3])


def test_of_a_mongodb_that_is_away_its_own_check_speaks(
    store_servers: TestServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_away(_: Disk) -> None:
        raise AutoReconnect("gone")

    monkeypatch.setattr(Disk, "use", is_away)
    assert check_disk(store_servers.mongodb_url, "x", Bounds()) == []
