"""One child process: how it is described, started with its log, told to stop and, in the end, made to stop.

supervisor.py owns the children; nothing here decides about restarts.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded import procinfo
from app.embedded.diagnose import explain_end
from app.embedded.errors import StackError
from app.embedded.probes import Probe

LOG_ROTATE_BYTES = 10 * 1024 * 1024
_LEASH = Path(__file__).with_name("leash.py")
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class ProcessSpec:
    """A process of the stack as data.

    `env` is added to the environment of the owner. `ready` None means: started is good enough. Processes of a
    lower `stop_order` are stopped first, those of one order together, and killed after `stop_limit_s`.
    `remove_first` are files an earlier run may have left. `directory` is where its data lies, for messages.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Probe | None = None
    ready_limit_s: float = 30.0
    stop_order: int = 0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_limit_s: float = 5.0
    remove_first: tuple[Path, ...] = ()
    directory: Path | None = None


class Child:
    """A started process. `exited` is set once it has ended and `returncode` is known."""

    def __init__(self, spec: ProcessSpec, log_dir: Path) -> None:
        """Start it. Call on a thread that lives as long as the owner: the leash is tied to the thread.

        Raises: StackError if the program cannot be started.
        """
        self.spec = spec
        self.log_path = log_dir / f"{spec.name}.log"
        self.started_at = time.time()
        self.exited = threading.Event()
        try:
            for path in spec.remove_first:
                path.unlink(missing_ok=True)
            rotate(self.log_path)
            with self.log_path.open("ab") as log:
                self._log_start = log.tell()
                self._popen = subprocess.Popen(
                    _leashed(spec.argv),
                    env={**os.environ, **spec.env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # A session of its own: the terminal's Ctrl-C reaches the owner alone, who stops in order.
                    start_new_session=True,
                )
        except OSError as error:
            raise StackError(f"cannot start {spec.name} ({error.strerror}: {error.filename})") from None
        self.pid = self._popen.pid
        self.identity = procinfo.identity(self.pid) or ""

    @property
    def returncode(self) -> int:
        return self._popen.returncode or 0

    def wait(self) -> None:
        """Block until it has ended, then end what it left behind in its group."""
        self._popen.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.exited.set()

    def ask_to_stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(self.spec.stop_signal)

    def kill(self) -> None:
        """End it and its group at once."""
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def log_text(self) -> str:
        """The end of what this start of the process has written."""
        try:
            with self.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def why_it_ended(self) -> StackError:
        return explain_end(
            self.spec.name,
            self.returncode,
            self.log_text(),
            log_path=str(self.log_path),
            directory=str(self.spec.directory or ""),
        )


def rotate(log_path: Path, limit_bytes: int = LOG_ROTATE_BYTES) -> None:
    """Keep one older log once the present one is over the limit."""
    if log_path.exists() and log_path.stat().st_size > limit_bytes:
        log_path.replace(log_path.with_name(log_path.name + ".1"))


def _leashed(argv: tuple[str, ...]) -> list[str]:
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *argv]
