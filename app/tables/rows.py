"""A row, a new column, and what can be wrong with a cell: what the formats and the steps between them share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from workers.core.errors import UserError

Kind = Literal["text", "integer", "number", "boolean", "json"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `number` counts from 1, the header not counted. `raw` is what its format needs to write it again."""

    number: int
    values: Mapping[str, Any]
    raw: Any


@dataclass(frozen=True, slots=True)
class CellProblem:
    """One thing that is wrong with a table; no row means the whole of it."""

    row: int | None
    column: str | None
    code: str
    message: str


class TableFault(UserError):
    """A table that cannot be asked about, with every place that is wrong; `more` counts those not listed."""

    def __init__(self, problems: Sequence[CellProblem], *, hint: str | None = None, more: int = 0) -> None:
        super().__init__(problems[0].message, hint=hint)
        self.problems = tuple(problems)
        self.more = more


@dataclass(frozen=True, slots=True)
class Column:
    """A column that answers add."""

    name: str
    kind: Kind


class Writer(Protocol):
    """Writes rows with their new columns, in the order in which they come."""

    def write(self, row: Row, values: Sequence[Any]) -> None:
        """One row; a value for each new column, None where there is none."""
        ...

    def close(self) -> None:
        """Write what is held back. The file itself stays open."""
        ...

    def abandon(self) -> None:
        """Let go of what was begun: the file will be thrown away."""
        ...


class Table(Protocol):
    """A file of rows. `columns` is None where each row brings its own."""

    @property
    def path(self) -> Path: ...

    @property
    def columns(self) -> tuple[str, ...] | None: ...

    def rows(self, wanted: Collection[str]) -> Iterator[Row | CellProblem]:
        """Every row, read as a stream; their `values` hold at least the `wanted` columns."""
        ...

    def writer(self, file: BinaryIO, added: Sequence[Column]) -> Writer:
        """Writes this table's rows to `file`, in the same format, with more columns behind."""
        ...


def whole(code: str, message: str, *, hint: str | None = None) -> TableFault:
    """A fault of the whole table."""
    return TableFault([CellProblem(None, None, code, message)], hint=hint)


def check_header(columns: Sequence[str]) -> None:
    """Raises TableFault for a name that is empty or there twice: nobody could say which column is meant."""
    places: dict[str, int] = {}
    for place, name in enumerate(columns, start=1):
        if not name.strip():
            raise whole(
                "empty_column_name",
                f"column {place} has no name",
                hint="the first line names the columns; give this one a name, or take it out",
            )
        if name in places:
            raise whole(
                "duplicate_column",
                f"columns {places[name]} and {place} are both named {name!r}",
                hint="give one of them another name",
            )
        places[name] = place
