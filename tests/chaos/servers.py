"""The three servers of a chaos run, each of which can be killed, kept away and started again as it was.

It stands in for the stack's supervisor in app/embedded/servers.py, and starts nothing again by itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from app.embedded import servers
from app.embedded.ports import PortClaims
from app.embedded.process import Child, ProcessSpec
from app.embedded.supervisor import Supervisor
from tests.support.eventually import eventually

CONTROL, CACHE, MONGOD = "control-redis", "cache-redis", "mongod"
SERVERS = (MONGOD, CONTROL, CACHE)


class Servers:
    """mongod, control Redis and cache Redis of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.urls: dict[str, str] = {}
        self.ports: dict[str, int] = {}
        self._children: dict[str, Child] = {}
        self._specs: dict[str, ProcessSpec] = {}

    def start(self, spec: ProcessSpec, cancel: threading.Event | None = None) -> None:
        """Start a server and wait until it answers; a `Supervisor.start`."""
        self._specs[spec.name] = spec
        child = self._children[spec.name] = Child(spec, self.directory / "logs")
        threading.Thread(target=child.wait, daemon=True).start()
        ready = spec.ready
        eventually(lambda: child.exited.is_set() or ready is None or ready(), spec.ready_limit_s)
        if child.exited.is_set():
            raise child.why_it_ended()

    def start_all(self) -> None:
        """Start the three, one after the other."""
        for name in ("logs", "run"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        claims = PortClaims()
        self._start_mongod(claims)
        self._start(CONTROL, servers.start_control_redis, claims)
        self._start(CACHE, servers.start_cache_redis, claims)

    def _start_mongod(self, claims: PortClaims) -> None:
        self._start(MONGOD, servers.start_mongod, claims)

    def _start(self, name: str, start: Callable[..., Any], claims: PortClaims) -> None:
        started = start(cast(Supervisor, self), self.directory, claims)(threading.Event())
        self.urls[name], self.ports[name] = started.url, started.port

    def pid(self, name: str) -> int:
        """Of the server that runs now."""
        return self._children[name].pid

    def ended(self, name: str) -> bool:
        """Whether it is gone, by whatever end."""
        return self._children[name].exited.is_set()

    def kill(self, name: str) -> None:
        """SIGKILL, and gone when this returns."""
        child = self._children[name]
        child.kill()
        child.exited.wait(10.0)

    def start_again(self, name: str, *, forgetful: bool = False) -> None:
        """Start it again as it was, on the same port; `forgetful`: without anything it had on disk."""
        spec = self._specs[name]
        if forgetful and spec.directory is not None:
            shutil.rmtree(spec.directory)
            spec.directory.mkdir(mode=0o700)
        self.start(spec)

    def signal(self, name: str, what: signal.Signals) -> None:
        """SIGSTOP and SIGCONT, for instance."""
        os.kill(self.pid(name), what)

    def stop_all(self) -> None:
        """End what still runs."""
        for child in self._children.values():
            if not child.exited.is_set():
                child.kill()
        until = time.monotonic() + 10.0
        for child in self._children.values():
            child.exited.wait(max(0.0, until - time.monotonic()))


@contextmanager
def running(started: Servers) -> Iterator[Servers]:
    """Start them all, yield them, end them."""
    try:
        started.start_all()
        yield started
    finally:
        started.stop_all()
