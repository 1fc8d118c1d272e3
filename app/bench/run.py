"""One bench from the first process to the files it leaves.

app/cli/bench.py calls `run`, shows what is said meanwhile and prints what comes out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from app.bench import machine, placement
from app.bench.contest import Contest, Course
from app.bench.figures import OURS, Growth
from app.bench.growth import grow
from app.bench.others import INSERT_MANY, OTHERS, Broken
from app.bench.plot import svg
from app.bench.record import Outcome, as_json
from app.bench.site import Rules, Site, open_site
from app.bench.table import markdown
from app.bench.telling import Telling
from workers.core.errors import UserError
from workers.transport.choice import Wanted, transport_name

NAMES = (OURS, *(other.name for other in OTHERS), INSERT_MANY.name)
LATENCY_MS = 50.0
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked of a bench.

    Attributes:
        quick: short laps and little growth; under 120 s on two cores.
        growth: the largest batch; the sizes are the powers of ten from 1,000 up to it.
        only: names of `NAMES`; empty means all.
        concurrency: calls at once, of each engine that can do as many.
    """

    quick: bool = False
    growth: int | None = None
    only: tuple[str, ...] = ()
    rounds: int = 3
    concurrency: int = 800
    transport: Wanted = "auto"
    bench_python: Path = field(default=_ROOT / ".venv-bench" / "bin" / "python")

    def __post_init__(self) -> None:
        unknown = sorted(set(self.only) - set(NAMES))
        if unknown:
            raise UserError(
                f"there is no engine {unknown[0]!r} in the bench", hint=f"it has {', '.join(NAMES)}"
            )


def growth_sizes(largest: int) -> list[int]:
    """1,000, 10,000 and so on up to the largest, which is always one of them."""
    sizes = [10**power for power in range(3, 10) if 10**power < largest]
    return [*sizes, largest] if largest > 0 else []


def run(options: Options, tell: Telling) -> Outcome:
    """Measure it all. Raises StackError when the servers do not start."""
    rules = Rules(options.concurrency, options.transport, LATENCY_MS, placement.cores())
    course = Course(
        rounds=options.rounds,
        lap_s=1.2 if options.quick else 4.0,
        most=12_000 if options.quick else 40_000,
        only=frozenset(options.only),
    )
    load = machine.busy()
    with open_site(rules, tell) as site:
        contest = Contest(site, course, options.bench_python, tell)
        contest.run()
        ours = contest.rows["misses"].get(OURS)
        growth = [] if ours is None or ours.skipped else _growth(site, options, tell)
        return Outcome(
            machine=machine.describe(rules.cores, site.state.versions, load),
            transport=transport_name(options.transport),
            rules={
                "latency_ms": rules.latency_ms,
                "concurrency": rules.concurrency,
                "rounds": course.rounds,
                "lap_s": course.lap_s,
                "quick": options.quick,
            },
            rows=contest.rows,
            growth=growth,
        )


def prepare(directory: Path) -> None:
    """Make sure that there is a place for the files, before minutes go by. Raises UserError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".bench"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _cannot_write(directory, error) from None


def write(outcome: Outcome, directory: Path) -> list[Path]:
    """bench.json, bench.md and bench.svg in that directory. Raises UserError where it cannot be written."""
    files = {
        "bench.json": json.dumps(as_json(outcome), indent=2) + "\n",
        "bench.md": markdown(outcome),
        "bench.svg": svg(outcome),
    }
    try:
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise _cannot_write(directory, error) from None
    return [directory / name for name in files]


def _cannot_write(directory: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {directory} ({error.strerror})", hint="name another one by --out")


def _growth(site: Site, options: Options, tell: Telling) -> list[Growth]:
    largest = options.growth if options.growth is not None else 10_000 if options.quick else 100_000
    try:
        return grow(site, growth_sizes(largest), tell)
    except Broken as broken:
        tell.note(f"growth: {broken}")
        return []
