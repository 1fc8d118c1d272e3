"""`doctor`: look at everything this installation needs, and say what is wrong and what to do about it.

Works with the stack up or down, on embedded or configured servers: the checks (doctor_checks.py) speak to the
servers themselves, all at once; the round trips are measured when they are done. What is wrong with the settings
alone is said before, by their own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.doctor_checks import all_checks, all_timings, places_of
from app.cli.errors import OK, SOME_FAILED
from app.doctor.findings import Finding, State, run_checks
from app.doctor.measures import clock_finding, with_round_trips

if TYPE_CHECKING:
    from rich.text import Text

_STYLES: Mapping[State, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_STATE_WIDTH = len("problem")
_UNKNOWN = "?"
_MARKS: Mapping[State, str] = {"ok": "✓", "warning": "!", "problem": "✗"}
_TRIP_COLUMNS = ("round trip", "pings", "min ms", "median ms", "p99 ms", "clock", "version")
_CLIENT_COLUMNS = (
    *("worker", "provider", "requests", "conns", "streams"),
    *("protocol", "sent", "received", "retired"),
)


def doctor(*, as_json: bool) -> int:
    """Print the findings; 1 if one of them is a problem."""
    from app.embedded.state import read_state

    settings = load()
    state = read_state(settings.data_dir)
    places = places_of(settings, state)
    findings = run_checks(all_checks(settings, state, places))
    findings = with_round_trips(findings, all_timings(places))
    findings += clock_finding(findings)
    well = all(each.state != "problem" for each in findings)
    if as_json:
        report.print_json({"ok": well, "findings": [each.as_dict() for each in findings]})
    else:
        show(findings)
    return OK if well else SOME_FAILED


def show(findings: Sequence[Finding]) -> None:
    """For people: round trips, the workers' clients, then a line for each finding with what to do below it.

    The gravest come last: there a reader looks first.
    """
    out = report.console()
    for columns, rows in ((_TRIP_COLUMNS, trip_rows(findings)), (_CLIENT_COLUMNS, client_rows(findings))):
        if rows:
            _print_rows(columns, rows)
            out.print()
    name_width = max(len(each.name) for each in findings)
    for each in sorted(findings, key=lambda each: list(_STYLES).index(each.state)):
        for line in lines_of(each, name_width, out.width if out.is_terminal else None):
            out.print(line, soft_wrap=True)
    out.print()
    out.print(closing(findings), soft_wrap=True)


def lines_of(finding: Finding, name_width: int, width: int | None) -> list[Text]:
    """A finding as lines of a terminal of this width, words whole; as long as they are for None."""
    from rich.text import Text

    indent = _STATE_WIDTH + name_width + 4
    parts = [
        (words.clean(finding.text), ""),
        *([(f"-> {words.clean(finding.fix)}", "dim")] if finding.fix else []),
    ]
    # In a pipe the word alone stands for it, to be looked for.
    mark = f"{_MARKS[finding.state]} " if width else ""
    indent += len(mark)
    state = f"{mark}{finding.state:{_STATE_WIDTH}}"
    head = [(state, _STYLES[finding.state]), f"  {finding.name:{name_width}}  "]
    lines: list[Text] = []
    for text, style in parts:
        for piece in words.folded(text, width - indent if width else None):
            lines.append(Text.assemble(*(head if not lines else [" " * indent]), (piece, style)))
    return lines


def client_rows(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """The figures of each worker's client of each provider, below `_CLIENT_COLUMNS`."""
    return [
        (
            each.name,
            provider,
            words.short(client["requests"]),
            _UNKNOWN if client["connections"] is None else str(client["connections"]),
            str(client["in_flight"]),
            ", ".join(client["protocols"]) or "-",
            words.size(client["bytes_sent"]),
            words.size(client["bytes_received"]),
            str(client["retired"]),
        )
        for each in findings
        for provider, client in each.data.get("clients", {}).items()
    ]


def trip_rows(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """How long each server's answers took, below `_TRIP_COLUMNS`."""
    timed = [(each, each.data["round_trip"]) for each in findings if "round_trip" in each.data]
    return [
        (
            each.name,
            str(trip["pings"]),
            *(f"{trip[name]:.2f}" for name in ("min_ms", "median_ms", "p99_ms")),
            f"{each.data['clock_offset_s'] * 1000:+.0f} ms" if "clock_offset_s" in each.data else "-",
            str(each.data.get("version", "-")),
        )
        for each, trip in timed
    ]


def _print_rows(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    # Of report.print_table's lines the gaps alone would not leave these columns room on 80 characters.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        left = column in ("worker", "provider", "protocol", "round trip", "version")
        table.add_column(column, justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for row in rows:
        table.add_row(*map(words.clean, row))
    report.console().print(table)


def closing(findings: Sequence[Finding]) -> str:
    """The last line: how many of what."""
    problems = sum(each.state == "problem" for each in findings)
    warnings = sum(each.state == "warning" for each in findings)
    if not problems and not warnings:
        return "all is well"
    said = [words.things(problems, "problem")] if problems else []
    return " and ".join([*said, *([words.things(warnings, "warning")] if warnings else [])])
