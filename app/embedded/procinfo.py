"""What the operating system says about processes: who one is, how long it runs, what memory its group holds.

clients.py and leftovers.py ask. /proc on Linux (small containers have no `ps`), `ps` elsewhere.
"""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

_HAS_PROC = Path("/proc/self/stat").exists()


def identity(pid: int) -> str | None:
    """A text no other process will ever have on this machine, or None if there is no such process.

    A pid alone is used again after a while; with the time of its start it is not. A zombie counts as gone.
    """
    if _HAS_PROC:
        fields = _stat_fields(pid)
        if fields is None or fields[0] in ("Z", "X"):
            return None
        return f"{pid}/{fields[19]}/{_boot_id()}"
    started = _ps("-o", "lstart=", "-p", str(pid)).strip()
    return f"{pid}/{started}" if started else None


def is_same(pid: int, known_identity: str) -> bool:
    """True if the process that once had this identity still runs."""
    return bool(known_identity) and identity(pid) == known_identity


def group_memory_bytes(pids: Iterable[int]) -> dict[int, int]:
    """Resident memory of each process group led by one of `pids` (a leader and its children).

    Pages shared by a group are counted for each member, so the figure is an upper bound.
    """
    wanted = set(pids)
    sums = dict.fromkeys(wanted, 0)
    for pid, group, memory_bytes in _all_processes():
        # A process somebody started in a terminal leads no group of its own.
        counted_for = group if group in wanted else pid
        if counted_for in wanted:
            sums[counted_for] += memory_bytes
    return sums


def _all_processes() -> Iterable[tuple[int, int, int]]:
    """pid, group and resident bytes of each process."""
    if not _HAS_PROC:
        for line in _ps("-ax", "-o", "pid=,pgid=,rss=").splitlines():
            pid, group, kilobytes = line.split()
            yield int(pid), int(group), int(kilobytes) * 1024
        return
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").iterdir():
        fields = _stat_fields(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None:
            yield int(entry.name), int(fields[2]), int(fields[21]) * page_bytes


def _stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from its third field on; the second is a name, which may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ps(*args: str) -> str:
    # A time of start is an identity: it must read the same in whatever zone and language somebody asks.
    env = {**os.environ, "LC_ALL": "C", "TZ": "UTC0"}
    done = subprocess.run(
        ["/bin/ps", *args], env=env, capture_output=True, text=True, timeout=10, check=False
    )
    return done.stdout


def wait_until_gone(pid: int, known_identity: str, limit_s: float) -> bool:
    """True once the process has ended; False if it still runs after `limit_s`. For others' children."""
    deadline = time.monotonic() + limit_s
    while is_same(pid, known_identity):
        if time.monotonic() >= deadline:
            return False
        # Another's child cannot be waited for; looking is all the system offers on every platform.
        time.sleep(0.02)
    return True
