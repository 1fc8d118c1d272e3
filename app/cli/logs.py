"""`batchwright logs`: the ends of the stack's logs in the order of time, and what is added to them.

The stack writes one file a process into DATA_DIR/logs; this only reads them, so it works on a dead stack too. What is
shown of them is decided in log_lines.py.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.cli import report
from app.cli.batch_verbs import load
from app.cli.errors import CliError
from app.cli.log_lines import Reader, Shown, Wanted, by_time, moment
from workers.core.log_lines import LEVELS, coloured

_LOOK_EVERY_S = 0.2
_BLOCK_BYTES = 1 << 16


@dataclass(slots=True)
class _Followed:
    path: Path
    file: BinaryIO
    reader: Reader
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for: --level, --since, --grep and --batch as they were typed."""

    level: str | None = None
    since: str | None = None
    grep: str | None = None
    batch: str | None = None


def logs(service: str | None, *, follow: bool, lines: int, asked: Asked, as_json: bool) -> int:
    """Print the last lines of one service, or of all; with `follow` what comes, until Ctrl-C."""
    wanted = wanted_by(asked, time.time())
    folder = load().data_dir / "logs"
    names = services(folder, service)
    print_line = _printer(names, as_json=as_json)
    opened: list[_Followed] = []
    found: list[Shown] = []
    for name in names:
        path = folder / f"{name}.log"
        file, reader = path.open("rb"), Reader(name, wanted)
        found += _last(file, reader, wanted, lines)
        opened.append(_Followed(path, file, reader))
    _print_all(found, print_line)
    while follow:
        _print_all((line for each in opened for line in each.reader.read(_news(each))), print_line)
        time.sleep(_LOOK_EVERY_S)
    return 0


def wanted_by(asked: Asked, now: float) -> Wanted:
    """The filter that the flags ask for. Raises CliError for a level or a time that there is not."""
    if asked.level is not None and asked.level.lower() not in LEVELS:
        raise CliError(f"there is no level {asked.level!r}", hint=f"one of {', '.join(LEVELS)}")
    try:
        since = None if asked.since is None else moment(asked.since, now)
    except ValueError:
        hint = "such as 30s, 10m, 2h, 1d, or 2026-11-21T10:00"
        raise CliError(f"cannot read the time {asked.since!r}", hint=hint) from None
    words = tuple(word for word in (asked.grep, asked.batch) if word)
    return Wanted(asked.level.lower() if asked.level else None, since, words)


def services(folder: Path, service: str | None) -> list[str]:
    """The logs there are, or the one asked for. Raises CliError naming the others."""
    known = sorted(path.stem for path in folder.glob("*.log")) if folder.is_dir() else []
    if not known:
        raise CliError(f"there are no logs in {folder}", hint="no stack has run with this data directory yet")
    if service is None:
        return known
    if service not in known:
        raise CliError(f"there is no log of {service!r}", hint=f"there are: {', '.join(known)}")
    return [service]


def last_lines(file: BinaryIO, number: int) -> list[bytes]:
    """The last lines of a file, read from its end; the file is left there."""
    end = at = file.seek(0, os.SEEK_END)
    tail = b""
    while at > 0 and tail.count(b"\n") <= number:
        start = max(0, at - _BLOCK_BYTES)
        file.seek(start)
        tail = file.read(at - start) + tail
        at = start
    file.seek(end)
    return tail.splitlines()[-number:] if number else []


def _last(file: BinaryIO, reader: Reader, wanted: Wanted, number: int) -> list[Shown]:
    """The last wanted lines. With a filter the whole file is looked through, which a rotation keeps short."""
    if wanted.anything:
        return reader.read(last_lines(file, number))
    file.seek(0)
    # Not the last line without an end: its rest is still to come.
    whole, end, _ = file.read().rpartition(b"\n")
    file.seek(len(whole) + len(end))
    return reader.read(whole.split(b"\n"))[-number:] if number else []


def _news(each: _Followed) -> Iterator[bytes]:
    """Lines added since the last look; a log that was rotated is opened anew."""
    data = each.rest + each.file.read()
    *lines, each.rest = data.split(b"\n")
    yield from lines
    try:
        now = each.path.stat()
    except FileNotFoundError:
        return
    if now.st_ino != os.fstat(each.file.fileno()).st_ino or now.st_size < each.file.tell():
        each.file.close()
        each.file = each.path.open("rb")


def _print_all(lines: Iterable[Shown], print_line: Callable[[Shown], None]) -> None:
    for line in by_time(lines):
        print_line(line)


def _printer(names: Sequence[str], *, as_json: bool) -> Callable[[Shown], None]:
    width = max(len(name) for name in names)
    with_colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def print_line(line: Shown) -> None:
        if as_json:
            report.print_json(line.as_dict())
            return
        # A traceback out of a line of JSON has lines of its own.
        for part in line.text.split("\n"):
            text = coloured(part, line.level) if with_colours else part
            print(f"{line.service:{width}} | {text}" if len(names) > 1 else text, flush=True)

    return print_line
