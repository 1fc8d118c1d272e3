"""JSONL of objects: each line is kept as it is, and the answers become further keys of its object."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from app.tables.rows import CellProblem, Column, Row, Writer
from workers.core.split import split_lines

MAX_LINE_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class JsonlTable:
    """A file of JSON objects, one a line, nested or not. Which columns there are, every row says itself."""

    path: Path
    columns: tuple[str, ...] | None = None

    def rows(self, wanted: Collection[str]) -> Iterator[Row | CellProblem]:
        """Every object; blank lines are no rows."""
        with self.path.open("rb") as file:
            chunks = iter(lambda: file.read(_CHUNK_BYTES), b"")
            for number, (_, _, raw) in enumerate(split_lines(chunks, MAX_LINE_BYTES), start=1):
                yield _row(number, raw)

    def writer(self, file: BinaryIO, added: Sequence[Column]) -> Writer:
        """Writes lines that end in LF."""
        return _JsonlWriter(file, added)


def _row(number: int, raw: bytes) -> Row | CellProblem:
    if len(raw) > MAX_LINE_BYTES:
        return CellProblem(number, None, "line_too_long", f"the line is longer than {MAX_LINE_BYTES:,} bytes")
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return CellProblem(number, None, "invalid_json_line", f"not valid JSON: {error}")
    if not isinstance(values, dict):
        return CellProblem(number, None, "invalid_json_line", "JSON, but not an object")
    return Row(number, values, raw)


class _JsonlWriter:
    def __init__(self, file: BinaryIO, added: Sequence[Column]) -> None:
        self._file, self._names = file, [column.name for column in added]

    def write(self, row: Row, values: Sequence[Any]) -> None:
        # Behind the object's own text: numbers of many digits and the order of keys stay as they are.
        own = row.raw.strip()[:-1].rstrip()
        more = orjson.dumps(dict(zip(self._names, values, strict=True)))[1:]
        self._file.write(own + (b"," if row.values else b"") + more + b"\n")

    def close(self) -> None:
        """Nothing is held back."""

    abandon = close
