"""Where the time of an item goes: one batch of a bench's stack, seen by the worker's own clocks or by its CPU time.

The worker times its steps (workers/observed.py) and tells them with its vital signs; workers/profiling.py writes its
stacks. Both only grow, so the batch is the difference of two readings.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.bench import placement
from app.bench.figures import Lap
from app.bench.ours import Ours
from app.bench.prompts import Prompts
from app.bench.site import BenchCommands, Rules, Site, open_site
from app.bench.telling import Telling
from app.embedded.commands import Plan, Wiring
from app.embedded.process import ProcessSpec
from workers.core.errors import UserError
from workers.observed import Readings
from workers.store.worker_processes import WorkerProcesses
from workers.transport.choice import Wanted

PROCESS = "(process)"
NATIVE = "threads without Python"
LATENCY_MS = 5.0
_CONCURRENCY = 400
_WARM_UP = 1_000
# A beat is every three seconds, the file of stacks every half.
_HEAR_S = 10.0
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of duration that the worker timed: `each_ms` on average, `item_us` spread over all items."""

    name: str
    labels: tuple[str, ...]
    times: int
    each_ms: float
    p99_ms: float
    item_us: float


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU time of one part or function: in it alone, and in what it called as well."""

    name: str
    own_us: float
    all_us: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What came of it; per item in microseconds. `stacks` are those of the batch, where the CPU was looked at."""

    lap: Lap
    steps: tuple[Step, ...] = ()
    parts: tuple[Spent, ...] = ()
    functions: tuple[Spent, ...] = ()
    stacks: Mapping[str, int] | None = None


class _Profiled(BenchCommands):
    def __init__(self, rules: Rules, path: Path) -> None:
        super().__init__(rules)
        self._told = ("--profile", str(path))

    def portless(self, plan: Plan, wiring: Wiring) -> Sequence[ProcessSpec]:
        return [replace(spec, argv=(*spec.argv, *self._told)) for spec in super().portless(plan, wiring)]


def profile(items: int, stacks: Path | None, transport: Wanted, tell: Telling) -> Profile:
    """Answer a batch of so many new prompts and see where the time goes.

    Args:
        stacks: where the worker writes its stacks; None: its own clocks are asked.
    Raises: StackError, UserError, Broken.
    """
    rules = Rules(_CONCURRENCY, transport, LATENCY_MS, placement.cores())
    commands = BenchCommands(rules) if stacks is None else _Profiled(rules, stacks)
    with open_site(rules, tell, commands) as site:
        ours = Ours(site)
        tell.step("warming up")
        ours.miss(Prompts("warm-up"), min(items, _WARM_UP))
        if stacks is None:
            before = _heard(site)
            tell.step(f"answering {items:,} items")
            lap = ours.miss(Prompts("profile"), items)
            return Profile(lap, steps=steps(_heard(site).since(before), items))
        began = _written(stacks)
        tell.step(f"answering {items:,} items")
        lap = ours.miss(Prompts("profile"), items)
        used = added(_written(stacks), began)
        return Profile(lap, parts=by_part(used, items), functions=by_function(used, items), stacks=used)


def steps(readings: Readings, items: int) -> tuple[Step, ...]:
    """Every duration of these readings, the longest in all first. Pure."""
    found = [
        Step(
            name=name,
            labels=labels,
            times=each.count,
            each_ms=each.sum_s / each.count * 1e3,
            p99_ms=(each.percentile_s(0.99) or 0.0) * 1e3,
            item_us=each.sum_s / items * 1e6,
        )
        for (name, labels), each in readings.times.items()
        if each.count
    ]
    return tuple(sorted(found, key=lambda step: -step.item_us))


def read_stacks(text: str) -> dict[str, int]:
    """Microseconds by stack, from collapsed stacks. Pure."""
    pairs = (line.rpartition(" ") for line in text.splitlines())
    return {stack: int(used_us) for stack, _, used_us in pairs}


def added(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """What came between, without the line of the process: its rest is named `NATIVE`. Pure."""
    used = {stack: used_us - before.get(stack, 0) for stack, used_us in after.items()}
    rest = used.pop(PROCESS, 0) - sum(used.values())
    return {stack: used_us for stack, used_us in {**used, NATIVE: rest}.items() if used_us > 0}


def by_part(stacks: Mapping[str, int], items: int) -> tuple[Spent, ...]:
    """By package, ours by its first two words. Pure."""
    return _spent(stacks, items, _part)


def by_function(stacks: Mapping[str, int], items: int) -> tuple[Spent, ...]:
    """By function. Pure."""
    return _spent(stacks, items, lambda frame: frame)


def _spent(stacks: Mapping[str, int], items: int, name_of: Callable[[str], str]) -> tuple[Spent, ...]:
    own: Counter[str] = Counter()
    everything: Counter[str] = Counter()
    for stack, used_us in stacks.items():
        names = [name_of(frame) for frame in stack.split(";")]
        own[names[-1]] += used_us
        everything.update(dict.fromkeys(names, used_us))
    rows = (Spent(name, own[name] / items, used_us / items) for name, used_us in everything.items())
    return tuple(sorted(rows, key=lambda row: (-row.own_us, -row.all_us, row.name)))


def _part(frame: str) -> str:
    module = frame.partition(":")[0].split(".")
    return ".".join(module[:2]) if module[0] == "workers" else module[0]


def _heard(site: Site) -> Readings:
    """What the worker says of itself from now on: the second beat from here was begun after this call."""
    workers, until_s = WorkerProcesses(site.db), time.monotonic() + _HEAR_S
    last_s, beats = 0.0, 0
    while time.monotonic() < until_s:
        for beat in workers.beats():
            # A younger sign than the one before is another one.
            beats += beat.age_s < last_s
            last_s = beat.age_s
            if beats and beat.stats is not None:
                return Readings.from_doc(beat.stats["observed"])
        time.sleep(_LOOK_S)
    raise UserError(f"the worker has not told its times for {_HEAR_S:g} s", hint=site.last_words())


def _written(path: Path) -> dict[str, int]:
    """The stacks of now: the file that is written after this call."""
    began_s, until_s = time.time(), time.monotonic() + _HEAR_S
    while time.monotonic() < until_s:
        if path.exists() and path.stat().st_mtime > began_s:
            return read_stacks(path.read_text(encoding="utf-8"))
        time.sleep(_LOOK_S)
    raise UserError(f"the worker has not written {path.name} for {_HEAR_S:g} s")
