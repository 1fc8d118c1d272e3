"""Parquet by pyarrow (extra `tables`): the columns that were there are written again without being looked into.

Batches of a few thousand rows are read, and written in row groups; their size bounds the memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from app.tables.rows import CellProblem, Column, Row, Writer, check_header, whole
from workers.core.errors import UserError

_BATCH_ROWS = 4096
_GROUP_ROWS, _GROUP_BYTES = 65_536, 32_000_000


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """A Parquet file; `codec` is how its first column is packed."""

    path: Path
    columns: tuple[str, ...]
    codec: str

    def rows(self, wanted: Collection[str]) -> Iterator[Row | CellProblem]:
        """Every row; `values` hold the wanted columns alone, as Python values."""
        names = [name for name in self.columns if name in set(wanted)]
        number = 0
        with _arrow().parquet.ParquetFile(self.path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                seen = batch.select(names).to_pylist() if names else [{}] * batch.num_rows
                for values in seen:
                    number += 1
                    yield Row(number, values, batch)

    def writer(self, file: BinaryIO, added: Sequence[Column]) -> Writer:
        """Writes every row of each batch that `rows` gave: one that is left out cannot be."""
        return _ParquetWriter(self, file, added)


def open_parquet(path: Path) -> ParquetTable:
    """Read the footer. Raises TableFault; UserError where pyarrow is missing; OSError."""
    try:
        pa = _arrow()
    except ImportError as error:
        raise UserError(
            "Parquet needs pyarrow, which is not installed", hint="pip install 'batchwright[tables]'"
        ) from error
    try:
        with pa.parquet.ParquetFile(path) as file:
            columns = tuple(file.schema_arrow.names)
            groups = file.metadata.num_row_groups
            codec = file.metadata.row_group(0).column(0).compression if groups and columns else "SNAPPY"
    except pa.ArrowException as error:
        raise whole("invalid_parquet", f"not a Parquet file: {error}") from error
    check_header(columns)
    return ParquetTable(path, columns, "NONE" if codec == "UNCOMPRESSED" else codec)


def _arrow() -> Any:
    """pyarrow: loaded when a Parquet file is, since nobody else needs it. It brings no types."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    return pa


class _ParquetWriter:
    def __init__(self, table: ParquetTable, file: BinaryIO, added: Sequence[Column]) -> None:
        pa = _arrow()
        types = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
        self._fields = [pa.field(column.name, types.get(column.kind, pa.string())) for column in added]
        self._is_json = [column.kind == "json" for column in added]
        schema = pa.parquet.read_schema(table.path)
        for field in self._fields:
            schema = schema.append(field)
        self._schema = schema
        self._out = pa.parquet.ParquetWriter(file, schema, compression=table.codec)
        self._batch: Any = None
        self._answers: list[list[Any]] = [[] for _ in added]
        self._ready: list[Any] = []
        self._ready_rows = self._ready_bytes = 0

    def write(self, row: Row, values: Sequence[Any]) -> None:
        if row.raw is not self._batch:
            self._end_batch()
            self._batch = row.raw
        for kept, value, is_json in zip(self._answers, values, self._is_json, strict=True):
            kept.append(orjson.dumps(value).decode() if is_json and value is not None else value)

    def close(self) -> None:
        self._end_batch()
        self._flush()
        self._out.close()

    def abandon(self) -> None:
        self._out.close()

    def _end_batch(self) -> None:
        pa = _arrow()
        if self._batch is None:
            return
        arrays = [pa.array(kept, field.type) for field, kept in zip(self._fields, self._answers, strict=True)]
        self._ready.append(pa.RecordBatch.from_arrays([*self._batch.columns, *arrays], schema=self._schema))
        self._ready_rows += self._batch.num_rows
        self._ready_bytes += self._ready[-1].nbytes
        self._answers = [[] for _ in self._fields]
        self._batch = None
        if self._ready_rows >= _GROUP_ROWS or self._ready_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        pa = _arrow()
        if self._ready:
            self._out.write_table(pa.Table.from_batches(self._ready, self._schema))
        self._ready, self._ready_rows, self._ready_bytes = [], 0, 0
