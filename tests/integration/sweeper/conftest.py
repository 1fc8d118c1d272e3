"""A sweeper over real stores, empty before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.apart import apart
from tests.support.batches import Stores, open_stores
from tests.support.emptying import empty
from tests.support.servers import TestServers, servers
from tests.support.sweeping import Site
from tests.support.telling import receiver, telling, threads

__all__ = ["receiver", "servers", "telling", "threads"]


@pytest.fixture(scope="session")
def sweeping_stores(servers: TestServers) -> Iterator[Stores]:
    opened = open_stores(apart(servers, "store"), safe=False)
    yield opened
    opened.db.client.close()


@pytest.fixture
def site(sweeping_stores: Stores) -> Site:
    """Nothing in the database, and a sweeper that has not swept yet."""
    empty(sweeping_stores.db)
    return Site(sweeping_stores)
