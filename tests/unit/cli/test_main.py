"""The command line as a person meets it: exit codes, one-line errors, nothing on stdout but results."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import errors, group
from app.cli.main import app
from app.cli.run import refused
from app.client.models import batch_from
from app.version import VERSION

ROOT = Path(__file__).parents[3]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)
    for name in (
        "BATCHWRIGHT_API_URL",
        "BATCHWRIGHT_CONFIG",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OLLAMA_HOST",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BATCHWRIGHT_DATA_DIR", str(tmp_path / "data"))
    runner = CliRunner()

    def invoke(*args: str) -> Result:
        return runner.invoke(app, list(args))

    return invoke


def invoke(call: object, *args: str) -> Result:
    result: Result = call(*args)  # type: ignore[operator]
    return result


def test_a_file_that_does_not_exist_is_wrong_input_in_one_line(call: object) -> None:
    result = invoke(call, "run", "none.jsonl")
    assert result.exit_code == 2
    assert result.stderr == "error: cannot read none.jsonl: No such file or directory\n"
    assert result.stdout == ""


def test_with_json_the_error_is_one_line_of_json_on_stdout(call: object, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"custom_id": "a"\n')
    result = invoke(call, "run", "bad.jsonl", "--json")
    error = json.loads(result.stdout)["error"]
    assert (error["file"], error["line"], error["code"]) == ("bad.jsonl", 1, "invalid_json_line")
    assert result.exit_code == 2


def test_a_model_of_nobody_starts_nothing_and_shows_the_ways_out(call: object, tmp_path: Path) -> None:
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "gpt-9", "input": "x"},
    }
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    result = invoke(call, "run", "in.jsonl")
    assert result.exit_code == 2
    assert "in.jsonl:1: body.model: no provider answers the model 'gpt-9'" in result.stderr
    assert "set OPENAI_API_KEY" in result.stderr
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("run",), "see `batchwright run --help`"),
        (("run", "a", "--bogus"), "No such option: --bogus"),
        (("nonsense",), "No such command 'nonsense'"),
        (("ls", "--limit", "0"), "'--limit'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(call: object, args: tuple[str, ...], words: str) -> None:
    result = invoke(call, *args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb", [("ls",), ("show", "x"), ("watch", "x"), ("cancel", "x"), ("download", "x")])
def test_without_a_server_the_other_verbs_say_how_to_start_one(call: object, verb: tuple[str, ...]) -> None:
    result = invoke(call, *verb)
    assert result.exit_code == 3
    assert "no stack runs in" in result.stderr
    assert "`batchwright up --detach`" in result.stderr


def test_a_server_that_does_not_answer_is_exit_code_3(call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHWRIGHT_API_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("app.client.calls.RETRY_DELAYS_S", ())
    result = invoke(call, "ls")
    assert result.exit_code == 3
    assert "nothing answers there" in result.stderr


def test_a_wrong_setting_is_named_with_its_source(call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHWRIGHT_API_PORT", "many")
    result = invoke(call, "ls")
    assert result.exit_code == 2
    assert "BATCHWRIGHT_API_PORT in the environment" in result.stderr


def test_ps_says_by_its_exit_code_that_nothing_runs(call: object) -> None:
    assert invoke(call, "ps", "--json").stdout == "[]\n"
    assert invoke(call, "ps").exit_code == 3


def test_down_is_content_when_nothing_runs(call: object) -> None:
    result = invoke(call, "down", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"stopped": False})


def test_logs_name_the_services_there_are(call: object, tmp_path: Path) -> None:
    assert invoke(call, "logs").exit_code == 2
    folder = tmp_path / "data" / "logs"
    folder.mkdir(parents=True)
    (folder / "api.log").write_text("".join(f"line {n}\n" for n in range(300)))
    assert invoke(call, "logs", "api", "-n", "2").stdout == "line 298\nline 299\n"
    assert "there are: api" in invoke(call, "logs", "apo").stderr
    (folder / "redis.log").write_bytes(b"user \x1b[31mred\xc2\x9b\n")
    assert invoke(call, "logs", "redis").stdout == "user \\x1b[31mred\\x9b\n"


def test_a_bug_shows_no_traceback_unless_asked() -> None:
    (line,) = errors.lines_of(group._bug(TypeError("x")))
    assert line.startswith("error: this is a bug in Batchwright: TypeError: x; ")
    assert "with --debug for the traceback" in line


def test_debug_may_stand_anywhere_but_behind_two_dashes() -> None:
    assert group.without_debug(["run", "x", "--debug"]) == (["run", "x"], True)
    assert group.without_debug(["run", "--", "--debug"]) == (["run", "--", "--debug"], False)


def test_what_the_server_refused_reads_as_what_the_check_refuses() -> None:
    rows = [
        {
            "code": "model_not_found",
            "message": "The provided model 'sim-x' is not",
            "param": "body.model",
            "line": 7,
        },
        {"code": "more_errors", "message": "12 more lines have errors", "param": None, "line": None},
    ]
    known = {
        "id": "b",
        "status": "failed",
        "endpoint": "/v1/embeddings",
        "input_file_id": "f",
        "created_at": 1,
    }
    error = refused(batch_from(known | {"errors": {"data": rows}}), "in.jsonl")
    assert (error.problems[0].line, error.more, error.exit_code) == (7, 12, 2)
    assert error.hint is not None
    assert "--sim" in error.hint


def test_help_is_there_at_once() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "app.cli.main", "--help"]
    started_s = time.monotonic()
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "run" in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    # The time itself depends on the machine; what costs it is known by name.
    assert imported.isdisjoint({"httpx", "pymongo", "celery", "rich", "fastapi", "config.tree"})
    assert time.monotonic() - started_s < 5


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    result = CliRunner().invoke(app, ["version", "--json"])
    assert json.loads(result.stdout)["version"] == VERSION


def test_version_and_help_are_found_under_the_names_that_people_try() -> None:
    call = CliRunner().invoke
    assert call(app, ["--version"]).stdout == call(app, ["version"]).stdout
    assert call(app, ["help"]).stdout == call(app, ["--help"]).stdout
    assert call(app, ["help", "ls"]).stdout == call(app, ["ls", "--help"]).stdout
    assert call(app, ["help"]).exit_code == call(app, ["--version"]).exit_code == 0


@pytest.mark.parametrize(
    "group_name", ["", "cache", "keys", "models", "schedule", "tenants", "warm", "webhooks"]
)
def test_no_verb_is_cut_in_the_list_of_verbs(call: object, group_name: str) -> None:
    listed = invoke(call, *group_name.split(), "--help").output.partition("Commands:")[2]
    assert listed
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


def test_a_value_that_is_none_of_those_allowed_is_refused_in_plain_words(call: object) -> None:
    result = invoke(call, "cost", "--by", "nonsense")
    assert result.exit_code == errors.WRONG_INPUT
    assert result.stderr.startswith("error: Invalid value for '--by': 'nonsense' is not one of")
