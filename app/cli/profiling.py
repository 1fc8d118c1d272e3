"""`batchwright profile`: show on stderr what goes on, print where the time went, leave a file."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import live, report
from app.cli.batch_verbs import load
from app.cli.errors import OK, CliError
from app.cli.session import ended_by_signals

if TYPE_CHECKING:
    from app.bench.profile import Profile

_SHOWN = 25
# Less than a thousandth of a call is noise of the clock.
_LEAST_US = 0.05


def profile(items: int, out: Path, *, cpu: bool, as_json: bool) -> int:
    """Say where the time of an item goes. Raises CliError, UserError, StackError."""
    from app.bench import run
    from app.bench.others import Broken
    from app.bench.profile import profile as measured
    from app.bench.telling import Telling

    if cpu and not sys.platform.startswith("linux"):
        raise CliError("CPU time by thread is read as Linux shows it", hint="leave out --cpu")
    target = out.absolute()
    run.prepare(target)
    with (
        tempfile.TemporaryDirectory(prefix="batchwright-profile-") as folder,
        ended_by_signals(),
        live.display() as display,
    ):
        display.stage("starting a stack")
        stacks = Path(folder) / "worker.stacks" if cpu else None
        try:
            found = measured(items, stacks, load().http.transport, Telling(display.note, display.stage))
        except Broken as broken:
            raise CliError(str(broken), exit_code=1) from broken
    path = _write(found, target)
    if as_json:
        report.print_json(as_data(found) | {"file": str(path)})
    else:
        _print(found)
    print(f"wrote {path}", file=sys.stderr)
    return OK


def as_data(found: Profile) -> dict[str, Any]:
    """For programs; times of an item in microseconds."""
    lap = found.lap
    told: dict[str, Any] = {
        "items": lap.items,
        "items_per_s": round(lap.items_per_s, 1),
        "cpu_us_an_item": round(lap.cpu_ms * 1000, 1),
    }
    if found.stacks is None:
        return told | {"steps": [asdict(step) for step in found.steps]}
    rows = {"parts": found.parts, "functions": found.functions[:_SHOWN]}
    return told | {name: [asdict(row) for row in spent] for name, spent in rows.items()}


def _write(found: Profile, directory: Path) -> Path:
    if found.stacks is None:
        path, text = directory / "profile.json", json.dumps(as_data(found), indent=2)
    else:
        # Collapsed stacks, which flame graph programs read.
        path = directory / "profile.stacks"
        text = "\n".join(f"{stack} {used_us}" for stack, used_us in found.stacks.items())
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise CliError(
            f"cannot write {path} ({error.strerror})", hint="name another place by --out"
        ) from None
    return path


def _print(found: Profile) -> None:
    lap = found.lap
    print(f"{lap.items:,} items, {lap.items_per_s:,.0f} a second, {lap.cpu_ms * 1000:,.0f} us of CPU each\n")
    if found.stacks is None:
        columns = ("step", "of", "times", "each ms", "p99 ms", "an item us")
        rows = [
            (
                step.name.removeprefix("batchwright_"),
                " ".join(step.labels),
                f"{step.times:,}",
                f"{step.each_ms:,.2f}",
                f"{step.p99_ms:,.2f}",
                f"{step.item_us:,.1f}",
            )
            for step in found.steps
        ]
        report.print_table(columns, rows, right=columns[2:])
        print("\nMany steps run at the same time, so they add up to more than the time that passed.")
        return
    for title, spent in (("part", found.parts), ("function", found.functions)):
        names = (title, "in it us", "and below us")
        shown = [row for row in spent if row.own_us >= _LEAST_US][:_SHOWN]
        report.print_table(
            names, [(row.name, f"{row.own_us:,.1f}", f"{row.all_us:,.1f}") for row in shown], right=names[1:]
        )
        print()
