"""This machine: versions, disk space where the data lies, open files."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from app.doctor.findings import Finding
from app.embedded.files import FIRST_START_FREE_BYTES, LATER_START_FREE_BYTES
from app.version import VERSION
from config.errors import SettingsError
from workers.transport.choice import Wanted, transport_name

if TYPE_CHECKING:
    from config.settings import Settings

# Below this a large batch may fill the disk while it runs.
_PLENTY_BYTES = 2_000_000_000
# MongoDB and a worker take about as much when they are busy.
_LITTLE_BYTES = 500_000_000
# Log files, pipes, event loops and what the interpreter opens.
_OTHER_FILES = 128
_WHY_AUTO = {
    "pyreqwest": "the faster one, and it is installed",
    "httpx": "no version of pyreqwest that is known to work is installed",
}


def check_machine(settings: Settings) -> Sequence[Finding]:
    """All of it; nothing here waits for anybody."""
    return [version(), memory(), disk(settings.data_dir), open_files(settings)]


def version() -> Finding:
    """What runs here."""
    cores = os.cpu_count() or 1
    python = platform.python_version()
    text = f"version {VERSION}, Python {python}, {cores} {'core' if cores == 1 else 'cores'}"
    return Finding("batchwright", "ok", text, data={"version": VERSION, "python": python, "cores": cores})


def memory() -> Finding:
    """Whether this machine has memory left."""
    try:
        seen = psutil.virtual_memory()
    except (psutil.Error, OSError, NotImplementedError):
        return Finding("memory", "ok", "this system does not tell")
    return of_memory(int(seen.available), int(seen.total))


def of_memory(available: int, total: int) -> Finding:
    """What so many bytes mean. Pure."""
    data = {"available_bytes": available, "total_bytes": total}
    text = f"{available / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if available < _LITTLE_BYTES:
        fix = "run fewer workers here (--workers), or move the servers apart"
        return Finding("memory", "warning", f"{text}, little for a stack with its servers", fix, data)
    return Finding("memory", "ok", text, data=data)


def disk(data_dir: Path) -> Finding:
    """Whether the data directory can be written and has room; one that does not exist yet is looked at above."""
    place = data_dir.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        fix = "give yourself the right to write there, or set BATCHWRIGHT_DATA_DIR to another directory"
        return Finding("disk", "problem", f"{data_dir} cannot be written", fix, {"path": str(place)})
    free = shutil.disk_usage(place).free
    needed = (
        LATER_START_FREE_BYTES if (data_dir / "mongodb" / "WiredTiger").exists() else FIRST_START_FREE_BYTES
    )
    data = {"path": str(place), "free_bytes": free, "needed_bytes": needed}
    text = f"{free / 1e9:,.1f} GB free for {data_dir}"
    if free < needed:
        fix = "free some space, or set BATCHWRIGHT_DATA_DIR to another disk"
        return Finding("disk", "problem", f"{text}, which is not enough to start MongoDB", fix, data)
    if free < _PLENTY_BYTES:
        return Finding("disk", "warning", f"{text}, little for large batches", "free some space", data)
    return Finding("disk", "ok", text, data=data)


def needed_files(settings: Settings) -> int:
    """Descriptors one worker process may use at its limits."""
    servers = settings.servers
    to_providers = max(1, len(settings.providers)) * settings.http.max_connections
    return to_providers + 2 * servers.redis_max_connections + servers.mongodb_max_pool + _OTHER_FILES


def open_files(settings: Settings) -> Finding:
    """Whether a process may open as many connections as its settings allow it."""
    if sys.platform == "win32":
        return Finding("open files", "ok", "this system has no such limit")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = needed_files(settings)
    unlimited = soft == resource.RLIM_INFINITY
    data = {"soft": None if unlimited else soft, "hard": None if hard == resource.RLIM_INFINITY else hard}
    data |= {"needed": needed}
    text = "no limit" if unlimited else f"{soft:,} at once"
    if unlimited or soft >= needed:
        return Finding("open files", "ok", f"{text}, a worker needs {needed:,} at most", data=data)
    fix = f"run `ulimit -n {needed}` before the start, or lower BATCHWRIGHT_HTTP_MAX_CONNECTIONS"
    return Finding("open files", "warning", f"{text}, but a worker may need {needed:,}", fix, data)


def transport(wanted: Wanted) -> Finding:
    """Which HTTP client the workers use for providers, and why."""
    data: dict[str, str] = {"wanted": wanted}
    try:
        used = transport_name(wanted)
    except SettingsError as error:
        fix = "`pip install 'batchwright[fast]'`, or set BATCHWRIGHT_HTTP_TRANSPORT to auto"
        text = f"the one that is wanted cannot be had: {error.got}"
        return Finding("transport", "problem", text, fix, data)
    why = _WHY_AUTO[used] if wanted == "auto" else "as the setting http.transport says"
    return Finding("transport", "ok", f"{used}: {why}", data=data | {"used": used})
