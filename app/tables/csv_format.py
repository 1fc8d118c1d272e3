"""CSV and TSV (RFC 4180): every record is written again as it was read, byte for byte, with the answers behind it.

The csv module takes lines from us, so the text that made up a record is known when the record is: quoted line
breaks, quotes that were not needed and line ends all stay. Blank lines are no rows and are left out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import orjson

from app.tables.rows import CellProblem, Column, Row, Writer, check_header, whole

DELIMITERS = (",", ";", "\t", "|")
# Together longer than any request may be; a quote that never ends must not be read to the end of the disk.
MAX_FIELD_CHARACTERS = 16 << 20
_SNIFFED_RECORDS, _SNIFFED_CHARACTERS = 20, 1 << 16
_BOM = b"\xef\xbb\xbf"
# What `surrogateescape` makes of bytes that are no UTF-8.
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file with a header. `line_end` is the header's own."""

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    header: str
    line_end: str
    has_bom: bool

    def rows(self, wanted: Collection[str]) -> Iterator[Row | CellProblem]:
        """Every record behind the header; short ones lack their last columns, longer ones are a problem."""
        number = 0
        with _opened(self.path) as file:
            records = _records(file, self.delimiter)
            next(records)
            for found in records:
                number += 1
                yield self._row(number, found)

    def _row(self, number: int, found: tuple[list[str], str] | str) -> Row | CellProblem:
        if isinstance(found, str):
            return CellProblem(number, None, "invalid_csv", found)
        fields, raw = found
        if len(fields) > len(self.columns):
            text = f"{len(fields)} values, but there are {len(self.columns)} columns"
            return CellProblem(number, None, "too_many_values", text)
        values = dict(zip(self.columns, fields, strict=False))
        if not raw.isascii() and _NOT_UTF8.search(raw):
            column = next(name for name, text in values.items() if _NOT_UTF8.search(text))
            return CellProblem(number, column, "not_utf8", "the bytes are no UTF-8")
        return Row(number, values, (raw, len(fields)))

    def writer(self, file: BinaryIO, added: Sequence[Column]) -> Writer:
        """Writes records with the delimiter and the line ends of this file."""
        return _CsvWriter(self, file, added)


def open_csv(path: Path, delimiter: str | None) -> CsvTable:
    """Read the header. Raises TableFault; OSError when the file cannot be read."""
    with path.open("rb") as raw:
        start = raw.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise whole("not_utf8", "the file is UTF-16, not UTF-8", hint="save it as UTF-8")
    delimiter = delimiter or _sniffed(path)
    with _opened(path) as file:
        found = next(_records(file, delimiter), None)
    if found is None:
        raise whole("empty_table", "the file is empty", hint="the first line names the columns")
    if isinstance(found, str):
        raise whole("invalid_csv", f"the header cannot be read: {found}")
    columns, header = found
    if _NOT_UTF8.search(header):
        raise whole("not_utf8", "the names of the columns are no UTF-8", hint="save the file as UTF-8")
    check_header(columns)
    _, line_end = _split_end(header)
    return CsvTable(path, tuple(columns), delimiter, header, line_end or "\n", start.startswith(_BOM))


def _opened(path: Path) -> TextIO:
    # Without translation of line ends: the csv module needs them as they are, and so does the output.
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _sniffed(path: Path) -> str:
    """The delimiter that cuts the first records into the most columns, as many in each; a comma in doubt."""
    with _opened(path) as file:
        start = file.read(_SNIFFED_CHARACTERS)
    best, columns = ",", 1
    for delimiter in DELIMITERS:
        records = list(islice(_records(io.StringIO(start, newline=""), delimiter), _SNIFFED_RECORDS))
        if len(start) == _SNIFFED_CHARACTERS and len(records) > 1:
            records.pop()  # it may be cut off
        widths = {0 if isinstance(found, str) else len(found[0]) for found in records}
        if len(widths) == 1 and max(widths) > columns:
            best, columns = delimiter, max(widths)
    if columns > 1:
        return best
    # Nothing cuts all alike; then the header alone decides, and rows that differ are told one by one.
    return max(DELIMITERS, key=start.partition("\n")[0].count)


def _records(file: TextIO, delimiter: str) -> Iterator[tuple[list[str], str] | str]:
    """Fields and text of each record that is not blank; a sentence for what is none, which is then the last."""
    lines: list[str] = []

    def fed() -> Iterator[str]:
        while line := file.readline(MAX_FIELD_CHARACTERS):
            lines.append(line)
            yield line

    # The limit is one for the whole process; nobody else here reads CSV.
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(fed(), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if fields:
                yield fields, lines[0] if len(lines) == 1 else "".join(lines)
            lines.clear()
    except csv.Error as error:
        yield f"{error}: a quote that is not closed, or not doubled inside a quoted value?"


def _split_end(text: str) -> tuple[str, str]:
    bare = text.rstrip("\r\n")
    return bare, text[len(bare) :]


class _CsvWriter:
    def __init__(self, table: CsvTable, file: BinaryIO, added: Sequence[Column]) -> None:
        self._table, self._file = table, file
        self._special = re.compile(rf'["\r\n{re.escape(table.delimiter)}]|^\s|\s$')
        if table.has_bom:
            file.write(_BOM)
        header, _ = _split_end(table.header)
        self._put(header, [column.name for column in added], table.line_end)

    def write(self, row: Row, values: Sequence[Any]) -> None:
        raw, fields = row.raw
        record, line_end = _split_end(raw)
        record += self._table.delimiter * (len(self._table.columns) - fields)
        self._put(record, [_text(value) for value in values], line_end or self._table.line_end)

    def close(self) -> None:
        """Nothing is held back."""

    abandon = close

    def _put(self, record: str, cells: Sequence[str], line_end: str) -> None:
        more = "".join(self._table.delimiter + self._quoted(cell) for cell in cells)
        self._file.write(f"{record}{more}{line_end}".encode())

    def _quoted(self, cell: str) -> str:
        if not self._special.search(cell):
            return cell
        return '"' + cell.replace('"', '""') + '"'


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
