"""Tables that fit: columns that a narrow terminal drops, and cells cut to their columns. Pure.

rich's own tables fold or squeeze what does not fit; a view that is read at a glance drops what matters least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

GAP = 2
# A cell: its text, and the style to show it in.
Cell = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        rank: the lowest is the last to be dropped; 0 stays always.
        stretch: takes what room is left, from `least` on up to what its cells want; its cells may be cut.
    """

    title: str
    rank: int = 0
    right: bool = False
    stretch: bool = False
    least: int = 8


def table(
    columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]], width: int | None
) -> tuple[Text, list[Text]]:
    """The line of titles and a line for each row, none wider than `width`; None: as wide as they want."""
    wanted = {each.title: _wanted(each, rows) for each in columns}
    shown = _fitting(columns, wanted, width)
    widths = _widths(shown, wanted, width)
    titles = Text("", no_wrap=True).append_text(
        _line(shown, widths, {each.title: (each.title, "dim") for each in shown})
    )
    return titles, [_line(shown, widths, row) for row in rows]


def _wanted(column: Column, rows: Sequence[Mapping[str, Cell]]) -> int:
    return max([cell_len(column.title), *(cell_len(row[column.title][0]) for row in rows)])


def _least(column: Column, wanted: Mapping[str, int]) -> int:
    return min(wanted[column.title], column.least) if column.stretch else wanted[column.title]


def _fitting(columns: Sequence[Column], wanted: Mapping[str, int], width: int | None) -> list[Column]:
    shown = list(columns)
    while width is not None and _sum([_least(each, wanted) for each in shown]) > width:
        last = max(shown, key=lambda each: each.rank)
        if last.rank == 0:
            break
        shown.remove(last)
    return shown


def _widths(shown: Sequence[Column], wanted: Mapping[str, int], width: int | None) -> dict[str, int]:
    if width is None:
        return {each.title: wanted[each.title] for each in shown}
    widths = {each.title: _least(each, wanted) for each in shown}
    left = width - _sum(list(widths.values()))
    for each in shown:
        more = max(0, min(left, wanted[each.title] - widths[each.title]))
        widths[each.title] += more
        left -= more
    if left < 0:  # not even what stays always fits: the first column gives way
        first = shown[0].title
        widths[first] = max(1, widths[first] + left)
    return widths


def _line(shown: Sequence[Column], widths: Mapping[str, int], row: Mapping[str, Cell]) -> Text:
    line = Text("", no_wrap=True)
    for number, column in enumerate(shown):
        text, style = row[column.title]
        line.append(" " * GAP if number else "")
        line.append(fitted(text, widths[column.title], right=column.right), style=style)
    line.rstrip()
    return line


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """Text in exactly so many cells of a terminal, where letters may be two cells wide."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    blank = " " * (width - length)
    return blank + text if right else text + blank


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * max(0, len(widths) - 1)
