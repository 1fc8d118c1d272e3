"""A hopeless file is refused before anything is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import blake3
import pytest

from app.cli import errors
from app.cli.errors import CliError
from app.cli.preflight import CheckedFile, Rules, check_file
from workers.core.choose import Chosen


def rules(**changes: Any) -> Rules:
    known = {
        "model": None,
        "choose": lambda _, model, __: Chosen("openai", model) if model.startswith("gpt-") else None,
        "way_out": lambda model: f"way out for {model}",
        "max_line_bytes": 10_000,
    }
    return Rules(**(known | changes))


def line(custom_id: str = "a", **changes: Any) -> str:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]} | changes.pop("body", {})
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(whole | changes)


def written(folder: Path, *lines: str, end: str = "\n") -> Path:
    path = folder / "in.jsonl"
    path.write_bytes("".join(each + end for each in lines).encode())
    return path


def refusal(path: Path, **changes: Any) -> CliError:
    with pytest.raises(CliError) as caught:
        check_file(path, rules(**changes))
    return caught.value


def test_a_good_file_is_counted_and_hashed_in_one_pass(tmp_path: Path) -> None:
    path = written(tmp_path, line("a"), "", line("b"), line("c", body={"model": "gpt-5"}))
    found = check_file(path, rules())
    digest = blake3.blake3(path.read_bytes()).hexdigest()
    size = path.stat().st_size
    chosen = {Chosen("openai", "gpt-4o"): 2, Chosen("openai", "gpt-5"): 1}
    assert found == CheckedFile(path, digest, size, "/v1/chat/completions", 3, chosen)


def test_a_byte_order_mark_and_windows_line_ends_are_no_problem(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff" + line("a"), line("b"), end="\r\n")
    assert check_file(path, rules()).total == 2


def test_every_problem_has_file_line_and_field(tmp_path: Path) -> None:
    path = written(tmp_path, line("a"), "", line("a"), '{"custom_id": "x"', line("b", url="/v1/embeddings"))
    places = [(each.line, each.field, each.code) for each in refusal(path).problems]
    assert places == [
        (3, "custom_id", "duplicate_custom_id"),
        (4, None, "invalid_json_line"),
        (5, "url", "invalid_url"),
    ]


def test_broken_json_is_shown_with_its_column(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, line("a"), '{"custom_id": nope}'))
    assert "in.jsonl:2: not valid JSON" in errors.lines_of(error)[0]
    assert "(column 15)" in errors.lines_of(error)[0]


def test_a_first_line_that_is_no_object_says_what_lines_look_like(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, "id,prompt", "1,hello"))
    assert error.problems[0].line == 1
    assert error.hint is not None
    assert error.hint.startswith("each line is one JSON object")


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_an_empty_file_is_called_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(content)
    assert "is empty" in refusal(path).message


def test_an_endpoint_that_is_not_served_names_those_that_are(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, line("a", url="/v1/images")))
    assert error.problems[0].field == "url"
    assert "/v1/embeddings" in str(error.problems[0])


def test_a_model_of_nobody_is_said_once_with_the_ways_out(tmp_path: Path) -> None:
    path = written(tmp_path, *(line(str(n), body={"model": "llama9"}) for n in range(300)))
    shown = errors.lines_of(refusal(path))
    assert "in.jsonl:1: body.model: no provider answers the model 'llama9' (and on 99 more lines)" in shown[0]
    assert shown[-1].strip() == "way out for llama9"


def test_where_the_server_decides_no_model_is_refused_here(tmp_path: Path) -> None:
    path = written(tmp_path, line("a", body={"model": "llama9"}))
    assert check_file(path, rules(choose=None)).chosen == {Chosen("the server decides", "llama9"): 1}


def test_a_model_for_all_lines_takes_the_place_of_theirs(tmp_path: Path) -> None:
    path = written(tmp_path, line("a", body={"model": "llama9"}))
    assert check_file(path, rules(model="gpt-5")).chosen == {Chosen("openai", "gpt-5"): 1}


def test_bad_lines_pass_where_the_setting_skips_them(tmp_path: Path) -> None:
    path = written(tmp_path, line("a"), "nonsense")
    assert check_file(path, rules(skip_invalid=True)).total == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_requests": 2}, "more than 2 requests"),
        ({"max_file_bytes": 100}, "larger than 100 bytes"),
        ({"max_line_bytes": 50}, "longer than 50 bytes"),
    ],
)
def test_a_limit_is_named_with_its_setting(tmp_path: Path, changes: dict[str, int], words: str) -> None:
    error = refusal(written(tmp_path, *(line(str(n)) for n in range(3))), **changes)
    text = " ".join(errors.lines_of(error))
    assert words in text
    assert "max_" in text.lower()


def test_what_cannot_be_read_is_said_in_the_systems_words(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.jsonl").message
    assert "is a directory" in refusal(tmp_path).message
