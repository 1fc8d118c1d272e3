"""What starts servers, workers or whole stacks of its own, as users do, or lets them die. `make test-stack` runs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.apart import apart
from tests.support.servers import TestServers, clean_servers, servers
from tests.support.workers import Site, open_site

__all__ = ["clean_servers", "servers"]


@pytest.fixture(scope="module")
def site(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Empty databases and a simulator without latency."""
    with open_site(apart(servers, "engine"), tmp_path_factory.mktemp("engine")) as opened:
        yield opened
