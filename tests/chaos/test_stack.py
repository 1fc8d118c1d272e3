"""A stack on one machine whose parts are killed: the embedded servers come back, and an owner leaves nothing behind.

Small programs stand for ours (tests/support/stack_owner.py); how a stack lives otherwise:
tests/integration/embedded/test_stack.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from app.embedded import clients, leftovers
from app.embedded.stack import Stack
from app.embedded.state import read_state
from config.settings import load_settings
from tests.support.fake_commands import FakeCommands
from tests.support.owned_stack import all_gone, owner
from tests.support.servers import TestServers

__all__ = ["owner"]

pytestmark = [pytest.mark.chaos, pytest.mark.quick]


@pytest.mark.usefixtures("owner")
def test_a_mongod_that_is_killed_comes_back_on_its_port_with_its_data(tmp_path: Path) -> None:
    state = read_state(tmp_path)
    assert state is not None
    with MongoClient[dict[str, Any]](state.mongodb_url, w="majority", journal=True) as mongo:
        mongo["t"]["c"].insert_one({"_id": 1})
        os.kill(state.pids["mongod"], signal.SIGKILL)
        # The driver waits for a primary and repeats what the crash cut off: no other signal is needed.
        mongo["t"]["c"].insert_one({"_id": 2})
        assert [row["_id"] for row in mongo["t"]["c"].find().sort("_id")] == [1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere leftovers end at the next start")
def test_nothing_outlives_an_owner_that_is_killed_and_the_next_start_works(
    owner: subprocess.Popen[str], tmp_path: Path, servers: TestServers
) -> None:
    state, rows = read_state(tmp_path), leftovers.read_list(tmp_path)
    assert state is not None
    owner.kill()
    owner.wait()
    assert clients.attach(tmp_path) is None
    assert all_gone(state, rows)
    told = {"BATCHWRIGHT_DATA_DIR": str(tmp_path), **servers.environ()}
    following = Stack(
        load_settings(told, dotenv=Path(os.devnull)),
        workers=1,
        simulator=False,
        flower=False,
        beat=False,
        commands=FakeCommands(),
    )
    try:
        assert following.start().owner_pid == os.getpid()
    finally:
        following.stop()
