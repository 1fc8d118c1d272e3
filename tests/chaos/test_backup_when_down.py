"""The embedded MongoDB without a stack: for a backup of an installation that is down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from app.cli.main import app
from app.embedded import clients
from app.embedded.errors import DirectoryInUse, StackError
from app.embedded.mongod_alone import holds_database, mongod_alone

pytestmark = pytest.mark.chaos


def test_it_serves_alone_keeps_others_out_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHWRIGHT_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("BATCHWRIGHT_MONGODB_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    assert not holds_database(tmp_path)
    with mongod_alone(tmp_path, "testing") as url:
        with MongoClient[dict[str, Any]](url) as mongo:
            mongo["batchwright"]["batch_jobs"].insert_one({"_id": "kept"})
        with pytest.raises(DirectoryInUse, match="testing"), mongod_alone(tmp_path, "too"):
            pass
        with pytest.raises(StackError, match="is testing"):
            clients.down(tmp_path)
    assert not clients.down(tmp_path), "nothing is left to end"
    # and a backup of an installation that is down finds what is there
    done = CliRunner().invoke(app, ["backup", "f", "--json"])
    assert json.loads(done.stdout)["collections"] == {"batch_jobs": 1}
