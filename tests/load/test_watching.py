"""What watching costs a worker, by the laps of `batchwright bench`: its share of all CPU time, and on against off.

The share is seen in the stacks of one run, and is the same on a busy machine. On against off needs a quiet one: laps
by turns in one process, so that nothing else differs, and CPU time in place of items a second, which depend on what
else the machine does. BATCHWRIGHT_LOAD_LAPS=30 makes more of them.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.bench import placement
from app.bench.figures import Lap
from app.bench.ours import Ours
from app.bench.profile import profile
from app.bench.prompts import Prompts
from app.bench.run import LATENCY_MS
from app.bench.site import BenchCommands, Rules, Site, open_site
from app.bench.telling import Telling
from app.embedded.commands import Plan, Wiring
from app.embedded.process import ProcessSpec
from tests.load.blindable import WATCHING_FILE
from tests.load.crew import show
from tests.support.eventually import eventually

pytestmark = [pytest.mark.load, pytest.mark.slow, pytest.mark.integration]
ROOT = Path(__file__).resolve().parents[2]
LAPS = int(os.environ.get("BATCHWRIGHT_LOAD_LAPS", "10"))
# As in a lap of `bench --quick`, at most.
ITEMS = 12_000
MOST = 0.03
# What is only there to be looked at; a beat itself says who lives, and would be there without it.
WATCHING = (
    *("workers.observed:", "workers.engine.counting:", "workers.analytics:", "workers.roundtrips:"),
    *("workers.vitals:", "workers.machine:", "workers.beats:Beats.vitals", "celery.events"),
)


class Blindable(BenchCommands):
    """The bench's stack, the worker of which can look away."""

    def __init__(self, rules: Rules, told: Path) -> None:
        super().__init__(rules)
        self._told = told

    def portless(self, plan: Plan, wiring: Wiring) -> Sequence[ProcessSpec]:
        """See the class."""
        return [self._blindable(spec) for spec in super().portless(plan, wiring)]

    def _blindable(self, spec: ProcessSpec) -> ProcessSpec:
        at = spec.argv.index("workers.main")
        argv = (*spec.argv[:at], "tests.load.blindable", *spec.argv[at + 1 :])
        more = {WATCHING_FILE: str(self._told), "PYTHONPATH": str(ROOT)}
        return replace(spec, argv=argv, env={**spec.env, **more})


@dataclass(frozen=True, slots=True)
class Seen:
    """A lap, and the CPU that an item took in the worker."""

    lap: Lap
    cpu_us: float


def cpu_ns(pid: int) -> int:
    """CPU time of a process, to the nanosecond: its clock is numbered as clock_getcpuclockid(3) does it."""
    return time.clock_gettime_ns(~pid << 3 | 2)


def lap(site: Site, ours: Ours, name: str) -> Seen:
    """Answer new prompts."""
    began = cpu_ns(site.worker_pid)
    done = ours.miss(Prompts(name), ITEMS)
    return Seen(done, (cpu_ns(site.worker_pid) - began) / ITEMS / 1_000)


def turn(site: Site, told: Path, wanted: str) -> None:
    """Let the worker look away, or look again."""
    os.kill(site.worker_pid, signal.SIGUSR2)
    eventually(lambda: told.read_text(encoding="ascii") == wanted, 10.0)


def test_watching_takes_less_than_three_hundredths_of_a_workers_time(tmp_path: Path) -> None:
    seen = profile(3 * ITEMS, tmp_path / "stacks.txt", "auto", Telling(print, print))
    stacks = seen.stacks or {}
    whole_us = sum(stacks.values())
    by_part = {part: sum(used for stack, used in stacks.items() if part in stack) for part in WATCHING}
    watching_us = sum(used for stack, used in stacks.items() if any(part in stack for part in WATCHING))
    show(
        f"watching: {seen.lap.items:,} items",
        cpu_us_an_item=whole_us / seen.lap.items,
        **{part.strip(":"): f"{used / whole_us:.2%}" for part, used in by_part.items()},
        share=f"{watching_us / whole_us:.2%}",
    )
    assert by_part["workers.observed:"], "the profile saw nothing of it"
    assert watching_us / whole_us < MOST


@pytest.mark.skipif(sys.platform != "linux", reason="CPU clocks of other processes are Linux's")
def test_watching_costs_less_than_three_hundredths_of_looking_away(tmp_path: Path) -> None:
    told, rules = tmp_path / "watching", Rules(800, "auto", LATENCY_MS, placement.cores())
    on: list[Seen] = []
    off: list[Seen] = []
    with open_site(rules, Telling(print, print), Blindable(rules, told)) as site:
        ours = Ours(site)
        lap(site, ours, "warm-up")
        for number in range(LAPS):
            # ABBA: what drifts weighs on both alike.
            for wanted in ("on", "off") if number % 2 else ("off", "on"):
                if told.read_text(encoding="ascii") != wanted:
                    turn(site, told, wanted)
                (on if wanted == "on" else off).append(lap(site, ours, f"{wanted}-{number}"))
    ratios = [one.cpu_us / other.cpu_us for one, other in zip(on, off, strict=True)]
    slower = [one.lap.seconds / other.lap.seconds for one, other in zip(on, off, strict=True)]
    cost = statistics.median(ratios)
    show(
        f"watching: {LAPS} pairs of laps of {ITEMS:,} items",
        cpu_us_an_item_on=" ".join(f"{each.cpu_us:.0f}" for each in on),
        cpu_us_an_item_off=" ".join(f"{each.cpu_us:.0f}" for each in off),
        median_on=statistics.median(each.cpu_us for each in on),
        median_off=statistics.median(each.cpu_us for each in off),
        cpu_ratio=f"{cost:.3f} (quartiles {' '.join(f'{each:.3f}' for each in statistics.quantiles(ratios))})",
        wall_ratio=f"{statistics.median(slower):.3f}",
    )
    assert cost < 1 + MOST
