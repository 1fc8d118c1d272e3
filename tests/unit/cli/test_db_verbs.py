"""What `db init` and `db check` print, and their exit codes. No database is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from app.cli import db_verbs
from app.cli.main import app
from app.doctor.indexes_check import Checked, CollectionSize, IndexFinding

OK = IndexFinding("batch_jobs", "a_1", "ok")
MISSING = IndexFinding("files", "b_1", "missing", "it is not there", "run `batchwright db init`")
THEIRS = IndexFinding("files", "mine", "unexpected", "the work does not need it")
SIZES = [CollectionSize("batch_jobs", 1200, 5_000, 4_096, {"_id_": 8_192, "a_1": 4_096})]


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    display = SimpleNamespace(detail=lambda _: None)
    monkeypatch.setattr(db_verbs, "_database", lambda *_, **__: nullcontext((None, display)))


@pytest.mark.parametrize(("found", "code"), [([OK, THEIRS], 0), ([OK, MISSING], 1)])
def test_check_tells_what_is_lacking_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, found: list[IndexFinding], code: int
) -> None:
    monkeypatch.setattr("app.doctor.indexes_check.look", lambda _: Checked(found, SIZES))
    said = CliRunner().invoke(app, ["db", "check"])
    assert said.exit_code == code
    assert f"{found[1].state}: files.{found[1].name}" in said.stdout
    assert "1,200" in said.stdout and f"{code} lacking" in said.stdout
    data = json.loads(CliRunner().invoke(app, ["db", "check", "--json"]).stdout)
    assert data["ok"] is (code == 0)
    assert [(each["state"], each["bytes"]) for each in data["indexes"]] == [
        ("ok", 4_096),
        (found[1].state, None),
    ]
    assert data["collections"][0]["index_bytes"] == 12_288


def test_init_says_what_it_made_and_what_is_still_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(_: object, tell: Callable[[str, Sequence[str]], None]) -> list[IndexFinding]:
        tell("batch_jobs", ["a_1"])
        tell("files", ["b_1"])
        return [MISSING]

    monkeypatch.setattr("app.doctor.indexes_check.make_missing", make)
    said = CliRunner().invoke(app, ["db", "init"])
    assert said.exit_code == 1
    assert "1 index made" in said.stdout and "missing: files.b_1" in said.stdout
    data = json.loads(CliRunner().invoke(app, ["db", "init", "--json"]).stdout)
    assert data["made"] == [{"collection": "batch_jobs", "name": "a_1"}]
    assert [each["name"] for each in data["lacking"]] == ["b_1"]


def test_init_on_a_database_that_has_all_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.doctor.indexes_check.make_missing", lambda *_: [])
    said = CliRunner().invoke(app, ["db", "init"])
    assert (said.exit_code, said.stdout.strip()) == (0, "every index was there")
