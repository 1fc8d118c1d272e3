"""Become another program that ends when its starter ends. Run as a script, by process.py, on Linux only.

    python -I -S leash.py OWNER_PID PROGRAM ARGS...

The kernel sends SIGTERM to this process when the thread that forked it ends, also by kill -9; the wish
survives exec. A `preexec_fn` would do the same without the 15 ms of a Python start, but it runs Python
between fork and exec in a process with threads (and pymongo's fork hooks), where one lock held by another
thread hangs the child for good.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    owner_pid, program = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"cannot tie {program[0]} to its owner: {os.strerror(ctypes.get_errno())}")
    # The owner may have died before the wish was noted; then no signal would ever come.
    if os.getppid() != owner_pid:
        sys.exit(f"the owner {owner_pid} of {program[0]} is gone")
    try:
        os.execvp(program[0], program)  # noqa: S606 - becoming that program is the purpose
    except OSError as error:
        sys.exit(f"cannot start {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
