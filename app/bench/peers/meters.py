"""What a process has used, as the kernel counts it, and on which core it may run.

Standard library alone: the peers' processes use it too. Without /proc (macOS) `ps` is asked, and nobody is
bound to a core.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_HAS_PROC = Path("/proc/self/stat").exists()


def bind_to(core: int | None) -> None:
    """Let the calling thread, and what it starts from here on, run on this core alone; None changes nothing."""
    if core is not None and sys.platform == "linux":
        os.sched_setaffinity(0, {core})


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of these processes so far, in seconds; one that has ended counts nothing."""
    return sum(_cpu_s(pid) for pid in pids)


def memory_bytes(pid: int) -> tuple[int, int]:
    """Resident memory now and at its peak since `forget_peak`; (0, 0) for a process that is gone."""
    if not _HAS_PROC:
        kilobytes = _ps("rss=", pid)
        return (int(kilobytes) * 1024,) * 2 if kilobytes else (0, 0)
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0, 0
    known = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    now, peak = (int(known.get(name, "0 kB").split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def forget_peak(pid: int) -> None:
    """Let the peak of `memory_bytes` begin anew (proc(5), clear_refs)."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return  # another system, or another's process: the peak is then that of its whole life


def _cpu_s(pid: int) -> float:
    if not _HAS_PROC:
        return _seconds(_ps("time=", pid))
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    ticks = int(fields[11]) + int(fields[12])
    return ticks / float(os.sysconf("SC_CLK_TCK"))


def _seconds(shown: str) -> float:
    """`ps` shows [[hours:]minutes:]seconds."""
    total = 0.0
    for part in shown.replace(",", ".").split(":") if shown else ():
        total = total * 60 + float(part)
    return total


def _ps(what: str, pid: int) -> str:
    command = ["/bin/ps", "-o", what, "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - ours
    return done.stdout.strip()
