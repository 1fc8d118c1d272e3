"""A table's rows beside their answers, both as streams in the order of rows. Bounded memory, whatever the size."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from app.client.jsonl import Result, result_from
from app.tables.answers import Answers
from app.tables.asking import row_of
from app.tables.cutting import CheckedTable, changed
from app.tables.rows import CellProblem, Writer

_KINDS = 200
Detail = Mapping[str, Any]


@dataclass(slots=True)
class Joined:
    """What was written: rows, those without a usable answer, and why, by the words in their error column."""

    rows: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def results_of(output: Iterable[bytes], errors: Iterable[bytes]) -> Iterator[tuple[int, Result]]:
    """Row and result of a part, in the order of rows, from the lines of its two files, each in that order."""
    yield from heapq.merge(_numbered(output), _numbered(errors), key=lambda each: each[0])


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, Result]]:
    for line in lines:
        result = result_from(line)
        yield row_of(result.custom_id), result


def join(
    checked: CheckedTable,
    answers: Answers,
    results: Iterator[tuple[int, Result]],
    details: Iterator[tuple[int, Detail]],
    file: BinaryIO,
) -> Joined:
    """Write every row of the table with its answer; a row without a result has an error that says so.

    Args:
        results: in the order of rows; rows may be left out.
        details: the same of what the API tells of each item; empty where nobody asks for it.
    Raises: TableFault when the table is not any more what it was when it was checked.
    """
    writer = checked.table.writer(file, answers.columns)
    try:
        done = _written(checked, answers, (_Beside(results), _Beside(details)), writer)
        if done.rows != checked.rows:
            raise changed()
    except BaseException:
        writer.abandon()
        raise
    writer.close()
    return done


def _written(
    checked: CheckedTable, answers: Answers, beside: tuple[_Beside, _Beside], writer: Writer
) -> Joined:
    result_at, detail_at = beside
    done = Joined()
    for row in checked.table.rows(()):
        if isinstance(row, CellProblem) or done.rows >= checked.rows:
            raise changed()
        values = answers.values(result_at(row.number), detail_at(row.number))
        writer.write(row, values)
        done.rows += 1
        error = answers.error_in(values)
        if error is not None:
            done.failed += 1
            done.errors[error if error in done.errors or len(done.errors) < _KINDS else "other reasons"] += 1
    return done


class _Beside:
    """Asked for rising row numbers, gives what a stream has for each, if anything."""

    def __init__(self, stream: Iterator[tuple[int, Any]]) -> None:
        self._stream = stream
        self._next = next(stream, None)

    def __call__(self, number: int) -> Any:
        while self._next is not None and self._next[0] < number:
            self._next = next(self._stream, None)
        if self._next is None or self._next[0] != number:
            return None
        found = self._next[1]
        self._next = next(self._stream, None)
        return found
