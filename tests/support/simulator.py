"""A simulator process for tests: on a free port, ended with the test session, its call log readable.

The root conftest names it (`pytest_plugins`): a test process starts one. Each import would start one more.
For one with settings of its own: `with running_simulator(directory, "--rpm", "60") as simulator:`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Simulator:
    """A running simulator. `url` is without /v1; `base_url` is what an SDK wants."""

    url: str
    log_path: Path
    process: subprocess.Popen[str]

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def calls(self, wanted: Callable[[dict[str, Any]], bool] | None = None) -> list[dict[str, Any]]:
        """Calls logged so far, those `wanted` of them. A call's line is there before its answer is."""
        text = self.log_path.read_text(encoding="utf-8") if self.log_path.exists() else ""
        calls = [json.loads(line) for line in text.splitlines()]
        return [call for call in calls if wanted is None or wanted(call)]

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """End it and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sent)
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def running_simulator(directory: Path, *flags: str) -> Iterator[Simulator]:
    """Start one, yield it once it answers, end it."""
    log_path = directory / "calls.jsonl"
    command = [sys.executable, "-m", "app.simulator", "--port", "0", "--json", "--log", str(log_path), *flags]
    with (
        (directory / "stderr.txt").open("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        started = Simulator(_ready_url(process, errors), log_path, process)
        try:
            yield started
        finally:
            started.stop()


def _ready_url(process: subprocess.Popen[str], errors: IO[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait(timeout=10)
        errors.seek(0)
        raise RuntimeError(f"the simulator ended with {process.returncode}: {errors.read()}")
    return str(json.loads(line)["url"])


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One plain simulator for the whole session: seed 7, no latency, no limits, no key."""
    with running_simulator(tmp_path_factory.mktemp("simulator"), "--seed", "7") as started:
        yield started
