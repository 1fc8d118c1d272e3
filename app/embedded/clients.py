"""Use, look at or end a stack that another process owns.

The command line's verbs call these. A client that works with a stack holds a shared lock on users.lock, so
that the owner of a `run` does not take the servers away under it.
"""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from app.embedded import leftovers, procinfo
from app.embedded.errors import StackError
from app.embedded.files import FileLock
from app.embedded.state import Say, StackState, read_state, silent, state_path
from app.embedded.supervisor import Row

# The state of a process whose stack's owner has died: it is ending, at the latest when its calls have.
LEFT = "ending"


class Attached:
    """A running stack this process uses; it stays up until `release`."""

    def __init__(self, state: StackState, lock: FileLock) -> None:
        self.state = state
        self._lock = lock

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@dataclass(frozen=True)
class ProcessRow:
    """One line of `ps`."""

    name: str
    pid: int
    state: str
    uptime_s: float
    rss_bytes: int
    restarts: int


def attach(data_dir: Path, *, limit_s: float = 60.0, on_wait: Say = silent) -> Attached | None:
    """Use the stack of this data directory; None if there is none, and one may be started.

    A stack that is just starting or stopping is waited for: the answer then is what it came to.

    Raises: StackError if that takes longer than `limit_s`, or the directory cannot be used.
    """
    if not data_dir.is_dir():
        return None
    lock = FileLock(data_dir / "users.lock")
    if not lock.acquire(shared=True):
        note = FileLock(data_dir / "stack.lock").read_note()
        pid, _, doing = note.partition(" ")
        on_wait(
            f"waiting for the stack of process {pid}, which is {'stopping' if doing != 'starting' else doing}"
        )
        if not lock.acquire(shared=True, limit_s=limit_s):
            raise StackError(
                f"the stack of process {pid} in {data_dir} is neither ready nor gone after {limit_s:.0f} s",
                f"look at {data_dir / 'logs'}, or end process {pid}",
            )
    state = read_state(data_dir)
    if state is None:
        lock.release()
        return None
    return Attached(state, lock)


def down(data_dir: Path, *, limit_s: float = 60.0, on_progress: Say = silent) -> bool:
    """End the stack of this data directory, or what a dead one left, and return when all of it is gone.

    Args:
        on_progress: is told what was found where the owner of the stack had died.
    Returns: False if nothing runs.
    Raises: StackError if it is just starting, still runs after `limit_s` seconds, or may not be ended by
        this user.
    """
    state = read_state(data_dir)
    if state is None:
        return _down_without_owner(data_dir, limit_s, on_progress)
    try:
        os.kill(state.owner_pid, signal.SIGTERM)
    except ProcessLookupError:
        return _down_without_owner(data_dir, limit_s, on_progress)
    except PermissionError:
        raise StackError(f"the stack belongs to another user (process {state.owner_pid})") from None
    if not procinfo.wait_until_gone(state.owner_pid, state.owner_identity, limit_s):
        raise _not_ended(data_dir, str(state.owner_pid), limit_s)
    return True


def _down_without_owner(data_dir: Path, limit_s: float, on_progress: Say) -> bool:
    """Who holds the stack's lock tells a stack that starts or stops from one whose owner has died."""
    lock = FileLock(data_dir / "stack.lock")
    if not lock.path.exists():
        return False
    ended_by_itself = False
    if not lock.acquire():
        pid, _, doing = lock.read_note().partition(" ")
        if doing != "stopping":
            raise StackError(
                f"the stack of process {pid} in {data_dir} is {doing or 'starting'}", "try again in a moment"
            )
        if not lock.acquire(limit_s=limit_s):
            raise _not_ended(data_dir, pid, limit_s)
        ended_by_itself = True
    try:
        lock.note(f"{os.getpid()} stopping")
        ended = leftovers.end_leftovers(data_dir)
        state_path(data_dir).unlink(missing_ok=True)
    finally:
        lock.release()
    if ended:
        on_progress(f"ended what a stack that died had left running: {', '.join(ended)}")
    return bool(ended) or ended_by_itself


def _not_ended(data_dir: Path, pid: str, limit_s: float) -> StackError:
    return StackError(
        f"the stack of process {pid} has not ended after {limit_s:.0f} s",
        f"look at {data_dir / 'logs' / 'stack.log'}, or run: kill -9 {pid}",
    )


def processes(data_dir: Path) -> tuple[ProcessRow, ...]:
    """All processes of the stack, its owner first; empty if none runs. Memory includes their children.

    Where the owner has died: those of its processes that still live, in the state `LEFT`.
    """
    state = read_state(data_dir)
    if state is None:
        return tuple(replace(row, state=LEFT) for row in _rows(left_behind(data_dir)))
    now = time.time()
    memory = procinfo.group_memory_bytes([state.owner_pid])
    owner = ProcessRow("stack", state.owner_pid, "up", now - state.started_at, memory[state.owner_pid], 0)
    return (owner, *_rows(leftovers.read_list(data_dir)))


def left_behind(data_dir: Path) -> tuple[Row, ...]:
    """What lives on of a stack whose owner has died; empty where one starts, runs or stops."""
    rows = leftovers.still_running(data_dir)
    lock = FileLock(data_dir / "stack.lock")
    if not rows or not lock.acquire():
        return ()
    lock.release()
    return rows


def _rows(listed: Iterable[Row]) -> tuple[ProcessRow, ...]:
    rows, now = tuple(listed), time.time()
    memory = procinfo.group_memory_bytes(row.pid for row in rows)
    return tuple(
        ProcessRow(
            row.name,
            row.pid,
            row.state,
            now - row.started_at if memory[row.pid] else 0.0,
            memory[row.pid],
            row.restarts,
        )
        for row in rows
    )
