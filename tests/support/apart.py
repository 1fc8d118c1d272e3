"""Databases beside those that API and stack tests of the same test process use.

A process of theirs may live on for the session; its sweeper would tidy up what these tests lay out, and
emptying its databases would take its keys away.
"""

from __future__ import annotations

from dataclasses import replace

from tests.support.servers import TestServers

_REDIS_OFFSET = 32  # the test servers have 64 databases, one for each test process


def apart(servers: TestServers, name: str, *, redis_offset: int = _REDIS_OFFSET) -> TestServers:
    """The same servers, with databases nobody else in this test process uses.

    Those that live at the same time need another `redis_offset` each, up to 63 in a run of one process.
    """
    return replace(
        servers,
        redis_url=_beside(servers.redis_url, redis_offset),
        cache_redis_url=_beside(servers.cache_redis_url, redis_offset),
        mongodb_database=f"{servers.mongodb_database}_{name}",
    )


def _beside(redis_url: str, offset: int) -> str:
    base, _, number = redis_url.rpartition("/")
    return f"{base}/{int(number) + offset}"
