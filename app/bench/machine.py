"""On what a bench ran: the processor, the Python, the versions of everything measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from app.bench.placement import Cores
from app.version import VERSION

_PACKAGES = ("celery", "redis", "pymongo", "httpx", "pyreqwest", "uvloop", "granian")


def describe(cores: Cores, servers: Mapping[str, str], load: float) -> dict[str, Any]:
    """The `machine` of the record.

    Args:
        servers: {mongod, control-redis, ...: version}.
        load: `busy()` before the bench began.
    """
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": load,
        "engine_core": cores.engine,
        "other_cores": list(cores.others),
        "batchwright": VERSION,
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "servers": {name: text for name, text in servers.items() if name != "python"},
    }


def busy() -> float:
    """Processes that wanted to run in the last minute, on average: other work makes every figure worse."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
