"""Connections to the two Redis instances, and the one way to run a Lua script."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.commands.core import AsyncScript

# Redis did not answer, refused for memory, or is loading: go on without it or wait, never fail an item.
REDIS_DOWN = (redis.exceptions.RedisError, OSError)


def connect(url: str, *, max_connections: int = 50, timeout_s: float = 5.0) -> Redis:
    """A client that belongs to one event loop."""
    # A plain pool raises when it is empty, which would look like Redis being away; this one waits its turn.
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=25,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 2),
    )
    return Redis(connection_pool=pool)


@cache
def source(name: str) -> str:
    """The text of `lua/NAME.lua`."""
    return (files("workers.store") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


async def run_script(
    client: Redis, name: str, *, keys: Sequence[str], args: Sequence[str | bytes | float]
) -> Any:
    """Run a script by its hash, loading it when Redis does not know it (any more).

    redis-py repeats a timed-out command, so every script must be safe to run twice.
    """
    script = AsyncScript(client, source(name))
    return await script(keys=list(keys), args=list(args))
