"""What `batchwright events` says of each event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from app.cli import event_verbs
from app.cli.event_verbs import Thinned, line_of, progress_lines
from app.client.event_calls import BatchEvent, event_from
from workers.core.states import TERMINAL_BATCH

BATCH = {"id": "batch_1", "status": "completed", "endpoint": "/v1/embeddings", "input_file_id": "file-1"}
ENDED = {**BATCH, "created_at": 1, "request_counts": {"total": 1_000, "completed": 998, "failed": 2}}


def event(kind: str, n: int | None = 1, **data: Any) -> BatchEvent:
    told = {"id": "batch_1", **data}
    return event_from({"object": "event", "type": kind, "n": n, "created_at": 5, "data": told})


def progress(recorded: int = 10, *waits: str) -> BatchEvent:
    counts = {"total": 1_000, "completed": recorded, "failed": 1}
    waiting = [{"kind": kind, "text": f"waits for {kind}"} for kind in waits]
    known = {"recorded": recorded, "per_second": 9.5, "eta_s": 104, "waiting_for": waiting}
    return event("batch.progress", None, request_counts=counts, **known)


def text_of(line: str) -> str:
    return line.partition("  ")[2]


@pytest.mark.parametrize("status", [str(status) for status in TERMINAL_BATCH if status != "failed"])
def test_an_end_says_what_came_of_it(status: str) -> None:
    said = text_of(line_of(event(f"batch.{status}", batch=ENDED)))
    assert said.endswith("998 of 1,000 answered, 2 failed, cost $0")


def test_a_refused_batch_says_why() -> None:
    problem = {"code": "x", "message": "This line is \x1b[31mnot JSON.", "line": 3}
    failed = {**ENDED, "status": "failed", "errors": {"data": [problem, problem]}}
    assert text_of(line_of(event("batch.failed", batch=failed))) == (
        "refused: This line is  [31mnot JSON. (and 1 more)"
    )


def test_a_pause_says_whether_somebody_or_the_ceiling_wanted_it() -> None:
    assert text_of(line_of(event("batch.paused", reason="user"))) == "paused"
    assert "ceiling" in line_of(event("batch.paused", reason="budget"))


def test_what_this_version_does_not_know_is_shown_as_it_is() -> None:
    assert text_of(line_of(event("batch.painted", colour="red"))) == 'batch.painted {"colour": "red"}'
    assert text_of(line_of(event("batch.painted"))) == "batch.painted"


def test_progress_is_a_line_and_each_reason_to_wait_another() -> None:
    first, second = progress_lines(progress(10, "limit"))
    assert text_of(first) == "10 of 1,000 done, 1 failed, 9.5 items/s, 1:44 min left"
    assert text_of(second) == "waiting: waits for limit"


def test_progress_is_said_seldom_in_a_long_run_but_a_new_reason_to_wait_at_once() -> None:
    pace = Thinned()
    assert pace.shows(progress(), 100.0)
    assert not pace.shows(progress(11), 101.0)
    assert pace.shows(progress(11, "limit"), 102.0)
    assert not pace.shows(progress(11, "limit"), 103.0)
    assert pace.shows(progress(12, "limit"), 107.0)


class Server:
    """Tells three events."""

    def events(self, batch_id: str, *, since: int | None, follow: bool) -> Iterator[BatchEvent]:
        yield from (event("batch.created", 0), progress(), event("batch.completed", batch=ENDED))


@pytest.mark.parametrize(("follow", "told"), [(False, 2), (True, 3)])
def test_progress_is_for_those_who_follow(
    follow: bool, told: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_verbs, "named_server", lambda _: nullcontext(Server()))
    monkeypatch.setattr(event_verbs, "load", lambda: None)
    assert event_verbs.events("batch_1", follow=follow, since=None, as_json=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["object"] for line in lines] == ["event"] * told
    assert event_verbs.events("batch_1", follow=follow, since=None, as_json=False) == 0
    assert len(capsys.readouterr().out.splitlines()) == told
