"""The data directory: made, checked and locked here; every file in it is private to its user.

stack.py and clients.py call; nothing here starts a process. Layout under DATA_DIR:
stack.lock (held by the owner), users.lock (shared by runs that use the stack), stack.json (a ready stack),
api_key, logs/, run/ (pids, ready files, ports), lib/ and bin/ (binaries.py), mongodb/,
control-redis/, cache-redis/.
"""

import errno
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.embedded.errors import StackError

if sys.platform != "win32":
    import fcntl

# The journal of mongod takes 300 MB once it works, and it ends itself when the disk is full; a directory that
# holds a database already needs room to write, no more.
FIRST_START_FREE_BYTES = 500 * 1024 * 1024
LATER_START_FREE_BYTES = 100 * 1024 * 1024
_LOCK_POLL_S = 0.02
API_KEY_FILE = "api_key"


def unusable(path: Path, error: OSError) -> StackError:
    """Say why a path under the data directory cannot be used."""
    hints = {
        errno.EACCES: "give yourself the right to write there, or set BATCHWRIGHT_DATA_DIR to another one",
        errno.EROFS: "it is on a read-only file system; set BATCHWRIGHT_DATA_DIR to another directory",
        errno.ENOSPC: "the disk is full; free some space, or set BATCHWRIGHT_DATA_DIR to another disk",
        errno.ENOTDIR: "a part of this path is a file; set BATCHWRIGHT_DATA_DIR to a directory",
        errno.EEXIST: "this is a file; set BATCHWRIGHT_DATA_DIR to a directory",
    }
    hints[errno.EPERM] = hints[errno.EACCES]
    hints[errno.EDQUOT] = hints[errno.ENOSPC]
    hint = hints.get(error.errno or 0, "set BATCHWRIGHT_DATA_DIR to a directory you can write to")
    return StackError(f"cannot use the data directory {path} ({error.strerror or error})", hint)


def prepare(data_dir: Path, *, needed_bytes: int | None = None) -> None:
    """Make the directory and its rooms, and see that it can be written and has space.

    Args:
        needed_bytes: free space asked for; None = by whether a database is there already.
    Raises: StackError.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for room in ("logs", "run"):
            (data_dir / room).mkdir(mode=0o700, exist_ok=True)
        write_private(data_dir / "run" / "probe", "writable\n")
        free_bytes = shutil.disk_usage(data_dir).free
    except OSError as error:
        raise unusable(data_dir, error) from None
    if needed_bytes is None:
        first = not (data_dir / "mongodb" / "WiredTiger").exists()
        needed_bytes = FIRST_START_FREE_BYTES if first else LATER_START_FREE_BYTES
    if free_bytes < needed_bytes:
        raise StackError(
            f"the disk of {data_dir} has {free_bytes >> 20} MB free, {needed_bytes >> 20} MB are needed",
            "free some space, or set BATCHWRIGHT_DATA_DIR to another disk",
        )


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only; a crash leaves the old or the new one whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None if it is absent or no object (these files can always be made anew)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def ensure_api_key(data_dir: Path) -> str:
    """The API key of this data directory, made at the first call."""
    from workers.core.identity import new_api_key  # what only locks and reads files here needs no hashes

    return _ensure_secret(data_dir / API_KEY_FILE, new_api_key)


def ensure_flower_password(data_dir: Path) -> str:
    """The password of Flower's page for this data directory, made at the first call."""
    return _ensure_secret(data_dir / "flower_password", lambda: secrets.token_urlsafe(32))


def _ensure_secret(path: Path, draw: Callable[[], str]) -> str:
    try:
        known = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if known:
            return known
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = draw()
        write_private(path, made + "\n")
        return made
    except OSError as error:
        raise unusable(path, error) from None


class FileLock:
    """An flock on one file: exclusive or shared, freed by the kernel however its holder ends.

    The descriptor is not inherited by child processes, so a lock never outlives its holder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False, limit_s: float = 0.0) -> bool:
        """True once the lock is held; False if others kept it for `limit_s` seconds."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unusable(self.path, error) from None
        deadline = time.monotonic() + limit_s
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        while True:
            try:
                fcntl.flock(self._descriptor, mode | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    self.release()
                    return False
            except OSError as error:
                self.release()
                raise unusable(self.path, error) from None
            # flock has no time limit of its own, and a signal-driven one would need the main thread.
            time.sleep(_LOCK_POLL_S)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def note(self, text: str) -> None:
        """Leave a word for whoever finds the lock held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def read_note(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8").strip()
        except OSError:
            return ""
