"""A batch and its retries as one: which items a retry takes, and which result of a line counts. Pure.

A retry is a child batch on its root's file and line numbers. The root and its children, by generation, are a lineage:
generation n + 1 is made only when n has ended, so a line has at most one result in each, and never a second success.
store/lineages.py brings the recorded rows, planning.py and the API ask here.

    line 7:  root failed (429)   1 failed (timeout)   2 completed   ->  the success of 2 counts, no retry takes it
    line 8:  root failed (400)   -                    -             ->  the failure of the root counts
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from workers.core.messages import NEVER_RAN_CODES
from workers.core.states import is_terminal

# A retry reads what all before it have recorded; whoever has needed this many needs another input.
MAX_GENERATIONS = 50
# The same custom_id as an earlier line: that one is in the lineage, and both together would be two of one name.
_NEVER_TAKEN = frozenset({"duplicate_custom_id"})


class Row(NamedTuple):
    """One recorded result, as much of it as decides. `id` names it, `size` is its output line's length in bytes."""

    line: int
    ok: bool
    code: str
    status: int | None
    custom_id: str
    id: str
    size: int


def code_of(error_code: str | None, status: int | None) -> str:
    """What a failure is counted and chosen by: our own error's code, or `http_` and the provider's status."""
    return error_code or f"http_{status}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the failed items a retry takes; empty: all of them.

    What is given of `codes`, `status_codes` and `never_ran` are alternatives, and so are `custom_ids` and `lines`; an
    item must meet one of each sort that is given.

    Attributes:
        codes: as `code_of` says them.
        never_ran: True takes those that a cancel or the window's end closed, False leaves them out.
        lines: from and to, both of them among it; kept in order and apart, so that a line is found in a few steps.
    """

    codes: frozenset[str] = frozenset()
    status_codes: frozenset[int] = frozenset()
    never_ran: bool | None = None
    custom_ids: frozenset[str] = frozenset()
    lines: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", _apart(self.lines))

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any] | None) -> Wanted:
        """From what a retry's `filter` says; whatever is not there does not count."""
        said = doc or {}
        return cls(
            frozenset(said.get("codes") or ()),
            frozenset(said.get("status_codes") or ()),
            said.get("never_ran"),
            frozenset(said.get("custom_ids") or ()),
            tuple((first, last) for first, last in said.get("lines") or ()),
        )

    def takes(self, row: Row) -> bool:
        """Whether the item of this failure is to be tried again."""
        if row.code in _NEVER_TAKEN:
            return False
        return self._for_its_reason(row) and self._for_its_place(row)

    def _for_its_reason(self, row: Row) -> bool:
        never_ran = row.code in NEVER_RAN_CODES
        if never_ran and self.never_ran is not None:
            return self.never_ran
        if not (self.codes or self.status_codes or self.never_ran):
            return True
        return row.code in self.codes or row.status in self.status_codes

    def _for_its_place(self, row: Row) -> bool:
        if not (self.custom_ids or self.lines):
            return True
        return row.custom_id in self.custom_ids or self._has_line(row.line)

    def _has_line(self, line: int) -> bool:
        place = bisect_right(self.lines, line, key=itemgetter(0))
        return place > 0 and line <= self.lines[place - 1][1]


def _apart(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same lines as ranges in order that do not overlap. One that ends before it begins stays: it has none."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def settled(generations: Sequence[Iterable[Row]]) -> Iterator[Row]:
    """The one row of each line that counts, by line: its first success, else its latest failure.

    Args:
        generations: the rows of each batch of the lineage by line, the root's first. A few of each are in memory.
    """
    by_line = merge(*generations, key=_line)
    for _, rows in groupby(by_line, key=_line):
        latest = None
        for row in rows:
            # Rows of one line come by generation: `merge` is stable.
            latest = latest if latest is not None and latest.ok else row
        if latest is not None:
            yield latest


def _line(row: Row) -> int:
    return row.line


def lines_to_retry(generations: Sequence[Iterable[Row]], wanted: Wanted) -> Iterator[int]:
    """The lines without a success that a retry takes, in order."""
    return (row.line for row in settled(generations) if not row.ok and wanted.takes(row))


class InOrder:
    """Whether lines are among those of an ordered stream, which is never held as a whole."""

    def __init__(self, lines: Iterable[int]) -> None:
        self._lines = iter(lines)
        self._next = next(self._lines, None)

    def has(self, line: int) -> bool:
        """Whether this line is among them; asked by line, in order, since what has been passed is forgotten."""
        while self._next is not None and self._next < line:
            self._next = next(self._lines, None)
        return self._next == line


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a lineage gets no further child now."""

    code: str
    message: str


def refusal_of_retry(root_id: str, lineage: Sequence[Mapping[str, Any]]) -> Refusal | None:
    """What forbids another generation; None if the next one may be made from what is left.

    Args:
        lineage: the batch documents that are still kept, by generation.
    """
    root, last = lineage[0], lineage[-1]
    if root["_id"] != root_id:
        text = f"{root_id}, the first batch of this line, is over its retention: its results are gone."
        return Refusal("lineage_incomplete", text)
    if not is_terminal(last["status"]):
        if last["_id"] == root_id:
            text = f"Only a batch that has ended can be retried; this one is {last['status']}."
            return Refusal("batch_not_finished", text)
        text = f"{last['_id']}, a retry of this batch, is {last['status']}; there is one at a time."
        return Refusal("retry_in_progress", text)
    if root.get("in_progress_at") is None:
        text = f"No item of this batch was ever accepted ({root['status']}); create it anew from its file."
        return Refusal("nothing_to_retry", text)
    if generation_of(last) >= MAX_GENERATIONS:
        return Refusal("too_many_retries", f"This batch has been retried {MAX_GENERATIONS} times.")
    done = sum((doc.get("counts") or {}).get("completed", 0) for doc in lineage)
    return NOTHING_LEFT if done >= root["total"] else None


NOTHING_LEFT = Refusal(
    "nothing_to_retry", "Nothing is left to retry: no item without a success, or none that fits the filter."
)


def generation_of(batch: Mapping[str, Any]) -> int:
    """0 for a root, and from 1 on for its children."""
    return int(batch.get("generation", 0))


def root_of(batch: Mapping[str, Any]) -> str:
    """The first batch of the line that this one belongs to."""
    return str(batch.get("root_id") or batch["_id"])
