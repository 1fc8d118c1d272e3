"""JSONL and Parquet keep what was there; a name says which format a file has."""

from __future__ import annotations

import builtins
import io
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from app.tables.formats import format_of, is_always_table, open_table
from app.tables.rows import CellProblem, Column, Row, TableFault
from workers.core.errors import UserError

ADDED = (
    Column("label", "text"),
    Column("score", "integer"),
    Column("share", "number"),
    Column("sure", "boolean"),
    Column("tags", "json"),
)


def test_a_file_is_what_its_name_says() -> None:
    assert [format_of(Path(name)) for name in ("a.CSV", "a.tsv", "a.jsonl", "a.parquet", "a.txt")] == [
        "csv",
        "csv",
        "jsonl",
        "parquet",
        None,
    ]
    assert is_always_table(Path("a.csv"))
    assert not is_always_table(Path("a.jsonl"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"x", "is no table by its name"),
        ("a.csv", b"", "empty"),
        ("a.parquet", b"PAR1 not really", "not a Parquet file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        open_table(tmp_path / name)


def test_a_json_object_keeps_its_text_and_gets_keys_behind_it(tmp_path: Path) -> None:
    # Given numbers that no double holds, an order of keys, an empty object and odd blanks
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 123456789012345678901234567890, "a": 1.10 }\r\n\n{ }\n{"b":null}')
    table, out = open_table(path), io.BytesIO()
    writer = table.writer(out, ADDED[:2])
    for row in table.rows(()):
        assert isinstance(row, Row)
        writer.write(row, ["x", None])
    assert out.getvalue().splitlines() == [
        b'{"n": 123456789012345678901234567890, "a": 1.10,"label":"x","score":null}',
        b'{"label":"x","score":null}',
        b'{"b":null,"label":"x","score":null}',
    ]


def test_lines_that_are_no_objects_are_named_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n[1]\n\n{"a": \n')
    found = [(each.row, each.code) for each in open_table(path).rows(()) if isinstance(each, CellProblem)]
    assert found == [(2, "invalid_json_line"), (3, "invalid_json_line")]


def test_parquet_keeps_the_types_of_its_columns_and_types_the_answers(tmp_path: Path) -> None:
    path, out = tmp_path / "a.parquet", io.BytesIO()
    known = pa.table(
        {
            "day": pa.array([date(2026, 1, 2), None, date(2026, 1, 3)]),
            "price": pa.array([Decimal("1.10"), Decimal("2.20"), None]),
            "user": pa.array([{"name": "Ann"}, {"name": None}, None]),
            "small": pa.array([1, 2, 3], pa.int8()),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )
    pq.write_table(known, path, compression="zstd", row_group_size=2)
    table = open_table(path)
    writer = table.writer(out, ADDED)
    seen: list[dict[str, Any]] = []
    for row in table.rows(("user", "day")):
        assert isinstance(row, Row)
        seen.append(dict(row.values))
        writer.write(row, ["a", 7, 0.5, True, ["t"]] if row.number != 2 else [None] * 5)
    writer.close()
    # Then the old columns are the same, type for type, and the new ones have those of the schema
    assert seen[0] == {"day": date(2026, 1, 2), "user": {"name": "Ann"}}
    found = pq.read_table(io.BytesIO(out.getvalue()))
    assert found.select(known.column_names).equals(known)
    assert [str(found.schema.field(each.name).type) for each in ADDED] == [
        "string",
        "int64",
        "double",
        "bool",
        "string",
    ]
    assert found.select([each.name for each in ADDED]).to_pylist()[:2] == [
        {"label": "a", "score": 7, "share": 0.5, "sure": True, "tags": '["t"]'},
        {"label": None, "score": None, "share": None, "sure": None, "tags": None},
    ]
    assert pq.ParquetFile(io.BytesIO(out.getvalue())).metadata.row_group(0).column(0).compression == "ZSTD"


def test_without_pyarrow_parquet_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError) as caught:
        open_table(path)
    assert caught.value.hint == "pip install 'batchwright[tables]'"


def test_parquet_with_two_columns_of_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(TableFault, match="both named 'a'"):
        open_table(path)


def test_json_of_a_line_that_was_written_is_what_was_there_and_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(orjson.dumps({"text": "ä\u2028b", "deep": {"x": [1, {}]}}))
    table, out = open_table(path), io.BytesIO()
    row = next(iter(table.rows(())))
    assert isinstance(row, Row)
    table.writer(out, ADDED[:1]).write(row, ["ok"])
    assert orjson.loads(out.getvalue()) == {"text": "ä\u2028b", "deep": {"x": [1, {}]}, "label": "ok"}
