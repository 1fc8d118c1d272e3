"""What Tab puts in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from app.cli import batch_verbs, completing, session
from app.cli.main import app


def test_ids_of_batches_are_offered_with_what_tells_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [
        SimpleNamespace(id=f"batch_{n}", status="completed", total=n, endpoint="/v1/x") for n in (1, 2)
    ]
    client = SimpleNamespace(list=lambda **_: SimpleNamespace(batches=batches))

    class Server:
        def __enter__(self) -> SimpleNamespace:
            return client

        def __exit__(self, *_: object) -> None:
            pass

    # batch_verbs is loaded by now: it must not keep the stand-in under the same name.
    assert vars(batch_verbs)["named_server"] is session.named_server
    monkeypatch.setattr(session, "named_server", lambda _: Server())
    assert completing.batch_ids("batch_2") == [("batch_2", "completed, 2 requests, /v1/x")]


def test_without_a_server_nothing_is_offered_and_nothing_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BATCHWRIGHT_DATA_DIR", str(tmp_path))
    assert completing.batch_ids("batch_") == []
    assert capfd.readouterr() == ("", "")


def test_a_shell_completes_the_verbs() -> None:
    asked = {
        "_BATCHWRIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": "batchwright ca",
        "COMP_CWORD": "1",
    }
    found = CliRunner().invoke(app, env=asked, prog_name="batchwright").stdout
    assert set(found.split()) >= {"cache", "cancel"}
