"""What a process takes and what its machine has, for its vital signs; asked with each beat, in 0.15 ms [m].

psutil asks each platform in its own words; what one does not tell is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import psutil

_OWN: Final = psutil.Process()


def own_signs() -> Mapping[str, float]:
    """cpu_s of this process since its start, its open_files, and the open_files_limit."""
    found: dict[str, float] = {}
    _take(found, lambda: {"cpu_s": sum(_OWN.cpu_times()[:2])})
    # Windows has neither; there is none of it in what counts handles instead.
    _take(found, lambda: {"open_files": _OWN.num_fds()})
    _take(found, lambda: {"open_files_limit": _OWN.rlimit(psutil.RLIMIT_NOFILE)[0]})
    return found


def machine_signs() -> Mapping[str, float]:
    """cpu_s busy on all cores since its start, cores, memory and the disk under this process, bytes over the network.

    In a container they are those of its host, but for the disk.
    """
    found: dict[str, float] = {}
    _take(found, _cpu)
    _take(found, _memory)
    _take(found, _disk)
    _take(found, _network)
    return found


def _take(found: dict[str, float], ask: Callable[[], Mapping[str, float]]) -> None:
    try:
        found.update({name: float(value) for name, value in ask().items()})
    except (psutil.Error, AttributeError, OSError, NotImplementedError):
        return


def _cpu() -> Mapping[str, float]:
    times: Any = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts what guests took as `user`, too.
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return {"cpu_s": sum(times) - idle - guests, "cores": psutil.cpu_count() or 1}


def _memory() -> Mapping[str, float]:
    memory = psutil.virtual_memory()
    return {"memory_total": memory.total, "memory_available": memory.available}


def _disk() -> Mapping[str, float]:
    disk = psutil.disk_usage(str(Path.cwd()))
    return {"disk_total": disk.total, "disk_free": disk.free}


def _network() -> Mapping[str, float]:
    network: Any = psutil.net_io_counters()
    return {"network_sent": network.bytes_sent, "network_received": network.bytes_recv} if network else {}
