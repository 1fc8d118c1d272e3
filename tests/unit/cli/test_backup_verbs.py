"""What a person reads who stops a backup or a restore. Nothing is started, and no database is asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import backup_verbs
from app.cli.main import app
from app.cli.which_database import WhichDatabase


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    found = WhichDatabase("mongodb://m", "d", alone=True)
    monkeypatch.setattr(backup_verbs, "load", lambda: None)
    monkeypatch.setattr(backup_verbs, "which_database", lambda *_, **__: nullcontext(found))


def test_a_backup_that_is_stopped_says_that_nothing_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.backup.saving.save", save)
    result = CliRunner().invoke(app, ["backup", "f"])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "stopped; nothing was written")


@pytest.mark.parametrize(
    ("begun", "said"),
    [
        (False, "stopped; nothing was changed"),
        (True, "stopped; the database is not whole: repeat the command"),
    ],
)
@pytest.mark.parametrize(("end", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_restore_that_is_stopped_says_whether_the_database_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, begun: bool, said: str, end: BaseException, code: int
) -> None:
    def write_back(*_: object, begins: Callable[[], None], **__: Any) -> None:
        if begun:
            begins()
        raise end

    monkeypatch.setattr("app.backup.restoring.restore", write_back)
    file = tmp_path / "f"
    file.touch()
    result = CliRunner().invoke(app, ["restore", str(file), "--replace"])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (code, said)
