"""Where a bench takes place: a stack of its own in a directory of its own, gone afterwards.

run.py opens it. Servers, simulator and API share cores, the one worker has its own (placement.py). Two benches
at once do not meet: ports are free ones and the data directory is new.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from app.bench import placement
from app.bench.others import environment
from app.bench.placement import Cores
from app.bench.prompts import SEED
from app.bench.telling import Telling
from app.client.blocking import Client
from app.client.locate import Place
from app.embedded.commands import OurCommands, Plan, Wiring
from app.embedded.errors import StackError
from app.embedded.process import ProcessSpec
from app.embedded.stack import Stack
from app.embedded.state import StackState
from config.settings import Api, Settings

WORKER = "worker-1"
_MAX_FILE_BYTES = 2_000_000_000
_MAX_REQUESTS = 5_000_000
_BIND = (
    "import os, sys; os.sched_setaffinity(0, set(map(int, sys.argv[1].split(',')))); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True)
class Rules:
    """How the stack of a bench is set up.

    Attributes:
        concurrency: calls at once, of every engine that can do as many.
        transport: of our worker, as the setting http.transport.
        latency_ms: of every answer of the simulator.
    """

    concurrency: int
    transport: str
    latency_ms: float
    cores: Cores


@dataclass(frozen=True)
class Site:
    """A running stack, a client of its API, and its database."""

    directory: Path
    rules: Rules
    state: StackState
    client: Client
    db: Any

    @property
    def worker_pid(self) -> int:
        """Our engine's one process."""
        return self.state.pids[WORKER]

    def last_words(self) -> str:
        """The last line that the worker has written to its log."""
        path = self.directory / "logs" / f"{WORKER}.log"
        lines = (
            path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
        )
        return lines[-1][:300] if lines else "nothing"

    @property
    def address(self) -> dict[str, Any]:
        """What every other engine's process is told."""
        return {
            "url": self.state.sim_url,
            "concurrency": self.rules.concurrency,
            "redis_url": self.state.redis_url.rpartition("/")[0] + "/1",
            "mongodb_url": self.state.mongodb_url,
            "mongodb_database": self.db.name,
        }


class BenchCommands(OurCommands):
    """The stack as it is delivered, but for the simulator's latency and the cores."""

    def __init__(self, rules: Rules) -> None:
        self._rules, self._cores = rules, rules.cores

    def simulator(self, plan: Plan, port: int) -> ProcessSpec:
        """With the latency of the bench, and a seed that tells us its answers."""
        spec = super().simulator(plan, port)
        told = ("--latency-ms", f"{self._rules.latency_ms:g}", "--seed", str(SEED))
        return _bound(replace(spec, argv=(*spec.argv, *told)), self._cores.others)

    def api(self, plan: Plan, wiring: Wiring, port: int) -> ProcessSpec:
        """Off the engine's core."""
        return _bound(super().api(plan, wiring, port), self._cores.others)

    def portless(self, plan: Plan, wiring: Wiring) -> Sequence[ProcessSpec]:
        """The one worker, on the engine's core."""
        core = self._cores.engine
        return [_bound(spec, () if core is None else (core,)) for spec in super().portless(plan, wiring)]


def _bound(spec: ProcessSpec, cores: Sequence[int]) -> ProcessSpec:
    """The same process on these cores alone; none means wherever it likes."""
    if not cores:
        return spec
    named = ",".join(map(str, cores))
    return replace(spec, argv=(sys.executable, "-I", "-S", "-c", _BIND, named, *spec.argv))


@contextmanager
def open_site(rules: Rules, tell: Telling, commands: BenchCommands | None = None) -> Iterator[Site]:
    """Start everything, yield it, end everything and take the directory away. Raises StackError."""
    steps = _Steps(tell)
    directory = Path(tempfile.mkdtemp(prefix="batchwright-bench-"))
    try:
        with _alone(directory, rules):
            settings = Settings(data_dir=directory, api=Api(port=0))
            stack = Stack(
                settings,
                workers=1,
                simulator=True,
                flower=False,
                beat=False,
                commands=commands or BenchCommands(rules),
            )
            try:
                state = _started(stack, steps)
                with (
                    _off_the_engine_core(rules.cores),
                    Client(Place(state.api_url, state.api_key)) as client,
                    MongoClient[dict[str, Any]](state.mongodb_url, tz_aware=True) as mongo,
                ):
                    yield Site(directory, rules, state, client, mongo[settings.servers.mongodb_database])
            finally:
                stack.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Steps:
    """What the stack says: steps while it starts, and later crashes, which a person should see."""

    def __init__(self, tell: Telling) -> None:
        self._tell = tell
        self.started = False

    def __call__(self, line: str) -> None:
        (self._tell.note if self.started else self._tell.step)(line)


def _started(stack: Stack, steps: _Steps) -> StackState:
    try:
        state = stack.start(steps)
    except StackError as error:
        # Our directory is a temporary one, so it is not that setting which moves it.
        if "BATCHWRIGHT_DATA_DIR" in error.hint:
            raise StackError(error.message, "free some space, or set TMPDIR to another disk") from error
        raise
    steps.started = True
    return state


@contextmanager
def _off_the_engine_core(cores: Cores) -> Iterator[None]:
    before = placement.usable()
    placement.bind_this_thread(cores)
    try:
        yield
    finally:
        placement.release_this_thread(before)


@contextmanager
def _alone(directory: Path, rules: Rules) -> Iterator[None]:
    """A developer's settings, keys and `.env` are no part of the bench: its own environment and directory."""
    before, here = dict(os.environ), Path.cwd()
    _become(environment() | _settings(directory, rules))
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(here)
        _become(before)


def _settings(directory: Path, rules: Rules) -> dict[str, str]:
    return {
        "BATCHWRIGHT_DATA_DIR": str(directory),
        "BATCHWRIGHT_API_MAX_FILE_BYTES": str(_MAX_FILE_BYTES),
        "BATCHWRIGHT_API_MAX_REQUESTS": str(_MAX_REQUESTS),
        "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": str(rules.concurrency),
        "BATCHWRIGHT_HTTP_TRANSPORT": rules.transport,
        "BATCHWRIGHT_LOG_LEVEL": "warning",
    }


def _become(environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
