"""A process that owns a stack with embedded servers, for tests that end it or what it started.

A test module imports the fixture by name: `from tests.support.owned_stack import owner`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import procinfo
from app.embedded.state import StackState
from app.embedded.supervisor import Row

PATIENCE_S = 30.0


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns a stack with embedded servers on `tmp_path`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BATCHWRIGHT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.stack_owner", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def all_gone(state: StackState, rows: tuple[Row, ...]) -> bool:
    """Whether every process of a stack ends within `PATIENCE_S`."""
    assert set(state.pids) == {row.name for row in rows}
    return all(procinfo.wait_until_gone(row.pid, row.identity, PATIENCE_S) for row in rows)
