"""Databases beside those that API and stack tests of the same test process use.

A process of theirs may live on for the session; its sweeper would tidy up what these tests lay out, and
emptying its databases would take its keys away.
"""

from __future__ import annotations

from dataclasses import replace

from tests.support.servers import TestServers

_REDIS_OFFSET = 32  # the test servers have 64 databases, one for each test process


def apart(servers: TestServers, name: str) -> TestServers:
    """The same servers, with databases nobody else in this test process uses."""
    return replace(
        servers,
        redis_url=_beside(servers.redis_url),
        cache_redis_url=_beside(servers.cache_redis_url),
        mongodb_database=f"{servers.mongodb_database}_{name}",
    )


def _beside(redis_url: str) -> str:
    base, _, number = redis_url.rpartition("/")
    return f"{base}/{int(number) + _REDIS_OFFSET}"
