"""Choose ports that are free, and keep our own stacks from choosing the same one.

stack.py asks. A port is free until somebody binds it, so between choosing and binding another program may
come first: stacks of one user exclude each other by a lock file per port, and against all others the start is
repeated with another port (`PortTaken`).
"""

import os
import socket
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from app.embedded.errors import PortTaken, StackError
from app.embedded.files import FileLock


@dataclass(frozen=True)
class PortWish:
    """The port a service would like; `demanded_by` says where a person has set it."""

    service: str
    port: int | None = None
    demanded_by: str | None = None


class PortClaims:
    """The ports of one stack; all are given back by `release` or with the process."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or Path(tempfile.gettempdir()) / f"batchwright-ports-{os.getuid()}"
        self._locks: dict[int, FileLock] = {}
        self._given: set[int] = set()
        self._choosing = threading.Lock()

    def choose(self, wish: PortWish, *, refused: int | None = None) -> int:
        """A free port: the wished one if it is free, else any.

        Args:
            refused: a port that was chosen before and could not be bound.
        Raises: PortTaken if the wished port is demanded and taken.
        """
        if wish.port is not None and wish.port != refused and is_free(wish.port) and self._claim(wish.port):
            return wish.port
        if wish.demanded_by is not None:
            raise PortTaken(
                f"port {wish.port} for {wish.service} is taken by another program",
                f"stop that program, or change {wish.demanded_by}",
            )
        return self._any_free_port(wish.service)

    def release(self) -> None:
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()
        self._given.clear()

    def _any_free_port(self, service: str) -> int:
        """A port of the kernel's choice. It deals them at random, so only our own choices are kept apart."""
        for _ in range(50):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            with self._choosing:
                if port not in self._given:
                    self._given.add(port)
                    return port
        raise StackError(f"no free port was found for {service}", "close some programs that listen on ports")

    def _claim(self, port: int) -> bool:
        """Keep other stacks of this user from a port they may wish for as well, such as the usual ones."""
        with self._choosing:
            if port in self._given:
                return False
            self._given.add(port)
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(f"cannot make {self._directory} ({error.strerror})", "set TMPDIR") from None
        lock = FileLock(self._directory / str(port))
        if not lock.acquire():
            with self._choosing:
                self._given.discard(port)
            return False
        self._locks[port] = lock
        return True


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True if nobody listens on the port and it could be bound now."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        # macOS lets two sockets share a port if one is bound to all addresses: so look for a listener first.
        if probe.connect_ex((host, port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
