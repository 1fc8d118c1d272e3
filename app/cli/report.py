"""Print results: for people as tables, for programs as one JSON line each. stdout, except for errors."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.cli import errors, summary, words
from app.cli.plain_text import json_for
from app.cli.progress import SIMULATED
from app.cli.summary import Outcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_PIPED_WIDTH = 200

# On a narrower terminal these columns would break the words of all the others.
_WIDE = 96
_ONLY_WIDE = ("coalesced", "tokens")


def console() -> Console:
    """stdout as rich sees it; no markup, no guesses at colours. In a pipe no line is folded."""
    from rich.console import Console

    plain = Console(highlight=False, markup=False, emoji=False)
    if not plain.is_terminal:
        plain.width = _PIPED_WIDTH
    return plain


def print_json(data: Mapping[str, Any] | Sequence[Any]) -> None:
    """One line of JSON."""
    print(json_for(words.json_line(data), sys.stdout.encoding), flush=True)


def print_error(error: Exception) -> None:
    """An error that does not end the command."""
    for line in errors.lines_of(error):
        print(line, file=sys.stderr)


def print_outcomes(
    outcomes: Sequence[Outcome], *, as_json: bool, more: Sequence[Mapping[str, Any]] = ()
) -> None:
    """What came of each batch, and where the answers lie. `more`: further keys of each one's line of JSON."""
    if as_json:
        for remark in summary.remarks(outcomes):
            if remark != SIMULATED:  # said at the start already, on stderr too
                print(words.clean(remark), file=sys.stderr)
        for outcome, keys in zip(outcomes, more or [{}] * len(outcomes), strict=True):
            print_json({**summary.as_json(outcome), **keys})
        return
    out = console()
    if len(outcomes) == 1:
        print_fields(summary.fields(outcomes[0]))
    else:
        _print_lines(out, _table_of_many(outcomes, out.width))
    print_remarks(summary.remarks(outcomes), summary.places(outcomes))


def print_remarks(remarks: Sequence[str], places: Sequence[tuple[str, str]] = ()) -> None:
    """What must be said in words, and where the files lie."""
    out = console()
    for remark in remarks:
        # A sentence is folded between words; one with a command in it stays whole, to be copied.
        whole = not out.is_terminal or "`" in remark
        out.print(words.clean(remark), style="yellow", soft_wrap=whole)
    for what, path in places:
        out.print(words.clean(f"{what}: {path}"), soft_wrap=True)


def print_fields(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values under one another; values are whole, to be copied."""
    from rich.text import Text

    out = console()
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        line = Text.assemble((f"{name:{width}}  ", "dim"), words.clean(value))
        out.print(line, soft_wrap=True)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """A table with a line of names.

    Args:
        right: the columns of numbers.
        spare: columns that a narrow terminal does without, the first one first.
    """
    out = console()
    shown = list(columns)
    table = _table(columns, rows, shown, right)
    if _width_of(out, table) > out.width:
        table.padding = 0  # every blank counts
        for column in spare:
            if _width_of(out, table) <= out.width:
                break
            shown.remove(column)
            table = _table(columns, rows, shown, right)
            table.padding = 0
    _print_lines(out, table)


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[str], right: Sequence[str]
) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in shown:
        # The first column names things, to be copied: it is never cut.
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column == columns[0],
            overflow="fold",
        )
    for row in rows:
        of = dict(zip(columns, row, strict=True))
        table.add_row(*(words.clean(of[column]) for column in shown))
    return table


def _width_of(out: Console, table: Table) -> int:
    """How wide a table would be with all the room it wants."""
    from rich.measure import Measurement

    return Measurement.get(out, out.options.update(width=_PIPED_WIDTH), table).maximum


def _print_lines(out: Console, table: Any) -> None:
    """Print a table without the blanks that rich puts at the ends of lines, and around it."""
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        if line.strip():
            print(line.rstrip())


def _table_of_many(outcomes: Sequence[Outcome], width: int) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=False)
    shown = [column for column in summary.COLUMNS if width >= _WIDE or column not in _ONLY_WIDE]
    for index, column in enumerate(shown):
        table.add_column(column, justify="right" if index else "left", no_wrap=bool(index), overflow="fold")

    def cells(row: Sequence[str]) -> list[str]:
        of = dict(zip(summary.COLUMNS, row, strict=True))
        return [words.clean(of[column]) for column in shown]

    for outcome in outcomes:
        table.add_row(*cells(summary.columns(outcome)))
    table.add_section()
    seconds = max(outcome.seconds for outcome in outcomes)
    table.add_row(*cells(summary.total_columns(outcomes, seconds)), style="bold")
    return table
