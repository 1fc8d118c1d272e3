"""One Flower process over a test's broker, and its HTTP API as an operator's browser uses it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.servers import TestServers

ROOT = Path(__file__).resolve().parents[2]
AUTH = ("operator", "letmein")


@dataclass(frozen=True)
class Flower:
    """A running one."""

    client: httpx.Client
    process: subprocess.Popen[bytes]

    def revoke(self, task_id: str, *, terminate: bool) -> None:
        """Press Revoke or Terminate."""
        answer = self.client.post(
            f"/api/task/revoke/{task_id}", params={"terminate": "true"} if terminate else {}
        )
        answer.raise_for_status()

    def tasks(self) -> dict[str, dict[str, Any]]:
        """What it has heard of, by task id."""
        found: dict[str, dict[str, Any]] = self.client.get("/api/tasks").raise_for_status().json()
        return found

    def workers(self) -> dict[str, Any]:
        """The worker processes that have answered it."""
        found: dict[str, Any] = (
            self.client.get("/api/workers", params={"refresh": "1"}).raise_for_status().json()
        )
        return found


@contextmanager
def running_flower(
    servers: TestServers, directory: Path, host: str = "127.0.0.1", prefix: str = "", **more: str
) -> Iterator[Flower]:
    """Start one as the stack does, yield it once it answers, end it. `more` of the environment may undo the rest."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}{prefix}"
    environ = {
        **{key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR")},
        "PYTHONPATH": str(ROOT),
        **servers.environ(),
        "BATCHWRIGHT_DATA_DIR": str(directory),
        "BATCHWRIGHT_SIMULATOR_URL": "http://127.0.0.1:1",
        "BATCHWRIGHT_FLOWER_USER": AUTH[0],
        "BATCHWRIGHT_FLOWER_PASSWORD": AUTH[1],
        **more,
    }
    command = [sys.executable, "-m", "workers.flower_page", "--host", host, "--port", str(port)]
    with (directory / "flower.log").open("ab") as log:
        process = subprocess.Popen(command, env=environ, cwd=directory, stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=url, auth=AUTH, timeout=10.0) as client:
            eventually(lambda: process.poll() is not None or _answers(client), 20.0)
            if process.poll() is not None:
                pytest.fail(f"Flower ended: {(directory / 'flower.log').read_text()[-2000:]}")
            yield Flower(client, process)
    finally:
        process.kill()
        process.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthcheck").status_code == 200
    except httpx.TransportError:
        return False
