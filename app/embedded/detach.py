"""Start a stack in the background: `batchwright up --detach`.

The command line calls `spawn_detached`; daemon.py is the other end. The daemon tells its progress through a
pipe, one JSON object a line, and closes it when it is ready or has failed: so nothing polls and every failure
arrives with its reason.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from app.embedded.commands import python_path
from app.embedded.diagnose import last_words
from app.embedded.errors import StackError
from app.embedded.files import prepare, unusable
from app.embedded.process import rotate
from app.embedded.state import Say, StackState, silent


@dataclass(frozen=True)
class DetachedOptions:
    """What `Stack` is given, as far as it fits on a command line."""

    workers: int
    simulator: bool = False
    all_models: bool = False


def spawn_detached(data_dir: Path, options: DetachedOptions, on_progress: Say = silent) -> StackState:
    """Start a daemon that owns a stack on `data_dir`; return when the stack is ready.

    Raises: StackError with the daemon's own reason; the daemon is then gone.
    """
    prepare(data_dir)
    log_path = data_dir / "logs" / "stack.log"
    reader, writer = os.pipe()
    command = (sys.executable, "-m", "app.embedded.daemon", str(writer), json.dumps(asdict(options)))
    try:
        rotate(log_path)
        with log_path.open("ab") as log:
            log_start = log.tell()
            daemon = subprocess.Popen(
                command,
                env={**os.environ, "BATCHWRIGHT_DATA_DIR": str(data_dir), "PYTHONPATH": python_path()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                start_new_session=True,
            )
    except OSError as error:
        os.close(reader)
        raise unusable(log_path, error) from None
    finally:
        os.close(writer)
    try:
        state = _listen(reader, on_progress)
    except BaseException:
        # Ctrl-C while it starts means: do not start. The daemon clears up by itself.
        daemon.terminate()
        daemon.wait()
        raise
    if state is None:
        daemon.wait()
        said = last_words(log_path.read_bytes()[log_start:].decode(errors="replace"))
        raise StackError(f"the stack ended while it started: {said}", f"the whole log is {log_path}")
    # It goes on without us, so its end is not ours to wait for; without this, Popen warns about that.
    daemon.returncode = 0
    return state


def _listen(reader: int, on_progress: Say) -> StackState | None:
    """Read the daemon's lines until it is ready; None if it closed the pipe without a word."""
    with os.fdopen(reader, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            if "progress" in message:
                on_progress(message["progress"])
            elif "error" in message:
                raise StackError(message["error"], message["hint"])
            else:
                return StackState(**message["ready"])
    return None
