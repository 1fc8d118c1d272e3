"""Which format a file is, by its name, and a table of it."""

from __future__ import annotations

from pathlib import Path

from app.tables.csv_format import open_csv
from app.tables.jsonl_format import JsonlTable
from app.tables.parquet_format import open_parquet
from app.tables.rows import Table, whole
from workers.core.errors import UserError

# A file with one of the first names is always a table; .jsonl is one where a prompt is given.
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_TABS = (".tsv", ".tab")


def format_of(path: Path) -> str | None:
    """`csv`, `jsonl` or `parquet`; None for any other name."""
    return _SUFFIXES.get(path.suffix.lower())


def is_always_table(path: Path) -> bool:
    """Whether a file cannot hold requests of the Batch API."""
    return format_of(path) in ("csv", "parquet")


def open_table(path: Path, delimiter: str | None = None) -> Table:
    """The table in a file; its rows are read later, as a stream, and more than once.

    Args:
        delimiter: of a CSV; None looks at its first lines.
    Raises: TableFault, UserError.
    """
    found = format_of(path)
    if found is None:
        known = ", ".join(_SUFFIXES)
        raise UserError(f"{path} is no table by its name", hint=f"name it by what it is: {known}")
    if delimiter is not None and found != "csv":
        raise UserError(f"{path} has no delimiter", hint="leave out --delimiter")
    try:
        if path.is_dir():
            raise UserError(f"{path} is a directory", hint="name a file in it")
        if path.exists() and not path.is_file():
            # It is read again and again: to look, to send, to join.
            raise UserError(f"{path} is not a plain file", hint="write what it gives to a file first")
        if path.stat().st_size == 0:
            raise whole("empty_table", "the file is empty")
        if found == "parquet":
            return open_parquet(path)
        if found == "jsonl":
            return JsonlTable(path)
        return open_csv(path, delimiter or ("\t" if path.suffix.lower() in _TABS else None))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
