"""Connections to the two Redis instances, and the one way to run a Lua script.

redis-py's asyncio connection writes each argument of a command in Python, three microseconds apiece; a chunk of 128
answers is a thousand arguments. Ours let hiredis write the whole command in C.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import hiredis
import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

# Redis did not answer, refused for memory, or is loading: go on without it or wait, never fail an item.
REDIS_DOWN = (redis.exceptions.RedisError, OSError)


def connect(
    url: str, *, max_connections: int = 50, timeout_s: float = 5.0, repeats_late: bool = True
) -> Redis:
    """A client that belongs to one event loop.

    Args:
        repeats_late: ask again what was not answered in time; False for what one can do without.
    """
    errors: tuple[type[redis.exceptions.RedisError], ...] = (redis.exceptions.ConnectionError,)
    if repeats_late:
        errors += (redis.exceptions.TimeoutError,)
    # A plain pool raises when it is empty, which would look like Redis being away; this one waits its turn.
    # A Unix socket has no TCP options, and its connection refuses to be told of any.
    tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=25,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 2, supported_errors=errors),
        **tcp,
    )
    pool.connection_class = _packing_in_c(pool.connection_class)
    return Redis(connection_pool=pool)


def _packing_in_c(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """A connection of this kind (plain, TLS, Unix socket) whose commands hiredis writes."""

    class Packing(kind):  # type: ignore[misc, valid-type]
        def pack_command(self, *args: Any) -> list[bytes]:
            words = args[0].split()  # "SCRIPT LOAD" is one name to redis-py and two words to the server
            return [hiredis.pack_command((*words, *args[1:]))]

    return Packing


@cache
def _script(name: str) -> tuple[str, str]:
    """A script's text and the hash Redis knows it by."""
    text = source(name)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


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
    text, sha = _script(name)
    run: Callable[..., Awaitable[Any]] = client.execute_command
    try:
        return await run("EVALSHA", sha, len(keys), *keys, *args)
    except redis.exceptions.NoScriptError:
        return await run("EVAL", text, len(keys), *keys, *args)
