"""The engines that are processes of their own: find their environment, start them, give them laps.

A process that breaks, hangs or answers wrongly ends its own row and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.bench.figures import Lap
from app.bench.placement import Cores
from app.embedded import leash

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "app.bench.peers"
_START_S = 60.0
_LAP_S = 120.0  # many times what a lap takes
_END_S = 10.0
_TAIL_BYTES = 4096


class Broken(Exception):
    """An engine cannot go on; the message is what its row says."""


@dataclass(frozen=True, slots=True)
class Other:
    """An engine beside ours.

    Attributes:
        module: of app/bench/peers.
        needs: the distribution that must be installed; `own` looks for it where we run, else in `.venv-bench`.
        rules: what its process is told beyond what all are told.
    """

    name: str
    module: str
    needs: str
    own: bool = False
    rules: tuple[tuple[str, Any], ...] = ()


OTHERS = (
    Other("raw_pyreqwest", "raw_pyreqwest", "pyreqwest", own=True),
    Other("raw_httpx", "raw_httpx", "httpx", own=True),
    # The very Celery that we run on: another version would compare two things.
    Other("celery_prefork", "celery_prefork", "celery", own=True),
    Other("openai", "openai_client", "openai"),
    Other("litellm_router", "litellm_router", "litellm"),
    Other("litellm_cache", "litellm_router", "litellm", rules=(("cache", True),)),
    Other("arq", "arq_jobs", "arq"),
)
INSERT_MANY = Other("insert_many", "insert_many", "pymongo", own=True)


def interpreter(other: Other, bench_python: Path) -> str:
    """The Python to run it with. Raises Broken, saying what is missing, where it is not installed."""
    python = sys.executable if other.own else str(bench_python)
    if not other.own and not bench_python.exists():
        raise Broken("not installed: `make bench-setup` makes the peers' environment")
    look = f"import importlib.metadata as m; m.version({other.needs!r})"
    done = subprocess.run(  # noqa: S603 - ours
        [python, "-c", look], capture_output=True, text=True, timeout=60, check=False, env=environment()
    )
    if done.returncode:
        raise Broken(f"{other.needs} is not installed in {Path(python).parents[1].name}")
    return python


def environment() -> dict[str, str]:
    """What an engine finds in its environment: nothing a developer has set for other programs."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
    found = {name: value for name, value in os.environ.items() if name in kept}
    return found | {"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"}


class OtherProcess:
    """One engine's process, from start to end."""

    def __init__(
        self, other: Other, rules: Mapping[str, Any], cores: Cores, directory: Path, python: str
    ) -> None:
        """Start it; `until_ready` waits."""
        self.name = other.name
        self.version = ""
        self._log_path = directory / f"{other.name}.log"
        command = [python, "-m", f"{_PACKAGE}.{other.module}"]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command]
        try:
            self._process = self._start(command, directory)
        except OSError as error:
            raise Broken(f"cannot start: {error.strerror}") from None
        self._said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True, name=f"hears-{other.name}").start()
        self._tell({**rules, **dict(other.rules), "core": cores.engine})

    def _start(self, command: list[str], directory: Path) -> subprocess.Popen[bytes]:
        with self._log_path.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - ours
                command,
                env=environment(),
                cwd=directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the bench alone, which ends them in order
            )

    def until_ready(self) -> None:
        """Wait until it has loaded and opened everything. Raises Broken."""
        self.version = str(self._hear(_START_S).get("version", ""))

    def lap(self, work: Mapping[str, Any]) -> Lap:
        """Let it answer once. Raises Broken, also for a wrong answer."""
        self._tell(work)
        said = self._hear(_LAP_S)
        if said["wrong"]:
            raise Broken(f"{said['wrong']} wrong answers: {said['first_wrong']}")
        return Lap(int(said["items"]), float(said["seconds"]), float(said["cpu_s"]))

    def stop(self) -> None:
        """End it and whatever it has started."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        finally:
            self._kill()  # whatever it has started is in its group

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in self._process.stdout:
            self._said.put(line)
        self._said.put(b"")

    def _tell(self, what: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise Broken(self._last_words()) from None

    def _hear(self, limit_s: float) -> dict[str, Any]:
        try:
            line = self._said.get(timeout=limit_s)
        except queue.Empty:
            raise Broken(f"said nothing for {limit_s:.0f} s") from None
        if not line:
            raise Broken(self._last_words())
        said: dict[str, Any] = json.loads(line)
        return said

    def _last_words(self) -> str:
        """Why it ended, as its last line says it."""
        with self._log_path.open("rb") as log:
            log.seek(max(0, self._log_path.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return f"broke: {lines[-1][:300]}" if lines else f"ended with {self._process.poll()}"
