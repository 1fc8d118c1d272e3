"""`why`: one screen that says what a batch waits for, what runs, and the command to copy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.shapes import Why
from app.cli import why as verb

pytestmark = pytest.mark.fast
NOW_S = 1_700_000_000.0
ID = "batch_01"


def reason(**changed: Any) -> dict[str, Any]:
    there = {
        "kind": "breaker",
        "text": "'acme' failed too often in a row and is left alone (for 34 s).",
        "provider": "acme",
        "shards": 2,
        "requests": 1200,
        "since": int(NOW_S) - 34,
        "until": int(NOW_S) + 20,
        "command": "batchwright doctor",
        "helps": "Says whether the provider answers; it is tried again by itself.",
    }
    return there | changed


RUNS = {
    "provider": "acme",
    "worker": "worker-1",
    "shards": 1,
    "requests": 90,
    "calls": 10,
    "since": int(NOW_S) - 12,
}


def reply(**changed: Any) -> dict[str, Any]:
    there = {
        "id": ID,
        "status": "in_progress",
        "total": 2000,
        "done": 710,
        "failed": 3,
        "text": "1,200 requests wait; worker-1 has 90 requests in hand.",
        "command": "batchwright doctor",
        "helps": "Says whether the provider answers.",
        "waiting_for": [reason()],
        "running": [RUNS],
    }
    return there | changed


def screen(data: Mapping[str, Any], width: int | None = None) -> str:
    return "\n".join(line.plain for line in verb.lines_of(data, NOW_S, width))


def served(monkeypatch: pytest.MonkeyPatch, *replies: Mapping[str, Any]) -> list[str]:
    asked: list[str] = []

    def call(http_call: Any) -> Any:
        asked.append(http_call.path)
        return http_call.read(replies[min(len(asked), len(replies)) - 1])

    @contextmanager
    def server(_: object) -> Iterator[Any]:
        yield SimpleNamespace(call=call)

    monkeypatch.setattr(verb, "named_server", server)
    monkeypatch.setattr(verb, "load", lambda: None)
    monkeypatch.setattr(verb, "LOOK_EVERY_S", 0.0)
    return asked


def test_what_these_tests_show_is_what_the_server_gives() -> None:
    Why.model_validate(reply())


def test_a_reason_stands_with_its_size_its_times_and_the_command_on_a_line_of_its_own() -> None:
    text = screen(reply())
    assert text.startswith(f"{ID}  in_progress  710 of 2,000 done, 3 failed\n1,200 requests wait;")
    assert "breaker (acme)  1,200 requests in 2 parts, since " in text
    assert "(34 s), until " in text and "(in 20 s)" in text
    assert "    -> batchwright doctor\n" in text
    assert "    worker-1  acme  90 requests in 1 part  10 calls under way  oldest 12 s" in text


def test_a_batch_that_waits_for_nothing_and_one_that_has_ended_say_so_with_what_to_do() -> None:
    runs = screen(
        reply(waiting_for=[], command=None, text="Nothing waits: worker-1 has 90 requests in hand.")
    )
    assert "Nothing waits" in runs and "->" not in runs
    ended = reply(status="completed", waiting_for=[], running=[], command=f"batchwright errors {ID}")
    assert f"-> batchwright errors {ID}\n" in screen(ended)


def test_a_paused_batch_is_resumed_by_our_command_and_not_by_a_call_of_the_api() -> None:
    paused = reason(kind="paused", text="let it go on with POST /v1/batches/batch_01/resume.", until=None)
    text = screen(reply(waiting_for=[paused]))
    assert f"`batchwright resume {ID}` lets it go on" in text and "POST" not in text


def test_what_others_named_is_not_obeyed_by_the_terminal() -> None:
    evil = "x\x1b[31m\x07"
    data = reply(id=ID, waiting_for=[reason(provider=evil, text=evil, command=evil, helps=evil)])
    data["running"] = [RUNS | {"worker": evil, "provider": evil}]
    assert "\x1b" not in screen(data) and "\x07" not in screen(data)


@given(st.integers(50, 160))
def test_the_screen_fits_and_leaves_commands_whole(width: int) -> None:
    lines = screen(reply(), width).splitlines()
    sentences = [line for line in lines if not line.lstrip().startswith(("->", "worker-1", ID))]
    assert all(len(line) <= width for line in sentences)
    assert any(line.endswith("-> batchwright doctor") for line in lines)


def test_an_older_server_is_shown_as_far_as_it_tells() -> None:
    old = {
        "kind": "limit",
        "provider": "acme",
        "shards": 1,
        "since": None,
        "until": None,
        "text": "It waits.",
    }
    assert "limit (acme)  in 1 part" in screen({"id": ID, "status": "in_progress", "waiting_for": [old]})


def test_json_is_what_the_server_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = served(monkeypatch, reply())
    assert verb.why(ID, watch=False, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == reply() and asked == [f"/v1/batches/{ID}/why"]


def test_watched_in_a_pipe_it_says_what_changes_until_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    same = reply(done=720, waiting_for=[reason(requests=1190, until=int(NOW_S) + 30)])
    ended = reply(status="completed", waiting_for=[], running=[])
    asked = served(monkeypatch, reply(), same, ended)
    assert verb.why(ID, watch=True, as_json=True) == 0
    said = [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()]
    assert said == ["in_progress", "completed"] and len(asked) == 3
