"""What is printed is fit for a terminal, whoever wrote it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from app.cli import live, report
from app.cli.progress import Row, View

pytestmark = pytest.mark.fast
RED = "\x1b[31mred\x1b]0;pwn\x07"


def test_escape_codes_of_others_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_fields([("model", RED)])
    report.print_table(("batch", "model"), [("batch_1", RED)])
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\x07" not in said
    assert said.count("red") == 2


def test_escape_codes_in_names_and_words_reach_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)
    terminal = live.TerminalDisplay(screen)
    view = View((Row(RED, "in_progress", 4, 2),), 1.0, 1.0, ())
    for display in (live.PlainDisplay(), terminal):
        display.note(RED)
        display.stage(RED)
        display.update(view)
    terminal.stage(RED)
    terminal.detail(RED)
    screen.print(terminal._picture())
    screen.print(live.picture(view, 20))
    said = capsys.readouterr().err + screen.file.getvalue()  # type: ignore[attr-defined]
    assert said.count("red") >= 6
    assert "\x1b]" not in said and "\x07" not in said and "\x1b[31m" not in said


def test_a_table_that_does_not_fit_spends_no_room_on_gaps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "console", lambda: Console(width=24, highlight=False))
    report.print_table(("line", "what happened"), [("1", "three words")])
    report.print_table(("line", "what happened"), [("1", "three words " * 3)])
    wide, _, _, narrow, *_ = capsys.readouterr().out.splitlines()
    assert wide.startswith(" line   what happened") and narrow.startswith(" line what happened")


def test_sentences_are_folded_between_words_and_commands_not_at_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a terminal of 20 columns
    narrow = Console(width=20, force_terminal=True, color_system=None, highlight=False, markup=False)
    monkeypatch.setattr(report, "console", lambda: narrow)
    # when
    report.print_remarks(["equal and cached requests", "`batchwright watch batch_1` shows it"])
    # then
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert shown == ["equal and cached", "requests", "`batchwright watch batch_1` shows it"]


def test_a_narrow_terminal_does_without_what_can_be_spared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "console", lambda: Console(width=26, highlight=False))
    report.print_table(
        ("id", "a", "b", "c"), [("key_1", "aaaaaaaa", "bbbbbbbb", "cccccccc")], spare=("b", "a")
    )
    assert capsys.readouterr().out.splitlines()[0].split() == ["id", "a", "c"]
