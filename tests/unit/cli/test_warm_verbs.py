"""`warm`: prompts become requests, once or by the clock, and what it came to is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli import rhythm, schedule_verbs, warm_verbs
from app.cli.errors import INTERRUPTED, OK, SOME_FAILED, CliError
from app.cli.main import app
from app.cli.warm_prompts import requests_file
from app.client.calls import BatchRequest, HttpCall, create_batch
from app.client.models import BatchInfo, batch_from
from config.settings import Settings

CHAT = "/v1/chat/completions"
WHOLE = {"custom_id": "c", "method": "POST", "url": CHAT, "body": {"model": "m", "messages": []}}
SCHEDULE = {
    "id": "sched_1",
    "name": "faq",
    "cron": None,
    "every_s": 1800,
    "timezone": "UTC",
    "next_due": 1_800_000_000,
    "last_run": {"state": "started", "due": 1_799_998_200, "batch_id": "batch_9"},
    "enabled": True,
    "beat_silent_s": 2.0,
}


def ended(**ours: Any) -> BatchInfo:
    stats = {"total": 3, "recorded": 3, "cached": 1, "coalesced": 0, "calls": 2, "cost_usd": 0.5, **ours}
    return batch_from({
        "id": "batch_1", "object": "batch", "endpoint": CHAT, "errors": None, "input_file_id": "file-1",
        "completion_window": "24h", "status": "completed", "output_file_id": "file-2", "error_file_id": None,
        "created_at": 1_800_000_000, "completed_at": 1_800_000_004, "metadata": None,
        "request_counts": {"total": 3, "completed": 3, "failed": 0}, "batchwright": stats,
    })  # fmt: skip


class Server:
    """Answers as the API does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.made: list[BatchRequest] = []
        self.called: list[HttpCall[Any]] = []
        self.sent: list[bytes] = []
        self.names: list[str | None] = []
        self.replies: list[Mapping[str, Any]] = []

    def upload(self, path: Path, *, filename: str | None = None) -> Any:
        self.sent.append(path.read_bytes())
        self.names.append(filename)
        return type("File", (), {"id": "file-1"})

    def create_batch(self, request: BatchRequest) -> BatchInfo:
        self.made.append(request)
        return ended()

    def get(self, _: str) -> BatchInfo:
        return ended()

    def call(self, call: HttpCall[Any]) -> Any:
        self.called.append(call)
        return self.replies.pop(0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(warm_verbs, "load", Settings)
    monkeypatch.setattr(warm_verbs, "named_server", lambda _: nullcontext(found))
    monkeypatch.setattr(schedule_verbs, "named_server", lambda _: nullcontext(found))
    return found


def typed(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["warm", *words], standalone_mode=False)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    code = done.return_value
    return (code if isinstance(code, int) else done.exit_code), done.stdout


def written(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_list_of_prompts_is_warmed_once_and_the_summary_says_what_was_paid(
    server: Server, tmp_path: Path
) -> None:
    prompts = written(tmp_path / "faq.txt", "Why?", "", '{"not": "read as JSON"}', "How?")
    code, said = typed(str(prompts), "--model", "sim-small", "--json")
    assert code == OK
    assert json.loads(said) == {
        "batch_id": "batch_1", "status": "completed", "asked": 3, "already_warm": 1, "shared": 0, "paid": 2,
        "failed": 0, "cost_usd": 0.5, "seconds": 0.0,
    }  # fmt: skip
    bodies = [json.loads(line)["body"] for line in server.sent[0].splitlines()]
    asked = [body["messages"][0]["content"] for body in bodies]
    assert asked == ["Why?", '{"not": "read as JSON"}', "How?"] and server.names == ["faq.txt"]
    (made,) = server.made
    assert (made.warm, made.model, made.endpoint) == (True, "sim-small", CHAT)
    assert (create_batch(made).json or {})["batchwright"] == {"cache": "warm", "model": "sim-small"}


def test_for_people_it_is_a_few_lines(server: Server, tmp_path: Path) -> None:
    _, said = typed(str(written(tmp_path / "faq.txt", "Why?")), "--model", "m")
    assert "asked" in said and "3 prompts" in said and "2 calls" in said and "$0.5" in said
    assert "shared" not in said and server.made


@pytest.mark.parametrize(
    ("words", "when"),
    [
        (
            ["--cron", "0 5 * * *", "--timezone", "Europe/Berlin"],
            {"cron": "0 5 * * *", "timezone": "Europe/Berlin"},
        ),
        (["--every", "1h30m"], {"every_s": 5400}),
    ],
)
def test_with_a_rhythm_it_makes_a_schedule_that_warms(
    server: Server, tmp_path: Path, words: list[str], when: dict[str, Any]
) -> None:
    server.replies = [SCHEDULE]
    requests = written(tmp_path / "requests.jsonl", json.dumps(WHOLE))
    code, said = typed(str(requests), *words)
    assert (code, said) == (OK, "sched_1\n") and not server.made
    body = dict(server.called[0].json or {})
    assert body.pop("batch")["batchwright"] == {"cache": "warm"}
    assert body == {"kind": "warm", "name": "requests.jsonl", **when}
    assert server.sent == [requests.read_bytes()], "whole requests go as they are"


def test_what_is_warmed_by_the_clock_is_listed_page_by_page(server: Server) -> None:
    page = {"data": [SCHEDULE], "has_more": True, "last_id": "sched_1"}
    server.replies = [
        page,
        {"data": [{**SCHEDULE, "id": "sched_0"}], "has_more": False, "last_id": "sched_0"},
    ]
    _, said = typed("ls")
    assert "sched_1" in said and "sched_0" in said and "30m" in said and "batch_9" in said
    assert [call.params.get("after") for call in server.called] == [None, "sched_1"]
    assert all(call.params["kind"] == "warm" for call in server.called)


def test_run_and_rm_name_a_schedule(server: Server) -> None:
    server.replies = [{"error": None, "batch_id": "batch_1"}, {"id": "sched_1", "deleted": True}]
    code, said = typed("run", "sched_1", "--json")
    assert code == OK and json.loads(said)["paid"] == 2
    assert typed("rm", "sched_1")[0] == OK
    assert [call.path for call in server.called] == ["/v1/schedules/sched_1/run", "/v1/schedules/sched_1"]
    server.replies = [{"error": {"code": "x", "message": "The disk is full."}, "batch_id": None}]
    refused = CliRunner().invoke(app, ["warm", "run", "sched_1"])
    assert refused.exit_code == SOME_FAILED and "The disk is full" in refused.stderr


@pytest.mark.parametrize(
    ("name", "lines", "model", "words"),
    [
        ("a.txt", ["Why?"], None, "line 1 names no model"),
        ("a.jsonl", ['"Why?"', '{"messages": []}'], None, "line 1 names no model"),
        ("a.jsonl", ['"Why?"', "Why?"], "m", "line 2 is no JSON"),
        ("a.jsonl", ["7"], "m", "line 1: request 1 is of type int"),
    ],
)
def test_a_list_that_cannot_be_asked_is_refused_by_its_line(
    tmp_path: Path, name: str, lines: list[str], model: str | None, words: str
) -> None:
    with (
        pytest.raises(CliError, match=words) as refusal,
        requests_file(written(tmp_path / name, *lines), model),
    ):
        pass
    assert str(refusal.value).count(name) == 1
    with pytest.raises(CliError, match="cannot read"), requests_file(tmp_path / "none.txt", model):
        pass


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_list_without_a_prompt_is_refused_under_its_own_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "faq.txt"
    path.write_text(text)
    with pytest.raises(CliError, match=r"faq\.txt is empty"), requests_file(path, "m"):
        pass


def test_bodies_and_whole_requests_may_stand_among_prompts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '"Why?"', '{"model": "m", "messages": []}', json.dumps(WHOLE))
    with requests_file(path, "m") as made:
        ids = [json.loads(line)["custom_id"] for line in made.read_bytes().splitlines()]
    assert ids == ["request-1", "request-2", "c"] and not made.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["x", "--cron", "* * * * *", "--every", "5m"],
        ["x", "--timezone", "UTC"],
        ["x", "--name", "n"],
        ["x", "--every", "5 minutes"],
        ["x", "--every", "0s"],
        ["x", "--every", ""],
    ],
)
def test_flags_that_do_not_go_together_are_refused(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["warm", *words], standalone_mode=True).exit_code != OK


def test_times_are_read_as_people_write_them() -> None:
    assert [rhythm.every_s(text) for text in ("30m", "90s", "1h30m", "2d")] == [1800, 90, 5400, 172_800]


@given(st.integers(1, 400 * 86_400))
def test_a_time_is_shown_as_it_would_be_given(seconds: int) -> None:
    assert rhythm.every_s(rhythm.every_text(seconds)) == seconds


def test_where_nobody_looks_at_the_clock_that_is_said(server: Server, tmp_path: Path) -> None:
    path = str(written(tmp_path / "requests.jsonl", json.dumps(WHOLE)))
    for silent_s, says in ((2.0, False), (None, True)):
        shown = SCHEDULE | {"beat_silent_s": silent_s}
        page = {"data": [shown], "has_more": False, "last_id": "sched_1"}
        for reply, words in ((shown, (path, "--every", "1h")), (page, ("ls",))):
            server.replies = [reply]
            said = CliRunner().invoke(app, ["warm", *words])
            assert said.exit_code == OK and ("no worker has ever heard of beat" in said.stderr) is says


def test_whoever_stops_watching_a_warming_learns_that_it_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.cli.follow.Follower.follow", stopped)
    said = CliRunner().invoke(app, ["warm", str(written(tmp_path / "a.txt", "Why?")), "--model", "m"])
    assert said.exit_code == INTERRUPTED and "the batch goes on" in said.stderr and server.made
