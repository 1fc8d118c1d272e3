"""`batchwright logs`: the ends of the stack's logs, and what is added to them.

The stack writes one file a process into DATA_DIR/logs; this only reads them, so it works on a dead stack too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.errors import CliError

_LOOK_EVERY_S = 0.2
_BLOCK_BYTES = 1 << 16


@dataclass(slots=True)
class _Followed:
    name: str
    path: Path
    file: BinaryIO
    rest: bytes = b""


def logs(service: str | None, *, follow: bool, lines: int, as_json: bool) -> int:
    """Print the last lines of one service, or of all; with `follow` what comes, until Ctrl-C."""
    folder = load().data_dir / "logs"
    names = services(folder, service)
    print_line = _printer(names, as_json=as_json)
    opened = []
    for name in names:
        file = (folder / f"{name}.log").open("rb")
        for line in last_lines(file, lines):
            print_line(name, line)
        opened.append(_Followed(name, folder / f"{name}.log", file))
    while follow:
        for each in opened:
            for line in _news(each):
                print_line(each.name, line)
        time.sleep(_LOOK_EVERY_S)
    return 0


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


def _printer(names: Sequence[str], *, as_json: bool) -> Callable[[str, bytes], None]:
    width = max(len(name) for name in names)

    def print_line(name: str, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if as_json:
            report.print_json({"service": name, "line": text})
        else:
            # Ours are escaped as they are written; Redis's and MongoDB's are as they wrote them.
            text = words.clean(text)
            print(f"{name:{width}} | {text}" if len(names) > 1 else text, flush=True)

    return print_line
