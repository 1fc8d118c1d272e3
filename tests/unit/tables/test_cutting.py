"""A table is checked whole before anything is sent, and cut into parts that a server takes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tables.asking import ENDPOINT, Asking, is_closed, read_schema
from app.tables.cutting import (
    MAX_PROBLEMS,
    CheckedTable,
    Cutter,
    Limits,
    PartWriter,
    check,
    lines_of_rows,
)
from app.tables.formats import open_table
from app.tables.rows import TableFault
from app.tables.template import parse
from workers.core.errors import UserError
from workers.core.lines import check_line
from workers.core.messages import InputLine

LIMITS = Limits(rows=2, file_bytes=1_000_000, line_bytes=1_000)
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}


def checked(
    folder: Path, content: str, prompt: str = "Say {text}", name: str = "in.csv", limits: Limits = LIMITS
) -> CheckedTable:
    path = folder / name
    path.write_text(content)
    return check(open_table(path), Asking(parse(prompt), "m"), ("answer", "error"), limits)


def fault(folder: Path, content: str, prompt: str = "Say {text}", name: str = "in.csv") -> TableFault:
    with pytest.raises(TableFault) as caught:
        checked(folder, content, prompt, name)
    return caught.value


def test_each_row_becomes_a_request_that_the_server_takes(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,hello\n")
    asking = Asking(parse("Say {text}"), "gpt-x", "Be brief.", SCHEMA)
    table = check(open_table(tmp_path / "in.csv"), asking, ("label", "error"), LIMITS)
    (line,) = lines_of_rows(table, {1})
    found = check_line(line.strip(), 1, ENDPOINT)
    assert isinstance(found, InputLine)
    request = json.loads(line)
    assert request["custom_id"] == "row-1"
    assert request["body"]["model"] == "gpt-x"
    assert [each["content"] for each in request["body"]["messages"]] == ["Be brief.", "Say hello"]
    wanted = {"name": "answer", "schema": SCHEMA, "strict": True}
    assert request["body"]["response_format"] == {"type": "json_schema", "json_schema": wanted}


@given(
    sizes=st.lists(st.integers(1, 40), max_size=40), rows=st.integers(1, 7), file_bytes=st.integers(1, 100)
)
def test_parts_hold_every_request_once_in_order_and_none_is_over_a_limit_that_one_alone_is_not(
    sizes: list[int], rows: int, file_bytes: int
) -> None:
    cutter = Cutter(Limits(rows, file_bytes, 1_000))
    for size in sizes:
        cutter.add(b"x" * size)
    parts = cutter.parts()
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    ends = [part.first_row + part.rows for part in parts]
    assert [part.first_row for part in parts] == [1, *ends][: len(parts)]
    assert sum(part.rows for part in parts) == len(sizes)
    for part in parts:
        theirs = sizes[part.first_row - 1 : part.first_row - 1 + part.rows]
        assert part.bytes == sum(theirs)
        assert part.rows <= rows
        assert part.bytes <= file_bytes or part.rows == 1


def test_a_part_is_the_same_as_long_as_what_it_asks_is(tmp_path: Path) -> None:
    before = checked(tmp_path, "id,text\n1,a\n2,b\n3,c\n")
    # Given another column that no prompt uses, and rows behind the last ones
    after = checked(tmp_path, "id,text,more\n1,a,x\n9,b,y\n3,c,z\n4,d,\n5,e,\n")
    assert [part.rows for part in before.parts] == [2, 1]
    assert before.parts[0].digest == after.parts[0].digest
    assert before.parts[1].digest != after.parts[1].digest
    other = checked(tmp_path, "id,text\n1,a\n2,b\n3,c\n", "Shout {text}")
    assert {part.digest for part in before.parts}.isdisjoint(part.digest for part in other.parts)


def test_parts_are_written_as_they_were_checked_and_in_any_order(tmp_path: Path) -> None:
    table = checked(tmp_path, "text\na\nb\nc\nd\ne\n")
    writer = PartWriter(table)
    for number in (2, 3, 1):
        file = io.BytesIO()
        writer.write(table.parts[number - 1], file)
        assert len(file.getvalue()) == table.parts[number - 1].bytes


def test_a_table_that_changes_between_looking_and_sending_is_noticed(tmp_path: Path) -> None:
    table = checked(tmp_path, "text\na\nb\nc\n")
    (tmp_path / "in.csv").write_text("text\na\nB\nc\n")
    with pytest.raises(TableFault, match="changed"):
        PartWriter(table).write(table.parts[0], io.BytesIO())


def test_an_unknown_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    found = fault(tmp_path, "id,text\n1,a\n", "Say {txt} {id}")
    assert [(each.column, each.code) for each in found.problems] == [("txt", "unknown_column")]
    assert "id, text" in str(found.hint)


def test_in_json_a_name_is_unknown_when_no_row_has_it(tmp_path: Path) -> None:
    rows = '{"text": "a"}\n{"text": null, "user": {"name": "Ann"}}\n'
    found = checked(tmp_path, rows, "{text} {user.name}", "in.jsonl")
    assert found.missing == {"text": 1, "user.name": 1}
    wrong = fault(tmp_path, rows, "{text} {user.nam}", "in.jsonl")
    assert [each.column for each in wrong.problems] == ["user.nam"]
    assert "text, user" in str(wrong.hint)


def test_empty_cells_and_short_records_are_counted_not_refused(tmp_path: Path) -> None:
    assert checked(tmp_path, "id,text\n1,\n2\n3,c\n").missing == {"text": 2}


@pytest.mark.parametrize(
    ("name", "content"), [("in.csv", "text,error\na,b\n"), ("in.jsonl", '{"text": "a"}\n{"error": 1}\n')]
)
def test_a_column_that_the_answers_need_is_refused_with_the_way_out(
    tmp_path: Path, name: str, content: str
) -> None:
    found = fault(tmp_path, content, "{text}", name)
    assert [(each.column, each.code) for each in found.problems] == [("error", "column_exists")]
    assert "--prefix" in str(found.hint)


def test_every_wrong_row_is_found_and_the_first_twenty_are_kept(tmp_path: Path) -> None:
    rows = "".join(f"{'x' * 2_000 if number % 2 else 'short'}\n" for number in range(100))
    found = fault(tmp_path, f"text\n{rows}")
    assert len(found.problems) == MAX_PROBLEMS
    assert found.more == 30
    assert (found.problems[0].row, found.problems[0].column) == (2, "text")
    assert found.problems[0].code == "line_too_long"


def test_a_header_alone_is_no_table(tmp_path: Path) -> None:
    assert fault(tmp_path, "text\n").problems[0].code == "empty_table"


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "describes no object"),
        (b'{"type": "array", "items": {}}', "describes no object"),
        (b'{"properties": {"a": {"type": "strin"}}}', "no JSON Schema"),
    ],
)
def test_a_schema_that_gives_no_columns_is_refused(schema: bytes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_schema(schema, "s.json")


def test_only_a_schema_that_leaves_nothing_open_is_asked_for_strictly() -> None:
    assert is_closed(SCHEMA)
    assert not is_closed({**SCHEMA, "required": []})
    assert not is_closed({**SCHEMA, "properties": {"label": {"type": "object", "properties": {}}}})
