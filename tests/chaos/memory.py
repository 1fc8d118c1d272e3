"""The most memory each process of a run has held, by role: looked at a few times a second."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_LOOK_EVERY_S = 0.25
# MB each process may hold (I5); a worker's floor is about 100, most of it what it has loaded.
BOUNDS_MB: Mapping[str, float] = {"worker": 350.0, "api": 300.0, "control-redis": 64.0, "beat": 200.0}
# Those that every run has.
_ALWAYS = ("worker", "api", "control-redis")


@dataclass
class Memory:
    """Peaks in MB (1,000,000 bytes) by role."""

    peaks_mb: dict[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The peak of the largest worker, which is what the table shows."""
        return self.peaks_mb.get("worker", 0.0)

    def over(self) -> list[str]:
        """A sentence for each role that has passed its bound, or that nobody has looked at."""
        unseen = [f"nobody has looked at {role}" for role in _ALWAYS if not self.peaks_mb.get(role)]
        return unseen + [
            f"{role} held {peak:.0f} MB, over {BOUNDS_MB[role]:.0f}"
            for role, peak in self.peaks_mb.items()
            if peak > BOUNDS_MB.get(role, float("inf"))
        ]

    def look(self, pids: Mapping[str, int]) -> None:
        """One sample."""
        for name, pid in pids.items():
            role = re.sub(r"-\d+$", "", name)
            self.peaks_mb[role] = max(self.peaks_mb.get(role, 0.0), resident_mb(pid))

    @classmethod
    @contextmanager
    def sampled(cls, pids: Callable[[], Mapping[str, int]]) -> Iterator[Memory]:
        """Look again and again in a thread until the block ends."""
        memory, ended = cls(), threading.Event()

        def run() -> None:
            while not ended.wait(_LOOK_EVERY_S):
                memory.look(pids())

        thread = threading.Thread(target=run, name="memory", daemon=True)
        thread.start()
        try:
            yield memory
        finally:
            ended.set()
            thread.join(timeout=5)


def resident_mb(pid: int) -> float:
    """Resident memory now; 0 for a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0
