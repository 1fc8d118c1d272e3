"""Worker processes for tests, as the stack starts them: own session, ended whatever happens to the test.

    with started_worker(site, "w1", BATCHWRIGHT_LEASE_S="2") as worker: ...

A `Site` is what they work on: servers, stores, a queue to publish to and a simulator to call.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.batches import Stores, open_stores
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.simulator import Simulator, running_simulator
from workers.queue import Queue
from workers.store.mongo import Doc

ROOT = Path(__file__).resolve().parents[2]
LEASH = ROOT / "app" / "embedded" / "leash.py"
START_S = 30.0


@dataclass(frozen=True)
class Site:
    """Where workers work."""

    servers: TestServers
    stores: Stores
    queue: Queue
    simulator: Simulator
    directory: Path

    def called(self) -> int:
        """Calls the simulator has answered so far; what is under way is logged when it ends."""
        path = self.simulator.log_path
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def submit(self, lines: list[bytes], **changes: object) -> str:
        """Lay a batch down and ask for its plan; gives its id."""
        batch_id = self.stores.batch(lines, **changes)
        self.queue.publish_plan(batch_id)
        return batch_id

    def recorded(self, batch_id: str) -> int:
        """Results of a batch so far."""
        return self.stores.db["batch_results"].count_documents(_of(batch_id))

    def results(self, batch_id: str) -> list[Doc]:
        """The result documents of a batch in input order."""
        return list(self.stores.db["batch_results"].find(_of(batch_id)).sort("_id", 1))

    def shards(self, batch_id: str) -> list[Doc]:
        """The shard documents of a batch."""
        return list(self.stores.db["batch_shards"].find({"batch_id": batch_id}).sort("_id", 1))

    def ended(self, batch_id: str, within_s: float = 20.0) -> Doc:
        """The batch once it has ended."""
        ends = ("completed", "failed", "cancelled", "expired")

        def look() -> Doc | None:
            doc = self.stores.state(batch_id)
            return doc if doc["status"] in ends else None

        found = eventually(look, within_s, what=lambda: self._how_it_stands(batch_id))
        assert found is not None
        return found

    def _how_it_stands(self, batch_id: str) -> str:
        shards = [
            (doc["status"], doc["reason"], doc["fence"], doc["counts"]["recorded"], doc["size"])
            for doc in self.shards(batch_id)
        ]
        logs = "".join(path.read_text()[-3000:] for path in self.directory.glob("*.log"))
        return f"{self.stores.state(batch_id)['status']}, {self.recorded(batch_id)} results, {shards}\n{logs}"


@contextmanager
def open_site(servers: TestServers, directory: Path, *simulator_flags: str) -> Iterator[Site]:
    """Empty servers and a fresh simulator; workers come later."""
    stores = open_stores(servers)
    servers.empty()
    stores.tenants.ensure()
    queue = Queue(servers.redis_url)
    with running_simulator(directory, *simulator_flags) as simulator:
        yield Site(servers, stores, queue, simulator, directory)
    queue.close()
    stores.db.client.close()


@dataclass(frozen=True)
class WorkerProcess:
    """A started worker."""

    process: subprocess.Popen[bytes]
    log_path: Path

    def kill(self) -> None:
        """SIGKILL: no word, no clean-up."""
        self.process.kill()
        self.process.wait()

    def terminate(self, within_s: float = 20.0) -> int:
        """SIGTERM, and its exit code once it has drained."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=within_s)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


@contextmanager
def started_worker(site: Site, name: str, **settings: str) -> Iterator[WorkerProcess]:
    """Start one, yield it once it consumes, end it."""
    worker, ready = _start(site, name, settings)
    try:
        eventually(lambda: ready.exists() or not worker.alive, START_S)
        if not worker.alive:
            pytest.fail(
                f"{name} ended with {worker.process.returncode}: {worker.log_path.read_text()[-3000:]}"
            )
        yield worker
    finally:
        if worker.alive:
            # What a test leaves running has nothing to give back: its databases are emptied anyhow.
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()


def _start(site: Site, name: str, settings: dict[str, str]) -> tuple[WorkerProcess, Path]:
    ready, log_path = site.directory / f"{name}.ready", site.directory / f"{name}.log"
    ready.unlink(missing_ok=True)
    # What the shell of a developer names (keys, servers) is no part of the test.
    inherited = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR")}
    environ = {
        **inherited,
        "PYTHONPATH": str(ROOT),
        **site.servers.environ(),
        "BATCHWRIGHT_SIMULATOR_URL": site.simulator.url,
        "BATCHWRIGHT_DATA_DIR": str(site.directory),
        "BATCHWRIGHT_READY_FILE": str(ready),
        "BATCHWRIGHT_SWEEP_S": "0.2",
        **settings,
    }
    command = [sys.executable, "-m", "workers.main", "--name", name]
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command]
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environ,
            # Away from the checkout: a .env or batchwright.toml there is a developer's own.
            cwd=site.directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return WorkerProcess(process, log_path), ready


def _of(batch_id: str) -> Doc:
    return {"_id": {"$gt": f"{batch_id}:", "$lt": f"{batch_id};"}}
