"""The Node SDK in `tests/compat/node`, installed by its lock; a machine without Node or npm is told what it lacks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).with_name("node")
LIMIT_S = 120


def installed() -> Path:
    """The folder of its packages; `npm ci` makes it where it is not what the lock says."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no `{program}` here; the Node SDK's flows need Node 20 or newer, with npm")
    modules = HERE / "node_modules"
    if not _as_locked(modules):
        _run(["npm", "ci", "--no-progress"], HERE, {})
    return modules


def run_script(script: Path, directory: Path, environ: Mapping[str, str], *words: str) -> str:
    """Run a module in a directory from which the packages are found; gives what it prints."""
    packages = directory / "node_modules"
    if not packages.exists():
        packages.symlink_to(installed())
    shutil.copy(script, directory)
    return _run(["node", script.name, *words], directory, environ)


def _as_locked(modules: Path) -> bool:
    kept, lock = modules / ".package-lock.json", HERE / "package-lock.json"
    if not kept.exists():
        return False
    there, wanted = (json.loads(path.read_text(encoding="utf-8"))["packages"] for path in (kept, lock))
    return all(there.get(name) == row for name, row in wanted.items() if name)


def _run(command: list[str], directory: Path, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
