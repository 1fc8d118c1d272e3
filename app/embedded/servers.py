"""Describe the three embedded servers as processes: control Redis, cache Redis, mongod, set up by the files in config/.

stack.py and tests/support/servers.py start them. All listen on loopback only. The Redis servers want a random
password, which stands in a private file and in their URL, never in a command line; mongod runs without
authentication, so every user of this machine can reach it: fine for a laptop or a container, for more set
BATCHWRIGHT_MONGODB_URL.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import config
from app.embedded import replica_set
from app.embedded.binaries import Binary, find_mongod, find_redis
from app.embedded.errors import PortTaken
from app.embedded.files import unusable, write_private
from app.embedded.ports import PortClaims, PortWish
from app.embedded.probes import Listens, RedisAnswers
from app.embedded.process import ProcessSpec
from app.embedded.supervisor import Supervisor

_T = TypeVar("_T")
MOST_PORTS_TRIED = 4
_MONGOD_READY_LIMIT_S = 60.0  # recovery of a large journal after a crash takes its time
_REDIS_READY_LIMIT_S = 60.0

# What people run servers of their own with; below it stands what a laptop wants otherwise, since the last line counts.
_CONFIG = Path(config.__file__).parent
_CONTROL_CONF = """\
maxmemory 256mb
"""

# A save point makes SIGTERM save the file, on every version of both servers, which loads faster than a log of all
# writes; the quarter of an hour bounds what a power cut can lose. One thread for the sockets, next to workers.
_CACHE_CONF = """\
maxmemory 256mb
appendonly no
save 900 1
dbfilename answers.rdb
io-threads 1
"""


@dataclass(frozen=True)
class Started:
    """A server that runs and can be used."""

    url: str
    port: int
    version: str


def start_control_redis(
    supervisor: Supervisor, data_dir: Path, ports: PortClaims, *, databases: int = 16, wish: int | None = None
) -> Callable[[threading.Event], Started]:
    return _redis_start(
        supervisor,
        data_dir,
        ports,
        _Redis("control-redis", "redis-control.conf", _CONTROL_CONF, 6, databases, wish),
    )


def start_cache_redis(
    supervisor: Supervisor, data_dir: Path, ports: PortClaims, *, databases: int = 16, wish: int | None = None
) -> Callable[[threading.Event], Started]:
    return _redis_start(
        supervisor,
        data_dir,
        ports,
        _Redis("cache-redis", "redis-cache.conf", _CACHE_CONF, 5, databases, wish),
    )


@dataclass(frozen=True)
class _Redis:
    name: str
    file: str  # in config/
    conf: str
    stop_order: int
    databases: int
    wish: int | None


def _redis_start(
    supervisor: Supervisor, data_dir: Path, ports: PortClaims, kind: _Redis
) -> Callable[[threading.Event], Started]:
    def start(cancel: threading.Event) -> Started:
        binary = find_redis()

        def on_port(port: int) -> Started:
            password = secrets.token_urlsafe(24)
            supervisor.start(redis_spec(binary, kind, data_dir, port, password), cancel)
            return Started(f"redis://:{password}@127.0.0.1:{port}/0", port, binary.version)

        return on_free_port(ports, PortWish(kind.name, kind.wish), on_port)

    return start


def redis_spec(binary: Binary, kind: _Redis, data_dir: Path, port: int, password: str) -> ProcessSpec:
    """Write the server's private configuration and describe its process."""
    directory = _make_directory(data_dir / kind.name)
    conf_path = data_dir / "run" / f"{kind.name}.conf"
    own = f'port {port}\ndir "{directory}"\ndatabases {kind.databases}\nrequirepass {password}\n'
    everybodys = (_CONFIG / kind.file).read_text(encoding="utf-8")
    try:
        write_private(conf_path, f"{everybodys}\n# Of `batchwright up`.\n{kind.conf}{own}")
    except OSError as error:
        raise unusable(conf_path, error) from None
    return ProcessSpec(
        name=kind.name,
        argv=(str(binary.path), str(conf_path)),
        ready=RedisAnswers(port, password),
        ready_limit_s=_REDIS_READY_LIMIT_S,
        stop_order=kind.stop_order,
        stop_limit_s=10.0,
        directory=directory,
    )


def start_mongod(
    supervisor: Supervisor, data_dir: Path, ports: PortClaims, *, wish: int | None = None
) -> Callable[[threading.Event], Started]:
    """The start of mongod as a single-node replica set.

    Args:
        wish: the port it had last time; with another one its replica set is reconfigured.
    """

    def start(cancel: threading.Event) -> Started:
        binary = find_mongod(data_dir)

        def on_port(port: int) -> Started:
            supervisor.start(mongod_spec(binary, data_dir, port), cancel)
            replica_set.become_primary(port, limit_s=_MONGOD_READY_LIMIT_S, cancel=cancel)
            url = f"mongodb://127.0.0.1:{port}/?replicaSet={replica_set.SET_NAME}"
            return Started(url, port, binary.version)

        return on_free_port(ports, PortWish("mongod", wish), on_port)

    return start


def mongod_spec(binary: Binary, data_dir: Path, port: int) -> ProcessSpec:
    directory = _make_directory(data_dir / "mongodb")
    options = (
        # Options count more than the file.
        *("--config", str(_CONFIG / "mongod.conf")),
        *("--dbpath", str(directory)),
        *("--port", str(port)),
        *("--bind_ip", "127.0.0.1"),
        *("--replSet", replica_set.SET_NAME),
        *("--oplogSize", "200"),
        *("--wiredTigerCacheSizeGB", "0.25"),
        "--nounixsocket",
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    )
    return ProcessSpec(
        name="mongod",
        argv=(str(binary.path), *options),
        env=binary.env,
        ready=Listens(port),
        ready_limit_s=_MONGOD_READY_LIMIT_S,
        stop_order=7,
        stop_limit_s=30.0,
        directory=directory,
    )


def on_free_port(ports: PortClaims, wish: PortWish, start: Callable[[int], _T]) -> _T:
    """Start something on a chosen port; if another program binds it first, choose again.

    Raises: PortTaken if a demanded port is taken, or every port tried was lost.
    """
    refused: int | None = None
    for last in (False,) * (MOST_PORTS_TRIED - 1) + (True,):
        port = ports.choose(wish, refused=refused)
        try:
            return start(port)
        except PortTaken:
            if last or wish.demanded_by is not None:
                raise
            refused = port
    raise AssertionError("the last try returns or raises")


def _make_directory(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(path, error) from None
    return path
