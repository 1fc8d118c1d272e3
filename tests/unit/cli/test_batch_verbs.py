"""What the verbs about batches bring, and what they leave alone."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.cli import downloads, run
from app.cli.batch_verbs import outcome_of
from app.cli.downloads import download
from app.cli.errors import CliError
from app.cli.follow import Followed
from app.cli.summary import remarks
from app.cli.targets import targets_for
from app.client.errors import ApiRefused
from app.client.models import BatchInfo, batch_from


def batch(status: str, **more: Any) -> BatchInfo:
    known: dict[str, Any] = {"id": "batch_1", "status": status, "endpoint": "/v1/embeddings"}
    return batch_from(known | {"input_file_id": "file-1", "created_at": 100} | more)


class Server:
    """Answers with one batch; has no files."""

    def __init__(self, known: BatchInfo, *, is_retried: bool = False) -> None:
        self.known, self.is_retried = known, is_retried

    def get(self, batch_id: str) -> BatchInfo:
        return self.known

    def download_merged(self, batch_id: str, which: str, target: Path, *, partial: bool = False) -> int:
        if self.is_retried and not partial:
            raise ApiRefused("a retry runs", status=409, code="batch_not_finished")
        return target.write_bytes(b"a line\n" if which == "output" else b"")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file of an earlier time, which a person names again."""
    path = tmp_path / "mine.jsonl"
    path.write_text("old")
    return path


def serve(known: BatchInfo, monkeypatch: pytest.MonkeyPatch, *, is_retried: bool = False) -> None:
    monkeypatch.setattr(downloads, "load", lambda: None)
    server = Server(known, is_retried=is_retried)
    monkeypatch.setattr(downloads, "named_server", lambda settings: nullcontext(server))


def test_a_refused_batch_has_nothing_to_bring_and_says_why_it_was_refused(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = {"code": "invalid_json_line", "message": "this is no JSON", "param": None, "line": 3}
    serve(batch("failed", errors={"data": [problem]}), monkeypatch)
    with pytest.raises(CliError) as caught:
        download("batch_1", output=mine, errors=None, partial=False, as_json=False)
    assert str(caught.value.problems[0]) == "batch_1:3: this is no JSON"
    assert mine.read_text() == "old"


def test_a_download_without_answers_leaves_a_named_file_and_says_so(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(batch("cancelled"), monkeypatch)
    assert download("batch_1", output=mine, errors=None, partial=False, as_json=True) == 0
    said = capsys.readouterr()
    assert '"output_path": null' in said.out
    assert f"there are no answers; {mine} was left as it was" in said.err
    assert mine.read_text() == "old"


def test_a_merged_download_without_errors_leaves_no_empty_file_of_ours(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(batch("completed"), monkeypatch)
    assert download("batch_1", output=mine, errors=None, partial=False, merge=True, as_json=True) == 0
    assert mine.read_text() == "a line\n"
    assert '"error_path": null' in capsys.readouterr().out
    assert [path.name for path in mine.parent.iterdir()] == [mine.name]


@pytest.mark.parametrize("is_retried", [True, False])
def test_a_merged_download_says_whether_a_retry_may_still_add_to_it(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_retried: bool
) -> None:
    serve(batch("completed"), monkeypatch, is_retried=is_retried)
    assert download("batch_1", output=mine, errors=None, partial=True, merge=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["partial"] is is_retried
    assert mine.read_text() == "a line\n"


def test_a_retry_that_found_nothing_to_run_can_be_named_for_the_merged_file(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(batch("failed"), monkeypatch)
    assert download("batch_1", output=mine, errors=None, partial=False, merge=True, as_json=True) == 0
    assert mine.read_text() == "a line\n"


def test_a_run_without_answers_leaves_a_named_file_and_says_so(mine: Path) -> None:
    client: Any = Server(batch("completed"))
    (place,) = targets_for([Path("x.jsonl")], mine, None)
    place.errors.write_text("old")
    outcome = run._fetch(client, Followed("x", client.known, 0.0, seconds=1.0), place)
    assert f"there are no answers; {mine} was left as it was" in remarks([outcome])
    assert mine.read_text() == "old"
    assert not place.errors.exists(), "its name was ours"


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_a_batch_that_had_ended_tells_its_own_time(status: str) -> None:
    client: Any = Server(ended := batch(status, **{f"{status}_at": 142}))
    assert outcome_of(client, Followed("x", ended, 0.0, seconds=0.01)).seconds == 42.0
