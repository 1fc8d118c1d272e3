"""Keep a list of the processes of a stack on disk, and end what a dead owner has left running.

stack.py writes `run/processes.json` at every change and clears up at the next start, before the servers need
their directories. On Linux leftovers end by themselves, but a worker may take its drain time over it.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.embedded import procinfo
from app.embedded.files import read_json, write_private
from app.embedded.supervisor import Row

_POLITE_LIMIT_S = 10.0


def list_path(data_dir: Path) -> Path:
    return data_dir / "run" / "processes.json"


def write_list(data_dir: Path, rows: Iterable[Row]) -> None:
    write_private(list_path(data_dir), json.dumps({row.name: asdict(row) for row in rows}, indent=2) + "\n")


def read_list(data_dir: Path) -> tuple[Row, ...]:
    known: dict[str, Any] = read_json(list_path(data_dir)) or {}
    try:
        return tuple(Row(**fields) for fields in known.values())
    except TypeError:  # written by another version of this program
        return ()


def still_running(data_dir: Path) -> tuple[Row, ...]:
    """The listed processes that live; whose they are, the holder of the stack's lock says."""
    return tuple(row for row in read_list(data_dir) if procinfo.is_same(row.pid, row.identity))


def end_leftovers(data_dir: Path, limit_s: float = _POLITE_LIMIT_S) -> tuple[str, ...]:
    """End every listed process that still runs; only call as the holder of the stack's lock.

    Returns: the names of those that were found running.
    """
    found = still_running(data_dir)
    for row in found:
        _send(row.pid, signal.SIGTERM)
    for row in found:
        if not procinfo.wait_until_gone(row.pid, row.identity, limit_s):
            # It leads a group of its own, so what it started goes with it.
            _send(-row.pid, signal.SIGKILL)
            procinfo.wait_until_gone(row.pid, row.identity, 5.0)
    list_path(data_dir).unlink(missing_ok=True)
    return tuple(row.name for row in found)


def _send(pid: int, what: signal.Signals) -> None:
    if sys.platform == "win32":
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, what)
