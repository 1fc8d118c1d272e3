"""The table of a chaos run: a row for each fault, printed at the end and written into docs/reliability.md on demand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HEAD = ("fault", "what", "seed", "accepted", "recorded", "excess", "recovery s", "peak MB", "verdict")
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        fault: its number in the list of faults.
        excess: calls repeated as the simulator saw them, and as the batches report them.
        recovery_s: from the last fault, or its end, to the next result.
        peak_mb: of the largest worker process.
    """

    fault: str
    what: str
    seed: int
    accepted: int | None = None
    recorded: int | None = None
    excess: str = ""
    recovery_s: float | None = None
    peak_mb: float | None = None
    verdict: str = ""

    def cells(self) -> tuple[str, ...]:
        """As text."""
        seconds = "" if self.recovery_s is None else f"{self.recovery_s:.1f}"
        peak = "" if not self.peak_mb else f"{self.peak_mb:.0f}"
        numbers = ("" if number is None else f"{number:,}" for number in (self.accepted, self.recorded))
        return (self.fault, self.what, str(self.seed), *numbers, self.excess, seconds, peak, self.verdict)


def by_number(rows: Iterable[Row]) -> list[Row]:
    """In the order of the list of faults: 3, 13, 23, 23b."""

    def place(row: Row) -> tuple[int, str, str]:
        number = re.match(r"\d+", row.fault)
        return (int(number[0]) if number else 999, row.fault, row.what)

    return sorted(rows, key=place)


def as_text(rows: Sequence[Row]) -> str:
    """For a terminal."""
    table = [HEAD, *(row.cells() for row in by_number(rows))]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """For the documentation."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(row.cells() for row in by_number(rows))]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def write_into(path: Path, rows: Sequence[Row], words: str) -> None:
    """Replace what stands between the marks of the page; `words` says when and how it was measured."""
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for results ({BEGIN} ... {END})")
    path.write_text(f"{before}{BEGIN}\n{words}\n\n{as_markdown(rows)}\n{END}{after}", encoding="utf-8")
