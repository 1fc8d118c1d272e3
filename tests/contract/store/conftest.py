"""The stores over real servers, empty before each test."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from tests.support.apart import apart
from tests.support.batches import Stores, open_stores
from tests.support.emptying import empty
from tests.support.eventually import eventually
from tests.support.oldest_redis import OLDEST_REDIS
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
    empty(opened.db)
    return opened


@pytest.fixture(scope="session")
def oldest_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of the oldest supported version."""
    socket_path = tmp_path_factory.mktemp("redis") / "s"
    command = [str(OLDEST_REDIS), "--port", "0", "--unixsocket", str(socket_path), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            eventually(socket_path.exists, 10.0)
            yield f"unix://{socket_path}"
        finally:
            process.terminate()


@pytest.fixture(params=["current", "oldest"] if OLDEST_REDIS else ["current"])
async def control(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """An empty control Redis; of the oldest supported version, too, where this machine has one."""
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
