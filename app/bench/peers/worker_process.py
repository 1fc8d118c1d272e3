"""The worker of a queue engine: started on the engine's core by the process that hands it the work.

python -m app.bench.peers.worker_process CORE PROGRAM ARGS...
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.bench.peers.meters import bind_to


def start(core: int | None, arguments: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `python ARGUMENTS...` bound to the core; what it says goes where our own errors go."""
    command = [sys.executable, "-m", __name__, "" if core is None else str(core), *arguments]
    return subprocess.Popen(  # noqa: S603 - ours
        command, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, stdout=2, stderr=2
    )


def with_children(pid: int) -> list[int]:
    """A process and its children, who may have children of their own."""
    found = [pid]
    for at in found:
        for path in Path(f"/proc/{at}/task").glob("*/children"):
            found += map(int, path.read_text(encoding="ascii").split())
    return found


def main() -> None:
    """Bind this process and become Python with those arguments."""
    core, arguments = sys.argv[1], sys.argv[2:]
    bind_to(int(core) if core else None)
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - becoming that program is the purpose


if __name__ == "__main__":
    main()
