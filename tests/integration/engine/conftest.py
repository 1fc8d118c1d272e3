"""Servers, a simulator and stores for worker processes; each module starts the workers it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.apart import apart
from tests.support.servers import TestServers, servers
from tests.support.workers import Site, open_site

__all__ = ["servers"]


@pytest.fixture(scope="module")
def site(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Empty databases and a simulator without latency."""
    with open_site(apart(servers, "engine"), tmp_path_factory.mktemp("engine")) as opened:
        yield opened
