"""Which lines of the stack's logs are shown, and in which order. Pure: the caller reads the files and the clock.

A line without a time of its own (a traceback, a banner) belongs to the one before it in its file: it has that one's
time and level, and is shown where that one is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workers.core.log_lines import LEVELS, read_line

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_USUAL = LEVELS.index("info")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a line has to be; None and "" ask for nothing.

    Attributes:
        level: at least that severe; what says nothing of it counts as info.
        since: Unix seconds.
        words: all of them stand in the line, whatever their case.
    """

    level: str | None = None
    since: float | None = None
    words: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether every line is."""
        return self.level is None and self.since is None and not self.words

    def takes(self, raw: str, at: float | None, level: str | None) -> bool:
        """Whether this line is."""
        if self.since is not None and (at is None or at < self.since):
            return False
        if self.level is not None:
            severity = LEVELS.index(level) if level in LEVELS else _USUAL
            if severity < LEVELS.index(self.level):
                return False
        lowered = raw.lower()
        return all(word.lower() in lowered for word in self.words)


@dataclass(frozen=True, slots=True)
class Shown:
    """A line to print: `text` for people, `raw` as it stands in the file."""

    service: str
    text: str
    raw: str
    at: float | None
    level: str | None

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {"service": self.service, "at": self.at, "level": self.level, "line": self.raw}


@dataclass(slots=True)
class Reader:
    """The lines of one service in the order of its file; remembers the line that the next may belong to."""

    service: str
    wanted: Wanted
    _at: float | None = None
    _level: str | None = None
    _shown: bool = field(init=False)

    def __post_init__(self) -> None:
        self._shown = self.wanted.anything  # what belongs to a line before the first that was read

    def read(self, lines: Iterable[bytes]) -> list[Shown]:
        """Those that are wanted."""
        found = []
        for line in lines:
            raw = line.decode(errors="replace").rstrip("\r")
            if not raw:
                continue
            read = read_line(raw)
            if read.at is not None:
                self._at, self._level = read.at, read.level
                self._shown = self.wanted.takes(raw, read.at, read.level)
            elif self._at is None:
                self._shown = self.wanted.takes(raw, None, None)
            if self._shown:
                found.append(Shown(self.service, read.text, raw, self._at, self._level))
        return found


def by_time(lines: Iterable[Shown]) -> list[Shown]:
    """Lines of several services as they came about; those of one keep their order, those without a time come first."""
    return sorted(lines, key=lambda line: line.at if line.at is not None else float("-inf"))


def moment(text: str, now: float) -> float:
    """Unix seconds of `10m` (before now), or of a time such as 2026-11-21T10:00. Raises ValueError for others."""
    if match := _AGE.fullmatch(text.strip()):
        return now - float(match[1]) * _UNITS[match[2]]
    return datetime.fromisoformat(text.strip()).astimezone().timestamp()
