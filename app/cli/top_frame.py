"""One frame of `top`: the reply of GET /v1/top as lines that fit a terminal. Pure.

top_rows.py makes the cells; what does not fit in height is counted in a line, what does not fit in width is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.text import Text

from app.cli import top_rows, words
from app.cli.top_columns import Column, table

Doc = Mapping[str, Any]
# Between the tables, where all of them fit.
_BLANK_LINES = 4
_OLD_S = 3.0
_LEAST_PROVIDERS, _LEAST_WORKERS, _MOST_ALERTS = 3, 2, 2
HELP = (
    ("q, Ctrl-C", "leave"),
    ("p, space", "hold the display, and go on"),
    ("j, k, arrows", "scroll the batches; page up and down, g and G jump"),
    ("s", "sort the batches: newest, rate, failures, time left, name"),
    ("?, h", "this help; any key leaves it"),
    ("", ""),
    ("items/s", "items with a result in a second, over the last ten"),
    ("cached, shared", "share of the results from the cache, or of an equal call under way"),
    ("waits for", "what most of the open requests wait for; `batchwright why ID` says all"),
    ("calls", "calls under way of the call slots there are"),
    ("use", "calls of this pace against the provider's own limits, the higher of requests and tokens"),
    ("lag, buffer", "how late the process's loop is, and results that wait for MongoDB"),
)


@dataclass(frozen=True, slots=True)
class View:
    """What the reader has chosen.

    Attributes:
        first: the first batch shown, from 0.
        held: the display stands still.
    """

    sort: str = top_rows.SORTS[0]
    first: int = 0
    held: bool = False
    help: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What there is to show: the last reply, where from, how old it is, and what is wrong with the server now."""

    data: Doc
    server: str
    age_s: float = 0.0
    trouble: str = ""


def frame(sight: Sight, view: View, width: int | None, height: int | None) -> list[Text]:
    """The lines, at most `height` of at most `width` cells; None: as many, and as wide, as they want."""
    head = [_header(sight, view)]
    if view.help:
        return _cropped([*head, Text(""), *_help(width)], width, height)
    data = sight.data
    if sight.trouble:
        head.append(Text(f"{sight.trouble}; looking again each second", style="bold red"))
    elif data["away"]:
        head.append(
            Text(f"does not answer: {', '.join(data['away'])}; `batchwright doctor`", style="bold red")
        )
    tail = [*_alerts(data["alerts"]), _savings(data["savings"])]
    foot = [] if height is None else [_footer(view, len(data["batches"]))]
    tables = _tables(data, view)
    wants = [len(rows) for _, rows, _ in tables]
    used = len(head) + len(tail) + len(foot) + len(tables)
    airy = height is None or height >= used + sum(wants) + _BLANK_LINES
    rooms = wants if height is None else shares(height - used, *wants)
    first = min(view.first, max(0, wants[0] - rooms[0]))
    lines = list(head)
    for (columns, rows, what), room, at in zip(tables, rooms, (first, 0, 0), strict=True):
        lines += [Text("")] if airy else []
        lines += _section(columns, rows, what, room, at, width)
    return _cropped([*lines, *([Text("")] if airy else []), *tail], width, height, foot)


def shares(room: int, batches: int, providers: int, workers: int) -> list[int]:
    """How many lines each table gets of this room, batches most of it where not all fit."""
    left = max(0, room)
    least = [min(batches, 3), min(providers, _LEAST_PROVIDERS), min(workers, _LEAST_WORKERS)]
    got = [0, 0, 0]
    for number in (0, 1, 2):
        got[number] = min(least[number], left)
        left -= got[number]
    for number, wanted in enumerate((batches, providers, workers)):
        more = min(left, wanted - got[number])
        got[number] += more
        left -= more
    return got


def pressed(key: str, view: View, batches: int) -> View | None:
    """The view after a key; None to leave. An unknown key changes nothing."""
    if view.help:
        return None if key == "q" else replace(view, help=False)
    if key == "s":
        names = top_rows.SORTS
        return replace(view, sort=names[(names.index(view.sort) + 1) % len(names)], first=0)
    if key in _MOVES:
        last = max(0, batches - 1)
        return replace(view, first=min(last, max(0, view.first + _MOVES[key])))
    changes: Mapping[str, View | None] = {
        "q": None,
        "p": replace(view, held=not view.held),
        " ": replace(view, held=not view.held),
        "?": replace(view, help=True),
        "h": replace(view, help=True),
    }
    return changes.get(key, view)


_FAR = 1_000_000
_MOVES = {
    **dict.fromkeys(("j", "down"), 1),
    **dict.fromkeys(("k", "up"), -1),
    **dict.fromkeys(("g", "home"), -_FAR),
    **dict.fromkeys(("G", "end"), _FAR),
    "page down": 10,
    "page up": -10,
}


def _tables(data: Doc, view: View) -> list[tuple[Sequence[Column], list[Mapping[str, tuple[str, str]]], str]]:
    ordered = top_rows.ordered(data["batches"], view.sort)
    return [
        (top_rows.BATCHES, [top_rows.batch(each, data["at"]) for each in ordered], "batches"),
        (top_rows.PROVIDERS, [top_rows.provider(each) for each in data["providers"]], "providers"),
        (top_rows.WORKERS, [top_rows.worker(each, data) for each in data["workers"]], "workers"),
    ]


def _section(
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, tuple[str, str]]],
    what: str,
    room: int,
    at: int,
    width: int | None,
) -> list[Text]:
    if not rows:
        return [Text(f"no {what}", style="dim")]
    cut = at + room < len(rows)
    shown = room - 1 if cut and room > 1 else room
    titles, lines = table(columns, rows[at : at + shown] if room else [], width)
    if not room:
        return [Text(f"{words.things(len(rows), what.removesuffix('s'), what)}", style="dim")]
    more = len(rows) - at - shown
    return [titles, *lines, *([Text(f"and {more} more", style="dim")] if cut and room > 1 else [])]


def _header(sight: Sight, view: View) -> Text:
    """What matters first: a narrow terminal cuts the end."""
    data = sight.data
    line = Text.assemble(("batchwright top", "bold"), f"  {words.moment(data['at']).partition(' ')[2]}")
    if view.held:
        line.append("  held", style="bold yellow")
    elif sight.age_s >= _OLD_S:
        line.append(f"  {words.duration(sight.age_s)} old", style="bold yellow")
    running = words.things(data["batches_running"], "batch runs", "batches run")
    return line.append(f"  {running}  {words.escaped(sight.server)}")


def _savings(savings: Doc) -> Text:
    if not savings["requests"]:
        return Text("today  nothing yet", style="dim")
    rate = savings["hit_rate"]
    excess, failed = savings["excess_calls"], savings["failed"]
    line = Text.assemble(
        ("today  ", "dim"),
        f"{words.short(savings['requests'])} requests",
        (
            f"  {'-' if rate is None else f'{rate:.0%}'.replace('%', ' %')} shared",
            "green" if rate else "",
        ),
        f"  {words.money(savings['cost_usd'])} spent",
        (f"  {words.money(savings['saved_usd'])} saved", "green" if savings["saved_usd"] else ""),
    )
    line.append(f"  {words.things(excess, 'excess call')}", style="yellow" if excess else "dim")
    line.append(f"  {words.count(failed)} failed", style="red" if failed else "dim")
    return line


def _alerts(alerts: Sequence[Doc]) -> list[Text]:
    lines = [
        Text(f"alert  {words.escaped(each['name'])}: {words.escaped(each['text'])}", style="bold red")
        for each in alerts[:_MOST_ALERTS]
    ]
    more = len(alerts) - len(lines)
    return [
        *lines,
        *([Text(f"       and {words.things(more, 'alert')} more", style="red")] if more > 0 else []),
    ]


def _footer(view: View, batches: int) -> Text:
    place = f"from {view.first + 1}  " if view.first and batches else ""
    return Text(f"q quit  p hold  j/k scroll  s sort ({view.sort})  ? help  {place}", style="dim")


def _help(width: int | None) -> list[Text]:
    indent = max(len(name) for name, _ in HELP) + 2
    lines = []
    for name, text in HELP:
        pieces = words.folded(text, None if width is None else width - indent) or [""]
        lines.append(Text.assemble((f"{name:{indent}}", "bold"), pieces[0]))
        lines += [Text(" " * indent + piece) for piece in pieces[1:]]
    return lines


def _cropped(
    lines: list[Text], width: int | None, height: int | None, foot: Sequence[Text] = ()
) -> list[Text]:
    if height is not None:
        room = max(1, height - len(foot))
        lines = lines[:room] + [Text("")] * (room - len(lines)) + list(foot)
        lines = lines[-height:] if len(lines) > height else lines
    for line in lines:
        line.no_wrap = True
        if width is not None and line.cell_len > width:
            line.truncate(width, overflow="ellipsis")
    return lines
