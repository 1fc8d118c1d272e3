"""The group `schedule`: a file first, what is asked of the server, and due times in words."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import schedule_verbs, schedule_words
from app.cli.main import app
from app.client.calls import HttpCall
from config.settings import load_settings
from tests.support.batches import chat_line

SCHEDULE: dict[str, Any] = {
    "id": "sched_1",
    "object": "schedule",
    "name": "nightly",
    "kind": "batch",
    "cron": "0 5 * * *",
    "timezone": "Europe/Berlin",
    "every_s": None,
    "missed": None,
    "enabled": True,
    "next_due": 1_795_665_600,
    "next_due_times": [1_795_665_600, 1_795_752_000, 1_795_838_400],
    "last_run": None,
    "created_at": 1_795_600_000,
    "beat_silent_s": 2.0,
    "batch": {"input_file_id": "file-1", "batchwright": {"model": None}},
}
RUN: dict[str, Any] = {
    "due": 1_795_579_200,
    "state": "started",
    "batch_id": "batch_1",
    "batch_status": "in_progress",
    "error": None,
    "until": 1_795_579_200,
    "count": 1,
}


class Server:
    """Answers calls by the end of their path, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[HttpCall[Any]] = []
        self.schedule = SCHEDULE

    def call(self, call: HttpCall[Any]) -> Any:
        self.asked.append(call)
        end = call.path.rpartition("/")[2]
        page = {"data": [self.schedule], "has_more": False, "last_id": "sched_1"}
        replies = {
            "run": RUN,
            "runs": {"data": [RUN]},
            "schedules": page if call.method == "GET" else self.schedule,
        }
        return call.read(replies.get(end, self.schedule))

    def upload(self, path: Path) -> Any:
        return SimpleNamespace(id="file-1")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(schedule_verbs, "load", lambda: load_settings({}))
    monkeypatch.setattr(schedule_verbs, "named_server", lambda _: nullcontext(made))
    return made


@pytest.fixture
def requests(tmp_path: Path) -> str:
    path = tmp_path / "in.jsonl"
    path.write_bytes(chat_line("c1", "a") + b"\n")
    return str(path)


def said(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["schedule", *words])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("first", [(), ("file",)])
def test_a_file_may_come_first_and_its_options_before_or_behind_it(
    server: Server, requests: str, first: tuple[str, ...]
) -> None:
    options = (
        "--cron",
        "0 5 * * *",
        "--tz",
        "Europe/Berlin",
        "--missed",
        "all",
        "--no-cache",
        "--model",
        "m",
    )
    for words in ((requests, *options), (*options, requests)):
        code, out, err = said(*first, *words)
        assert (code, out) == (0, "sched_1\n"), err
        (asked,) = server.asked
        assert asked.json == {
            "kind": "batch",
            "name": "in.jsonl",
            "cron": "0 5 * * *",
            "timezone": "Europe/Berlin",
            "missed": "all",
            "batch": {
                "input_file_id": "file-1",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "batchwright": {"model": "m", "cache": "off"},
            },
        }
        assert len([line for line in err.splitlines() if "05:00 Europe/Berlin, in " in line]) == 3
        server.asked.clear()


def test_every_is_said_in_seconds(server: Server, requests: str) -> None:
    assert said(requests, "--every", "1h30m")[0] == 0
    assert server.asked[0].json is not None and server.asked[0].json["every_s"] == 5400


@pytest.mark.parametrize(
    "words",
    [(), ("--cron", "x", "--every", "3m"), ("--every", "3m", "--tz", "UTC"), ("--every", "soon")],
)
def test_when_is_said_once_and_rightly(server: Server, requests: str, words: tuple[str, ...]) -> None:
    assert said(requests, *words)[0] == 2 and not server.asked


def test_a_misspelt_verb_is_no_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = said("lst")
    assert code == 2 and "'ls'?" in err and not server.asked
    Path("lst").write_bytes(chat_line("c1", "a") + b"\n")
    assert said("lst", "--every", "1h")[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--every", "1s"), "from 5s to 366d"),
        (("--every", "367d"), "from 5s to 366d"),
        (("--every", "\u0663m"), "such as 30m"),
        (("--cron", "61 5 * * *"), "'61' is no minute"),
        (("--cron", "*/5 0 5 * * *"), "has 6 fields"),
        (("--cron", "@reboot"), "has 1 fields"),
        (("--cron", "0 0 30 2 *"), "no day fits"),
    ],
)
def test_a_rhythm_that_cannot_be_kept_is_refused_before_the_file_is_sent(
    server: Server, requests: str, words: tuple[str, str], says: str
) -> None:
    code, _, err = said(requests, *words)
    assert code == 2 and says in " ".join(err.split()) and not server.asked


def test_a_file_with_a_bad_line_is_refused_before_it_is_sent(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("{}\n")
    assert said(str(path), "--every", "3m")[0] == 2 and not server.asked


def test_without_beat_there_is_a_warning(server: Server, requests: str) -> None:
    assert "warning" not in said(requests, "--every", "1h")[2]
    server.schedule = SCHEDULE | {"beat_silent_s": None}
    for words in ((requests, "--every", "1h"), ("ls",), ("show", "sched_1"), ("resume", "sched_1")):
        assert "no worker has ever heard of beat" in said(*words)[2]
    server.schedule = SCHEDULE | {"beat_silent_s": 7200.0}
    assert "silent for 2h00" in said("ls")[2]


@pytest.mark.parametrize(
    ("words", "method", "path", "shows"),
    [
        (("ls",), "GET", "/v1/schedules", "0 5 * * * Europe/Berlin"),
        (("show", "sched_1"), "GET", "/v1/schedules/sched_1", "in progress"),
        (("run", "sched_1"), "POST", "/v1/schedules/sched_1/run", "batch_1"),
        (("pause", "sched_1"), "PATCH", "/v1/schedules/sched_1", "sched_1"),
        (("resume", "sched_1"), "PATCH", "/v1/schedules/sched_1", "Thursday 2026-11-26 05:00 Europe/Berlin"),
        (("rm", "sched_1"), "DELETE", "/v1/schedules/sched_1", "removed"),
    ],
)
def test_each_verb_asks_for_one_thing_and_has_json(
    server: Server, words: tuple[str, ...], method: str, path: str, shows: str
) -> None:
    code, out, _ = said(*words)
    assert code == 0 and shows in out
    assert (server.asked[0].method, server.asked[0].path) == (method, path)
    code, out, _ = said(*words, "--json")
    assert code == 0 and json.loads(out)


@pytest.mark.usefixtures("server")
def test_a_run_that_was_refused_says_why_and_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"state": "refused", "batch_id": None, "error": {"code": "x", "message": "The queue is full."}}
    monkeypatch.setattr("tests.unit.cli.test_schedule_verbs.RUN", RUN | refused)
    code, out, err = said("run", "sched_1")
    assert (code, out) == (1, "") and "refused: The queue is full." in err


def test_what_was_missed_is_told_with_its_number() -> None:
    missed = RUN | {"state": "missed", "batch_id": None, "count": 7, "until": 1_795_586_400}
    assert schedule_words.came_of(missed).startswith("missed, 7 times until ")
    assert schedule_words.came_of(missed | {"count": 1}) == "missed"


def test_a_zone_that_this_machine_does_not_know_is_shown_as_utc() -> None:
    unknown = SCHEDULE | {"timezone": "Mars/Base"}
    assert schedule_words.due_times(unknown, 1_795_665_000)[0] == "Thursday 2026-11-26 04:00 UTC, in 10m00"
