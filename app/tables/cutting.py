"""One pass over a table before anything is sent: every row is checked, and the requests are cut into parts.

A part is what one batch holds. Its digest is over its requests, so it covers all that makes them what they are: the
cells they use, the prompt, the schema, the model and their place in the table. Rows that are put behind the last
ones, or a column that no prompt uses, leave the parts before them as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from app.tables.asking import Asking
from app.tables.rows import CellProblem, Row, Table, TableFault, whole

if TYPE_CHECKING:
    from blake3 import blake3

MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes in one batch, and in one line of it."""

    rows: int
    file_bytes: int
    line_bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that follow one another, numbered from 1 as parts are; `bytes` and `digest` are of their requests."""

    number: int
    first_row: int
    rows: int
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A table that can be sent. `missing`: how many rows have nothing for a name of the prompt."""

    table: Table
    asking: Asking
    parts: tuple[Part, ...]
    missing: Mapping[str, int]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(part.rows for part in self.parts)

    @property
    def digest(self) -> str:
        """Of all requests together."""
        return _hash(*(part.digest.encode() for part in self.parts)).hexdigest()


class Cutter:
    """Adds requests up until a part is full."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._done: list[Part] = []
        self._first = 1
        self._begin()

    def add(self, line: bytes) -> None:
        """One request, in the order of rows."""
        full = self._bytes + len(line) > self._limits.file_bytes or self._rows >= self._limits.rows
        if full and self._rows:
            self._end()
        self._rows += 1
        self._bytes += len(line)
        self._hash.update(line)

    def parts(self) -> tuple[Part, ...]:
        """All parts; ends the last one."""
        if self._rows:
            self._end()
        return tuple(self._done)

    def _begin(self) -> None:
        self._rows, self._bytes, self._hash = 0, 0, _hash()

    def _end(self) -> None:
        digest = self._hash.hexdigest()
        self._done.append(Part(len(self._done) + 1, self._first, self._rows, self._bytes, digest))
        self._first += self._rows
        self._begin()


@dataclass(slots=True)
class _Findings:
    """What is wrong with a table so far: the first problems whole, all of them counted."""

    problems: list[CellProblem] = field(default_factory=list)
    count: int = 0

    def add(self, problem: CellProblem) -> None:
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def raise_any(self) -> None:
        if self.problems:
            raise TableFault(self.problems, more=self.count - len(self.problems))


def check(table: Table, asking: Asking, added: Collection[str], limits: Limits) -> CheckedTable:
    """Read the whole table once.

    Args:
        added: names of the columns that answers will add.
    Raises: TableFault with every row that is wrong, as far as they are kept; OSError.
    """
    names = tuple(dict.fromkeys(asking.template.names))
    if table.columns is not None:
        _check_known(names, table.columns)
        check_free(added, table.columns)
    findings, cutter = _Findings(), Cutter(limits)
    missing: Counter[str] = Counter()
    never_known = set(names) - set(table.columns or ())
    seen: dict[str, None] = {}
    clashes = frozenset(added) if table.columns is None else frozenset()
    rows = 0
    for row in table.rows(asking.template.columns):
        rows += 1
        if isinstance(row, CellProblem):
            findings.add(row)
            continue
        if clashes and not clashes.isdisjoint(row.values):
            check_free(added, row.values)
        asked = asking.of(row)
        missing.update(asked.empty)
        if never_known:
            never_known.intersection_update(asked.unknown)
            seen.update(dict.fromkeys(row.values) if len(seen) < MAX_PROBLEMS else ())
        if len(asked.line) > limits.line_bytes:
            findings.add(_too_long(row, len(asked.line), limits))
        cutter.add(asked.line)
    findings.raise_any()
    if not rows:
        raise whole("empty_table", "the table has no rows")
    if never_known:
        raise _unknown([name for name in names if name in never_known], table.columns or tuple(seen))
    return CheckedTable(table, asking, cutter.parts(), missing)


def _check_known(names: Collection[str], columns: tuple[str, ...]) -> None:
    """A path may lead into a column; rows say later whether it leads anywhere."""
    wrong = [
        name
        for name in names
        if name not in columns and not any(name.startswith(f"{column}.") for column in columns)
    ]
    if wrong:
        raise _unknown(wrong, columns)


def _unknown(names: list[str], columns: Collection[str]) -> TableFault:
    shown = ", ".join(list(columns)[:MAX_PROBLEMS]) + (", ..." if len(columns) > MAX_PROBLEMS else "")
    problems = [
        CellProblem(None, name, "unknown_column", f"the prompt names {{{name}}}, but there is no such column")
        for name in names
    ]
    return TableFault(
        problems, hint=f"there are: {shown}; braces of the prompt's own are written {{{{ and }}}}"
    )


def check_free(added: Collection[str], columns: Collection[str]) -> None:
    """Raises TableFault when an answer would need the name of a column that is there."""
    taken = [name for name in added if name in columns]
    if taken:
        text = "the table has a column of this name already, and answers need it"
        hint = "--prefix TEXT puts something before the new names, --answer-column NAME names the answer"
        raise TableFault([CellProblem(None, name, "column_exists", text) for name in taken], hint=hint)


def _too_long(row: Row, size: int, limits: Limits) -> CellProblem:
    longest = max(row.values, key=lambda name: len(str(row.values[name])), default=None)
    text = f"its request has {size:,} bytes, more than {limits.line_bytes:,}, the limit for one"
    return CellProblem(row.number, longest, "line_too_long", text)


class PartWriter:
    """Writes the requests of one part after the other; the table is read once for all of them."""

    def __init__(self, checked: CheckedTable) -> None:
        self._checked = checked
        self._rows: Iterator[Row | CellProblem] = iter(())
        self._next: int | None = None

    def write(self, part: Part, file: BinaryIO) -> None:
        """The requests of a part. Raises TableFault when the table is not any more what it was when it was checked."""
        if self._next is None or part.first_row < self._next:
            self._rows, self._next = self._checked.table.rows(self._checked.asking.template.columns), 1
        digest = _hash()
        last = part.first_row + part.rows - 1
        while self._next <= last:
            row = next(self._rows, None)
            if not isinstance(row, Row):
                raise changed()
            self._next += 1
            if row.number >= part.first_row:
                line = self._checked.asking.of(row).line
                digest.update(line)
                file.write(line)
        if digest.hexdigest() != part.digest:
            raise changed()


def changed() -> TableFault:
    """The table was written to while it was in use."""
    return whole("table_changed", "the table was changed while it was being read", hint="start again")


def lines_of_rows(checked: CheckedTable, numbers: Collection[int]) -> Iterator[bytes]:
    """The requests of some rows, in their order."""
    wanted = frozenset(numbers)
    for row in checked.table.rows(checked.asking.template.columns):
        if isinstance(row, Row) and row.number in wanted:
            yield checked.asking.of(row).line


def _hash(*parts: bytes) -> blake3:
    from blake3 import blake3

    found = blake3()
    for part in parts:
        found.update(part)
    return found
