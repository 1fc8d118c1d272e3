"""The verb `why`: one screen that says what each part of a batch waits for, what runs, and the command that helps.

The reasons and the commands come from the server (workers/core/progress_helps.py); nothing is decided here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.progress import waiting_text
from app.cli.session import ended_by_signals, named_server
from app.client import watching_calls
from app.client.models import Waiting
from workers.core.states import TERMINAL_BATCH

if TYPE_CHECKING:
    from rich.text import Text

    from app.client.blocking import Client

Doc = Mapping[str, Any]
LOOK_EVERY_S = 2.0
_INDENT = 4
# What time alone changes is no news to whoever reads a log.
_PASSING = ("text", "since", "until", "calls", "requests")


def why(batch_id: str, *, watch: bool, as_json: bool) -> int:
    """Say it once, or with `watch` until the batch has ended."""
    with ended_by_signals(), named_server(load()) as client:
        if not watch:
            _say(client.call(watching_calls.explain(batch_id)), as_json=as_json)
        elif not as_json and report.console().is_terminal:
            _watch_on_screen(client, batch_id)
        else:
            _watch_in_lines(client, batch_id, as_json=as_json)
    return 0


def _say(data: Doc, *, as_json: bool) -> None:
    if as_json:
        report.print_json(data)
        return
    out = report.console()
    for line in lines_of(data, time.time(), out.width if out.is_terminal else None):
        out.print(line, soft_wrap=True)


def _watch_on_screen(client: Client, batch_id: str) -> None:
    from rich.console import Group
    from rich.live import Live

    out = report.console()
    with Live(console=out, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            data = client.call(watching_calls.explain(batch_id))
            live.update(Group(*lines_of(data, time.time(), out.width)), refresh=True)
            if is_over(data):
                return
            time.sleep(LOOK_EVERY_S)


def _watch_in_lines(client: Client, batch_id: str, *, as_json: bool) -> None:
    before: Any = None
    while True:
        data = client.call(watching_calls.explain(batch_id))
        if (now := _gist(data)) != before:
            _say(data, as_json=as_json)
            before = now
        if is_over(data):
            return
        time.sleep(LOOK_EVERY_S)


def is_over(data: Doc) -> bool:
    """Whether nothing more will come of it."""
    return data["status"] in TERMINAL_BATCH


def _gist(data: Doc) -> Any:
    parts = [*data["waiting_for"], *data.get("running", ())]
    return data["status"], [{name: part[name] for name in part if name not in _PASSING} for part in parts]


def lines_of(data: Doc, now_s: float, width: int | None) -> list[Text]:
    """The screen, for a terminal of this width; None folds nothing."""
    from rich.text import Text

    counts = f"{words.count(data['done'])} of {words.count(data['total'])} done" if data.get("total") else ""
    failed = f", {words.count(data['failed'])} failed" if data.get("failed") else ""
    lines = [Text.assemble((words.clean(data["id"]), "bold"), f"  {data['status']}  {counts}{failed}")]
    lines += _folded(data.get("text", ""), width, 0)
    for waiting in data["waiting_for"]:
        lines += [Text(""), *_of_reason(waiting, data["id"], now_s, width)]
    if running := data.get("running"):
        lines += [Text(""), Text("runs now", style="bold"), *_of_running(running, now_s)]
    if not data["waiting_for"] and (command := data.get("command")):
        lines += [Text(""), *_way_out(command, data.get("helps", ""), width, 0)]
    return lines


def _of_reason(waiting: Doc, batch_id: str, now_s: float, width: int | None) -> list[Text]:
    from rich.text import Text

    requests, shards = waiting.get("requests"), waiting["shards"]
    size = [words.things(requests, "request")] if requests else []
    size += [f"in {words.things(shards, 'part')}"] if shards else []
    at = f" ({waiting['provider']})" if waiting["provider"] else ""
    since, until = waiting["since"], waiting["until"]
    said = [f"since {_clock(since, now_s)} ({words.duration(max(0, now_s - since))})"] if since else []
    said += [f"until {_clock(until, now_s)} (in {words.duration(max(0, until - now_s))})"] if until else []
    head = Text.assemble((words.clean(f"{waiting['kind']}{at}"), "yellow"), "  ", " ".join(size))
    times = ", ".join(said)
    fits = width is None or head.cell_len + len(times) + 2 <= width
    known = Waiting(waiting["kind"], waiting["text"])
    lines = [head.append(f"{', ' if size else ''}{times}")] if fits and times else [head]
    lines += [] if fits else _folded(times, width, _INDENT)
    lines = [*lines, *_folded(waiting_text(known, batch_id), width, _INDENT)]
    return [*lines, *_way_out(waiting.get("command"), waiting.get("helps", ""), width, _INDENT)]


def _way_out(command: str | None, helps: str, width: int | None, indent: int) -> list[Text]:
    """The command on a line of its own, whole, to be copied."""
    from rich.text import Text

    blank = " " * indent
    lines = [Text.assemble(blank, "-> ", (words.clean(command), "bold green"))] if command else []
    return [*lines, *_folded(helps, width, indent + 3 if command else indent, "dim")]


def _of_running(running: Sequence[Doc], now_s: float) -> list[Text]:
    from rich.text import Text

    rows = [
        (
            words.clean(each["worker"]),
            words.clean(each["provider"]),
            f"{words.things(each['requests'], 'request')} in {words.things(each['shards'], 'part')}",
            words.things(each["calls"], "call") + " under way",
            "" if each["since"] is None else f"oldest {words.duration(max(0, now_s - each['since']))}",
        )
        for each in running
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [[f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)] for row in rows]
    return [Text(" " * _INDENT + "  ".join(row).rstrip()) for row in cells]


def _folded(text: str, width: int | None, indent: int, style: str = "") -> list[Text]:
    from rich.text import Text

    pieces = words.folded(words.clean(text), None if width is None else width - indent)
    return [Text.assemble(" " * indent, (piece, style)) for piece in pieces]


def _clock(unix_s: float, now_s: float) -> str:
    """The time of day, with its date unless it is near."""
    said = words.moment(unix_s)
    return said if abs(unix_s - now_s) > 20 * 3600 else said.partition(" ")[2]
