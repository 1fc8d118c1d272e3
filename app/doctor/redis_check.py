"""One Redis: does it answer, how fast, in which version, and does it keep what it must keep when it is full?

The control Redis must refuse writes rather than forget (`noeviction`); the cache should forget what was not asked
for in a while. Sources: the commands INFO, PING and TIME of Redis; https://redis.io/docs/latest/develop/reference/eviction/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError
from redis.retry import Retry

from app.doctor.findings import Finding, State
from app.doctor.measures import RoundTrip, Timing, address, clock_offset_s, ping_often
from app.embedded.binaries import OLDEST_REDIS

_PATIENCE_S = 2.0
_SLOW_MS = 5.0
_NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True)
class Role:
    """What one instance is for: its name, its setting, and the policies that suit it."""

    name: str
    setting: str
    policies: tuple[str, ...]
    otherwise: State
    harm: str


CONTROL = Role(
    "control redis",
    "BATCHWRIGHT_REDIS_URL",
    ("noeviction",),
    "problem",
    "when it is full, it forgets messages, limits and flights",
)
CACHE = Role(
    "cache redis",
    "BATCHWRIGHT_CACHE_REDIS_URL",
    ("allkeys-lru", "allkeys-lfu"),
    "warning",
    "when it is full, it keeps no new answers or the wrong ones",
)


def check_redis(role: Role, url: str) -> Sequence[Finding]:
    """Ask it. Needs no more rights than PING, TIME and INFO."""
    try:
        where = address(url)
        with _client(url) as client:
            _ping(client)  # opens the connection, which would count as a wrong clock
            offset_s = clock_offset_s(lambda: _seconds(client))
            info = cast("dict[str, Any]", client.info("everything"))
    except (AuthenticationError, AuthorizationError):
        return [Finding(role.name, "problem", f"{where} refuses the password", f"correct {role.setting}")]
    except ValueError:
        return [Finding(role.name, "problem", "its address cannot be understood", f"correct {role.setting}")]
    except (RedisError, OSError) as error:
        text = f"{where} does not answer ({type(error).__name__})"
        return [Finding(role.name, "problem", text, f"start it, or correct {role.setting}")]
    product, version = _version(info)
    data = {"address": where, "product": product, "version": version, "clock_offset_s": offset_s}
    return [_answers(role, data), memory(role, info), persistence(role, info)]


def redis_timing(url: str) -> Timing:
    """A hundred times PING."""

    def measure() -> RoundTrip:
        with _client(url) as client:
            return ping_often(lambda: _ping(client))

    return Timing(measure, _SLOW_MS)


def _answers(role: Role, data: dict[str, Any]) -> Finding:
    text = f"{data['product']} {data['version']} answers"
    if tuple(map(int, data["version"].split(".")[:2])) < OLDEST_REDIS:
        oldest = ".".join(map(str, OLDEST_REDIS))
        return Finding(role.name, "problem", f"{text}; it is too old", f"run version {oldest} or newer", data)
    return Finding(role.name, "ok", text, data=data)


def memory(role: Role, info: dict[str, Any]) -> Finding:
    """Whether its policy fits what it is for, and whether it has room. `info` as INFO gives it."""
    name = f"{role.name} memory"
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    data = {"policy": policy, "maxmemory_bytes": limit, "used_bytes": used}
    room = (
        f"{used / 1e6:,.0f} of {limit / 1e6:,.0f} MB used"
        if limit
        else f"{used / 1e6:,.0f} MB used, no limit"
    )
    if policy not in role.policies:
        fix = f"set maxmemory-policy {role.policies[0]} there"
        return Finding(name, role.otherwise, f"its policy is {policy}: {role.harm}", fix, data)
    if not limit and role is CACHE:
        fix = "set maxmemory there, or answers fill the machine's memory"
        return Finding(name, "warning", f"{policy}, but {room}, so it never forgets", fix, data)
    if role is CONTROL and limit and used > _NEARLY_FULL * limit:
        fix = "raise maxmemory there; once it is full, it takes no more messages"
        return Finding(name, "warning", f"{policy}, {room}", fix, data)
    return Finding(name, "ok", f"{policy}, {room}", data=data)


def persistence(role: Role, info: dict[str, Any]) -> Finding:
    """Whether a restart finds what was there, and whether it can write it at all. `info` as INFO gives it."""
    name = f"{role.name} persistence"
    aof, saved = bool(info.get("aof_enabled")), int(info.get("rdb_last_save_time") or 0)
    failed = [
        what
        for what, field in (("AOF", "aof_last_write_status"), ("RDB", "rdb_last_bgsave_status"))
        if info.get(field, "ok") != "ok"
    ]
    data = {"aof": aof, "rdb_last_save_at": saved, "failed": failed}
    if failed:
        text = f"its last write of the {' and the '.join(failed)} failed"
        return Finding(name, "problem", text, "see to its disk and its rights there, and to its log", data)
    if aof:
        return Finding(name, "ok", "AOF is on", data=data)
    if role is CACHE:
        text = "no AOF; answers outlive a restart only if it saves when it stops"
        return Finding(name, "ok", text, data=data)
    # MongoDB has every item, so nothing is lost: limits begin anew and what was in the queues is sent again.
    text = "no AOF: after a crash queues are filled anew and limits begin without their past"
    return Finding(name, "warning", text, "set appendonly yes there", data)


def _client(url: str) -> Redis:
    # Nothing is repeated: the first refusal is what a person wants to see, and at once.
    return Redis.from_url(
        url,
        socket_timeout=_PATIENCE_S,
        socket_connect_timeout=_PATIENCE_S,
        retry=Retry(NoBackoff(), 0),
    )


def _ping(client: Redis) -> None:
    """One that cannot write to its disk refuses PING too, but is there: `persistence` says what is wrong."""
    try:
        client.ping()
    except ResponseError as error:
        if not str(error).startswith("MISCONF"):
            raise


def _seconds(client: Redis) -> float:
    seconds, microseconds = client.time()
    return seconds + microseconds / 1e6


def _version(info: dict[str, Any]) -> tuple[str, str]:
    """Valkey says 7.2.4 as its `redis_version` for ever, and its own beside."""
    if "valkey_version" in info:
        return "Valkey", str(info["valkey_version"])
    return "Redis", str(info.get("redis_version", "0.0"))
