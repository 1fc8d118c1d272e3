"""The test session's own servers: shared, but with databases of each test process's own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo import MongoClient

from app.embedded import procinfo
from app.embedded.leftovers import list_path
from tests.support.servers import TestServers, _users

pytestmark = [pytest.mark.integration, pytest.mark.stack]


def test_a_test_process_has_databases_of_its_own_and_finds_them_empty(clean_servers: TestServers) -> None:
    with MongoClient[dict[str, Any]](clean_servers.mongodb_url) as mongo:
        mongo[clean_servers.mongodb_database]["c"].insert_one({"_id": 1})
        with redis.Redis.from_url(clean_servers.redis_url) as control:
            control.set("k", "v")
            clean_servers.empty()
            assert control.dbsize() == 0
        assert mongo[clean_servers.mongodb_database]["c"].count_documents({}) == 0
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    assert clean_servers.mongodb_database == f"test_{worker}"


def test_the_last_user_ends_the_servers_even_if_it_is_killed(tmp_path: Path) -> None:
    # Given a process that uses servers of its own directory and is joined by us.
    user = subprocess.Popen(
        [sys.executable, "-c", USER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert user.stdout is not None
    theirs = json.loads(user.stdout.readline())
    keeper_pid = json.loads((tmp_path / "urls.json").read_text(encoding="utf-8"))["pid"]
    keeper = procinfo.identity(keeper_pid) or ""
    with _users(tmp_path) as ours:
        # Then both use the same.
        assert ours == theirs
        # When the one that started them is killed, then they still answer.
        user.kill()
        user.wait()
        user.stdout.close()
        assert redis.Redis.from_url(ours["redis_url"]).ping()
    # When nobody uses them any more, then they end.
    assert procinfo.wait_until_gone(keeper_pid, keeper, 30.0)
    assert not list_path(tmp_path).exists()


USER = """
import json, pathlib, sys, threading
from tests.support.servers import _users
with _users(pathlib.Path(sys.argv[1])) as urls:
    print(json.dumps(urls), flush=True)
    threading.Event().wait()
"""
