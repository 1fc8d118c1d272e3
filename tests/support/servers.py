"""Real MongoDB, control Redis and cache Redis for tests: one set a session, a part of it for each process.

Fixtures, named in the root conftest (`pytest_plugins = ["tests.support.servers"]`): `servers` gives URLs
whose MongoDB database and Redis databases belong to this test process alone; `clean_servers` is the same,
emptied before the test. Started by whoever asks first (0.6 s), ended by the last one's end.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo import MongoClient

from app.embedded import procinfo
from app.embedded.commands import python_path
from app.embedded.files import FileLock, read_json
from tests.support.emptying import empty

_KEEPER = Path(__file__).with_name("server_keeper.py")


@dataclass(frozen=True)
class TestServers:
    """Servers this test process may use as it likes, within its own databases."""

    __test__ = False  # no test class, whatever its name says

    redis_url: str
    cache_redis_url: str
    mongodb_url: str
    mongodb_database: str

    def environ(self) -> dict[str, str]:
        """The same as settings for a process under test."""
        return {
            "BATCHWRIGHT_REDIS_URL": self.redis_url,
            "BATCHWRIGHT_CACHE_REDIS_URL": self.cache_redis_url,
            "BATCHWRIGHT_MONGODB_URL": self.mongodb_url,
            "BATCHWRIGHT_MONGODB_DATABASE": self.mongodb_database,
        }

    def empty(self) -> None:
        """Take away every document and key of this test process; indexes stay, since making them is slow."""
        for url in (self.redis_url, self.cache_redis_url):
            with redis.Redis.from_url(url) as client:
                client.flushdb()
        with MongoClient[dict[str, Any]](self.mongodb_url) as mongo:
            empty(mongo[self.mongodb_database])


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServers]:
    """URLs of running servers, with databases of this test process's own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    base = tmp_path_factory.getbasetemp()
    # Under xdist each process has a directory below the session's.
    directory = (base.parent if worker else base) / "servers"
    number = int(worker.removeprefix("gw") or 0) if worker else 0
    with _users(directory) as urls:
        yield TestServers(
            redis_url=_own_database(urls["redis_url"], number),
            cache_redis_url=_own_database(urls["cache_redis_url"], number),
            mongodb_url=urls["mongodb_url"],
            mongodb_database=f"test_{worker or 'main'}",
        )


@pytest.fixture
def clean_servers(servers: TestServers) -> TestServers:
    """The servers with nothing in this process's databases."""
    servers.empty()
    return servers


@contextmanager
def _users(directory: Path) -> Iterator[dict[str, str]]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(directory / "users.lock")
    # One test process at a time looks and starts; the others then find what it started.
    with (directory / "start.lock").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        # A keeper that is stopping holds this alone until it has ended.
        if not lock.acquire(shared=True, limit_s=60.0):
            pytest.fail(f"{lock.path} is held by a keeper that does not end")
        urls = _running(directory) or _start(directory)
    try:
        yield urls
    finally:
        lock.release()


def _running(directory: Path) -> dict[str, str] | None:
    known = read_json(directory / "urls.json")
    if known is None or procinfo.identity(known.pop("pid")) is None:
        return None
    return known


def _start(directory: Path) -> dict[str, str]:
    reader, writer = os.pipe()
    with (directory / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, str(_KEEPER), str(directory), str(writer)],
            env={**os.environ, "PYTHONPATH": python_path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(writer,),
            start_new_session=True,
        )
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as report:
        said = report.read()
    urls: dict[str, str] = json.loads(said) if said else {"error": f"see {directory / 'keeper.log'}"}
    if "error" in urls:
        pytest.fail(f"the test servers did not start: {urls['error']}")
    # It outlives this process if others still use it: not ours to wait for.
    keeper.returncode = 0
    return urls


def _own_database(redis_url: str, number: int) -> str:
    return f"{redis_url.rpartition('/')[0]}/{number}"
