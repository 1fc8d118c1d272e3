"""What `batchwright retry` asks for, and what `batchwright errors` says."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import after_verbs
from app.cli.errors import CliError
from app.cli.main import app
from app.client import after_calls
from app.client.after_calls import RetryRequest
from app.client.calls import HttpCall

pytestmark = pytest.mark.fast
CHILD = {
    "id": "batch_2",
    "status": "validating",
    "endpoint": "/v1/embeddings",
    "input_file_id": "file-1",
    "created_at": 100,
    "batchwright": {"parent_id": "batch_1"},
}
KIND = {
    "code": "http_429",
    "status_code": 429,
    "count": 7,
    "message": "slow\x1b[31m down",
    "provider_code": None,
    "retryable": True,
    "hint": "retry later",
    "samples": [{"line": line, "custom_id": f"c{line}"} for line in range(1, 6)],
}


class Server:
    """Answers every call with one object, and keeps the calls."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.calls: list[HttpCall[Any]] = []

    def call(self, call: HttpCall[Any]) -> Any:
        self.calls.append(call)
        return call.read(self.answer)


def serve(answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server(answer)
    monkeypatch.setattr(after_verbs, "load", lambda: None)
    monkeypatch.setattr(after_verbs, "named_server", lambda settings: nullcontext(server))
    return server


def test_a_retry_says_only_what_was_given_and_cannot_be_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(CHILD, monkeypatch)
    flags = ["--code", "timeout", "--lines", "3-5", "--lines", "9", "--never-ran", "--model", "m", "--json"]
    done = CliRunner().invoke(app, ["retry", "batch_1", *flags])
    assert done.exit_code == 0, done.output
    (call,) = server.calls
    only = {"codes": ["timeout"], "never_ran": True, "lines": [[3, 5], [9, 9]]}
    assert call.json == {"filter": only, "batchwright": {"model": "m"}}
    assert call.repeatable and call.headers["idempotency-key"]
    assert json.loads(done.stdout)["parent_id"] == "batch_1"


def test_a_plain_retry_has_an_empty_body(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(CHILD, monkeypatch)
    done = CliRunner().invoke(app, ["retry", "batch_1"])
    assert (done.exit_code, server.calls[0].json) == (0, {})
    assert done.stdout.splitlines()[0] == "batch_2"


@pytest.mark.parametrize("text", ["0", "5-3", "a", "1-", "-3", "1,2"])
def test_what_is_no_range_of_lines_is_refused(text: str) -> None:
    with pytest.raises(CliError):
        after_verbs.ranges([text])


def test_kinds_of_failures_are_said_with_what_helps_and_without_escape_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve({"data": [KIND]}, monkeypatch)
    assert after_verbs.errors("batch_1", merge=True, as_json=False) == 0
    said = capsys.readouterr()
    assert "1, 2, 3, 4, 5, ..." in said.out and "http_429: retry later" in said.out
    assert "\x1b" not in said.out
    assert "batchwright retry batch_1" in said.err
    assert server.calls[0].params == {"merge": "true"}


def test_a_batch_without_failures_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve({"data": []}, monkeypatch)
    assert after_verbs.errors("batch_1", merge=False, as_json=False) == 0
    assert capsys.readouterr().err == "no item has failed\n"


def test_a_retry_without_a_key_is_not_sent_again_by_itself() -> None:
    call = after_calls.retry("b/1", RetryRequest(metadata={"a": "b"}))
    assert (call.path, call.repeatable, call.json) == (
        "/v1/batches/b%2F1/retry",
        False,
        {"metadata": {"a": "b"}},
    )
