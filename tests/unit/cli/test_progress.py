"""Progress is a pure function of numbers."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from app.cli.live import picture, shown_rows
from app.cli.progress import Row, View, plain_interval_s, plain_line, sum_of, waiting_text
from app.client.models import Waiting

RUNNING = Row(
    name="tickets.jsonl",
    status="in_progress",
    total=1000,
    done=612,
    failed=3,
    cached=120,
    coalesced=34,
    tokens=57_400,
    cost_usd=0.0123,
)


def drawn(view: View, width: int = 80, height: int = 30) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(picture(view, height))
    return out.getvalue()


def test_the_plain_line_says_everything_in_one_line() -> None:
    line = plain_line(View((RUNNING,), elapsed_s=2.0, per_second=388.0))
    assert line == (
        "612 of 1,000 done, 3 failed, 120 cached, 34 coalesced, 57.4k tokens, cost $0.0123, "
        "388 items/s, 1.0 s left"
    )


def test_while_a_file_is_checked_no_counts_are_made_up() -> None:
    assert plain_line(View((Row("a.jsonl", "validating"),))) == "checking the file"


def test_several_files_are_summed_and_counted() -> None:
    ended = replace(RUNNING, status="completed", done=1000)
    line = plain_line(View((RUNNING, ended), per_second=10.0))
    assert line.startswith("1,612 of 2,000 done")
    assert line.endswith("1 of 2 files")


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    assert sum_of([RUNNING, replace(RUNNING, cost_usd=None)]).cost_usd is None


def test_no_time_left_is_promised_before_every_file_is_checked() -> None:
    view = View((RUNNING, Row("b.jsonl", "validating")), per_second=100.0)
    assert view.left_s is None


def test_the_picture_fits_a_terminal_of_eighty_columns() -> None:
    text = drawn(View((RUNNING, replace(RUNNING, name="a-very-long-name-of-a-file-of-prompts.jsonl"))))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "612/1,000" in text
    assert "61 %" in text
    assert "2 files" in text


def test_the_picture_says_why_nothing_moves() -> None:
    assert "waiting: parked by the limit" in drawn(View((RUNNING,), waiting=("parked by the limit",)))


def test_what_does_not_fit_is_counted_and_the_running_ones_stay() -> None:
    ended = [replace(RUNNING, name=f"{n}", status="completed") for n in range(30)]
    rows = (*ended, RUNNING)
    assert shown_rows(rows, 5)[-1] is RUNNING
    assert "and 27 more" in drawn(View(rows), height=10)


def test_a_long_run_writes_fewer_lines() -> None:
    assert [plain_interval_s(at) for at in (0, 59, 60, 3600)] == [1.0, 1.0, 5.0, 30.0]


def test_a_paused_batch_names_the_verb_that_lets_it_go_on() -> None:
    text = waiting_text(Waiting("paused", "let it go on with POST /v1/..."), "batch_1")
    assert "`batchwright resume batch_1`" in text


def test_what_is_paused_has_no_speed_and_no_time_left() -> None:
    line = plain_line(View((replace(RUNNING, paused=True),), elapsed_s=2.0, per_second=388.0))
    assert line.startswith("paused, 612 of 1,000 done") and line.endswith("cost $0.0123")
