"""Answers come back as columns beside the rows that they are about, and no row is lost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.jsonl import Result, result_from
from app.tables.answers import Answers, answers_for, kind_of
from app.tables.asking import Asking
from app.tables.cutting import CheckedTable, Limits, check
from app.tables.formats import open_table
from app.tables.joining import join, results_of
from app.tables.rows import TableFault
from app.tables.template import parse

SCHEMA: dict[str, Any] = {
    "properties": {
        "label": {"$ref": "#/$defs/Label"},
        "score": {"type": ["integer", "null"]},
        "share": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "sure": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "$defs": {"Label": {"enum": ["a", "b"]}},
}


def answer(row: int, text: str | None, **message: Any) -> bytes:
    body = {"choices": [{"message": {"content": text, **message}}]}
    return orjson.dumps(
        {"custom_id": f"row-{row}", "response": {"status_code": 200, "body": body}, "error": None}
    )


def failure(row: int, code: str = "batch_expired", message: str = "too\nlate") -> bytes:
    return orjson.dumps(
        {"custom_id": f"row-{row}", "response": None, "error": {"code": code, "message": message}}
    )


def result(text: str | None, **message: Any) -> Result:
    return result_from(answer(1, text, **message))


def table_of(folder: Path, rows: int) -> CheckedTable:
    path = folder / "in.csv"
    path.write_text("n\n" + "".join(f"{number}\n" for number in range(1, rows + 1)))
    return check(open_table(path), Asking(parse("{n}"), "m"), (), Limits(10, 10_000, 1_000))


def written(table: CheckedTable, results: Iterator[tuple[int, Result]]) -> tuple[list[list[str]], int]:
    out = io.BytesIO()
    done = join(table, answers_for(None, None), results, iter(()), out)
    return list(csv.reader(io.StringIO(out.getvalue().decode(), newline="")))[1:], done.failed


def test_a_schema_decides_the_kinds_of_columns() -> None:
    kinds = {name: kind_of(rule, SCHEMA) for name, rule in SCHEMA["properties"].items()}
    assert kinds == {
        "label": "text",
        "score": "integer",
        "share": "number",
        "sure": "boolean",
        "tags": "json",
    }
    for odd in (
        True,
        {"anyOf": [{"type": "string"}, {"type": "number"}]},
        {"$ref": "#/nowhere"},
        {"enum": [1]},
    ):
        assert kind_of(odd, SCHEMA) == "json"


def test_each_property_of_an_answer_is_a_value() -> None:
    answers = answers_for(SCHEMA, None)
    text = '{"label": "a", "score": 3.0, "share": 1, "sure": false, "tags": ["x"]}'
    assert answers.values(result(text)) == ["a", 3, 1, False, ["x"], None]
    assert answers.values(result('{"label": "b"}')) == ["b", None, None, None, None, None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no JSON", "not_json: "),
        ("[1]", "not_an_object: "),
        ('{"score": "high"}', "wrong_type: score "),
        ('{"score": 9223372036854775808}', "wrong_type: score "),
        ('{"sure": 1}', "wrong_type: sure "),
    ],
)
def test_an_answer_beside_the_schema_is_an_error_of_its_row(text: str, says: str) -> None:
    *values, error = answers_for(SCHEMA, None).values(result(text))
    assert values == [None] * 5
    assert str(error).startswith(says)


def test_a_refusal_is_told_in_the_models_words() -> None:
    assert answers_for(None, None).values(result(None, refusal="I will not.")) == [
        None,
        "no_text: I will not.",
    ]


def test_a_failure_and_a_row_without_a_result_leave_the_answer_empty() -> None:
    answers = answers_for(None, "reply", prefix="new_", details=True)
    assert [column.name for column in answers.columns] == [
        "new_reply",
        "new_error",
        "new_cost_usd",
        "new_model",
        "new_source",
    ]
    detail = {"cost_usd": 0.5, "model": "m", "source": "call"}
    assert answers.values(result_from(failure(1)), detail) == [
        None,
        "batch_expired: too late",
        0.5,
        "m",
        "call",
    ]
    assert answers.values(None)[:2] == [None, "not_answered: the row has no answer yet"]


@given(st.lists(st.sampled_from(["answered", "failed", "none"]), min_size=1, max_size=12))
def test_every_row_is_there_once_in_its_order_whatever_became_of_it(
    tmp_path_factory: pytest.TempPathFactory, fates: list[str]
) -> None:
    table = table_of(tmp_path_factory.mktemp("join"), len(fates))
    output = [answer(row, f"answer {row}") for row, fate in enumerate(fates, 1) if fate == "answered"]
    errors = [failure(row) for row, fate in enumerate(fates, 1) if fate == "failed"]
    rows, failed = written(table, results_of(output, errors))
    assert failed == sum(fate != "answered" for fate in fates)
    texts = {
        "answered": "",
        "failed": "batch_expired: too late",
        "none": "not_answered: the row has no answer yet",
    }
    assert rows == [
        [str(row), f"answer {row}" if fate == "answered" else "", texts[fate]]
        for row, fate in enumerate(fates, 1)
    ]


def test_a_table_that_has_grown_or_shrunk_is_not_written(tmp_path: Path) -> None:
    for content in ("n\n1\n", "n\n1\n2\n3\n"):
        table = table_of(tmp_path, 2)
        (tmp_path / "in.csv").write_text(content)
        with pytest.raises(TableFault, match="changed"):
            written(table, iter(()))


def test_answers_need_no_text_to_be_counted_as_one() -> None:
    assert Answers((), False).error_in([None]) is None
