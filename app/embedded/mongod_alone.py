"""The embedded MongoDB without a stack around it, for verbs that need the database and nobody who works on it.

backup_verbs.py of the command line asks. It holds the directory as a stack does, so that none starts meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.embedded import leftovers, servers
from app.embedded.errors import DirectoryInUse
from app.embedded.files import FileLock, prepare, read_json
from app.embedded.ports import PortClaims
from app.embedded.servers import Started
from app.embedded.state import Say, silent
from app.embedded.supervisor import Supervisor


def holds_database(data_dir: Path) -> bool:
    """Whether an embedded MongoDB has ever run in this directory."""
    return (data_dir / "mongodb" / "WiredTiger").exists()


@contextmanager
def mongod_alone(data_dir: Path, doing: str, on_progress: Say = silent) -> Iterator[str]:
    """Its URL while it runs; it is stopped at the end of the block. `doing` tells others why they must wait.

    Raises: StackError; DirectoryInUse where a stack starts, runs or stops on this directory.
    """
    prepare(data_dir)
    lock = FileLock(data_dir / "stack.lock")
    if not lock.acquire(limit_s=1.0):
        pid, _, others = lock.read_note().partition(" ")
        raise DirectoryInUse(
            f"the data directory {data_dir} is in use by process {pid} ({others})",
            "try again when it has ended",
        )
    try:
        lock.note(f"{os.getpid()} {doing}")
        leftovers.end_leftovers(data_dir)
        with _running(data_dir, on_progress) as url:
            yield url
    finally:
        lock.release()


@contextmanager
def _running(data_dir: Path, say: Say) -> Iterator[str]:
    last = (read_json(data_dir / "run" / "ports.json") or {}).get("mongod")
    ports, found = PortClaims(), list[Started]()
    supervisor: Supervisor
    supervisor = Supervisor(
        data_dir / "logs",
        on_change=lambda: leftovers.write_list(data_dir, supervisor.rows()),
        on_event=say,
    )
    start: Callable[[threading.Event], Started] = servers.start_mongod(supervisor, data_dir, ports, wish=last)
    try:
        supervisor.start_all([lambda cancel: found.append(start(cancel))])
        yield found[0].url
    finally:
        supervisor.stop_all()
        leftovers.list_path(data_dir).unlink(missing_ok=True)
        ports.release()
