"""Where a worker's CPU time goes: look at every thread's stack many times a second, and charge it what it used since.

`python -m workers.main --profile FILE` starts it; app/bench/profile.py reads the file. A profiler that hooks into every
call would double the cost of the short functions that an item is made of, and so show another program. A thread that
waits uses nothing, and so costs nothing here: only CPU time is charged.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY_S = 0.005
# Of two threads that both want to run, the other gets its turn so soon. With Python's 5 ms a thread would be met nearly
# always where it waits for something, for there it lets others run by itself.
_TURN_S = 0.0005
WRITE_EVERY_S = 0.5
_DEEPEST = 60


def thread_cpu_clock(native_id: int) -> int:
    """The clock of a thread's CPU time, for `time.clock_gettime`; a thread that is gone is an OSError there.

    Linux makes the clock's number from the thread's: include/linux/posix-timers_types.h, CPUCLOCK_PERTHREAD (4) and
    CPUCLOCK_SCHED (2). `time.pthread_getcpuclockid` reads the memory of a thread that may have ended meanwhile.
    """
    return (~native_id << 3) | 4 | 2


def stack_of(frame: FrameType | None, thread: str) -> str:
    """A thread's functions from the outermost to the innermost, `module:function` each, semicolons between them.

    The event loop is one function in C: a thread whose innermost Python is `Thread.run` is in that, by its own name.
    """
    names: list[str] = []
    if frame is not None and frame.f_code is threading.Thread.run.__code__:
        names.append(f"{thread}:(in C)")
    while frame is not None and len(names) < _DEEPEST:
        names.append(f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return ";".join(reversed(names))


class Sampler:
    """Samples this process from `start` to its end, and keeps a file of it.

    A line is a stack, a blank and microseconds: what flame graph programs read as collapsed stacks. The first line,
    `(process)`, is the whole process's CPU time; what the stacks leave of it was used by threads without Python.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._used_us: Counter[str] = Counter()
        self._seen_s: dict[int, float] = {}

    def start(self) -> None:
        """Begin, in a thread of its own."""
        sys.setswitchinterval(_TURN_S)
        threading.Thread(target=self._run, name="profile", daemon=True).start()

    def _run(self) -> None:
        own, write_at = threading.get_ident(), 0.0
        while True:
            self._look(own)
            if time.monotonic() >= write_at:
                self.write()
                write_at = time.monotonic() + WRITE_EVERY_S
            time.sleep(EVERY_S)

    def _look(self, own: int) -> None:
        threads = {each.ident: each for each in threading.enumerate()}
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, for this purpose
            thread = threads.get(ident)
            if thread is None or thread.native_id is None or ident == own:
                continue
            native_id = thread.native_id
            try:
                cpu_s = time.clock_gettime(thread_cpu_clock(native_id))
            except OSError:
                continue  # it has ended
            used_us = int((cpu_s - self._seen_s.get(native_id, cpu_s)) * 1e6)
            self._seen_s[native_id] = cpu_s
            if used_us > 0:
                self._used_us[stack_of(frame, thread.name)] += used_us

    def write(self) -> None:
        """Put the file in the place of the last one."""
        lines = [f"(process) {int(time.process_time() * 1e6)}"]
        lines += [f"{stack} {used_us}" for stack, used_us in self._used_us.items()]
        part = self._path.with_suffix(".part")
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(self._path)
