"""Flags decide which kind of run it is, and a hopeless table is refused before a server is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.cli import errors
from app.cli.errors import CliError
from app.cli.run import Options
from app.cli.tables_run import TableOptions, check_flags, run_table

CSV, JSONL = Path("a.csv"), Path("a.jsonl")
ASKED = TableOptions(prompt="Say {text}")


def test_without_a_prompt_jsonl_is_a_file_of_requests_and_with_one_a_table() -> None:
    assert check_flags([JSONL, JSONL], TableOptions(), Path("e.jsonl")) is None
    assert check_flags([JSONL], ASKED, None) == JSONL
    assert check_flags([CSV], replace(ASKED, prompt=None, prompt_file=Path("p.txt")), None) == CSV


@pytest.mark.parametrize(
    ("files", "changes", "errors_to", "says"),
    [
        ([CSV], {"prompt": None}, None, "there is no prompt"),
        ([JSONL], {"prompt": None, "schema": Path("s.json")}, None, "a flag about tables"),
        ([CSV], {"prompt_file": Path("p.txt")}, None, "--prompt and --prompt-file"),
        ([CSV, CSV], {}, None, "2 tables"),
        ([CSV], {}, Path("e.jsonl"), "errors in a column"),
        ([CSV], {"schema": Path("s.json"), "answer_column": "x"}, None, "names the columns"),
        ([CSV], {"delimiter": "::"}, None, "one character"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused_with_the_way_out(
    files: list[Path], changes: dict[str, Any], errors_to: Path | None, says: str
) -> None:
    with pytest.raises(CliError, match=says) as caught:
        check_flags(files, replace(ASKED, **changes), errors_to)
    assert caught.value.hint


def refusal(folder: Path, content: str, asked: TableOptions = ASKED, output: Path | None = None) -> CliError:
    path = folder / "in.csv"
    path.write_text(content)
    with pytest.raises(CliError) as caught:
        run_table(path, Options(simulate=True), asked, output)
    return caught.value


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHWRIGHT_DATA_DIR", str(tmp_path / "data"))


@pytest.mark.parametrize("prompt", ["", "Classify it", "Classify {{text}}"])
def test_a_prompt_without_a_column_is_refused_since_all_rows_would_be_asked_the_same(
    tmp_path: Path, prompt: str
) -> None:
    error = refusal(tmp_path, "text\na\n", replace(ASKED, prompt=prompt))
    assert "names no column" in error.message
    assert not (tmp_path / "data").exists()


def test_faults_are_shown_by_row_and_column_before_anything_is_started(tmp_path: Path) -> None:
    error = refusal(tmp_path, "id,text\n1,a,b\n2," + "x" * 2_000_000 + "\n")
    places = [(each.field, each.code) for each in error.problems]
    assert places == [("row 1", "too_many_values"), ("row 2, text", "line_too_long")]
    assert errors.lines_of(error)[0].startswith("error: ")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "out").exists()


def test_answers_keep_the_format_of_the_table_and_never_take_its_place(tmp_path: Path) -> None:
    assert "keep the format" in str(refusal(tmp_path, "text\na\n", output=tmp_path / "o.parquet"))
    assert "is the input itself" in str(refusal(tmp_path, "text\na\n", output=tmp_path / "in.csv"))


def test_a_schema_with_a_property_named_error_is_refused(tmp_path: Path) -> None:
    schema = tmp_path / "s.json"
    schema.write_text('{"type": "object", "properties": {"error": {"type": "string"}}}')
    assert "named 'error'" in str(refusal(tmp_path, "text\na\n", replace(ASKED, schema=schema)))


def test_a_schema_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, "text\na\n", replace(ASKED, schema=tmp_path / "none.json"))
    assert "cannot read" in str(error)
