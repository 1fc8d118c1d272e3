"""`validate` shows everything that is wrong at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import validating


def line(custom_id: str, **changes: object) -> str:
    body = {"model": "sim-small", "messages": [{"role": "user", "content": "hi"}]}
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(whole | changes)


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(name: str, *lines: str) -> Path:
    path = Path(name)
    path.write_text("\n".join(lines))
    return path


def test_all_problems_of_all_files_are_shown_with_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    # given a first line without an endpoint, broken lines behind it, and a second file that is right
    bad = written(
        "bad.jsonl", '{"custom_id":"a"}', "xx", line("b"), line("b"), line("c", url="/v1/embeddings")
    )
    good = written("good.jsonl", line("a"))
    # when
    code = validating.validate([bad, good, Path("none.jsonl")], model=None, most=1000, as_json=False)
    # then
    shown = capsys.readouterr().out
    assert code == 2
    assert [text.split(": ")[1] for text in shown.splitlines() if text.startswith("error: bad")] == [
        "bad.jsonl:1",
        "bad.jsonl:2",
        "bad.jsonl:4",
        "bad.jsonl:5",
    ]
    assert "good.jsonl: 1 request for /v1/chat/completions" in shown and "sim/sim-small" in shown
    assert "cannot read none.jsonl" in shown


def test_more_problems_than_asked_for_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    bad = written("bad.jsonl", line("a"), *["xx"] * 150)
    assert validating.validate([bad], model=None, most=120, as_json=True) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["valid"], len(found["error"]["problems"]), found["more"]) == (False, 120, 30)


def test_a_file_that_is_right_says_who_will_answer_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert validating.validate([written("good.jsonl", line("a"))], model=None, most=9, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == [{"provider": "sim", "model": "sim-small", "requests": 1}]
    assert (found["requests"], found["endpoint"]) == (1, "/v1/chat/completions")


def test_a_file_in_which_no_line_asks_for_anything_has_all_its_lines_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # given lines without any endpoint, as those of a table
    bad = written("bad.jsonl", '{"text":"a"}', "[1]", '{"text":')
    # when
    assert validating.validate([bad], model=None, most=9, as_json=True) == 2
    # then
    problems = json.loads(capsys.readouterr().out)["error"]["problems"]
    assert [problem["line"] for problem in problems] == [1, 2, 3]
