"""The parts of a table as batches: which exist already, and which is sent when."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.cli import sending, words
from app.cli.follow import Followed
from app.tables.cutting import CheckedTable, Part, PartWriter
from workers.core.budget import TOLERANCE_USD
from workers.core.identity import content_key

if TYPE_CHECKING:
    from app.cli.live import Display
    from app.client.blocking import Client
    from app.client.calls import BatchRequest
    from app.client.models import BatchInfo

MOST_OPEN = 4
_EARLIER = 100


def run_key_of(part: Part, marks: Mapping[str, Any]) -> str:
    """By what a part is found again: its requests (which say what is asked, of whom, and of which rows) and marks."""
    return content_key(part.digest, {**marks, "part": part.number, "rows": part.rows})


def part_batches(client: Client, checked: CheckedTable, marks: Mapping[str, Any]) -> list[BatchInfo]:
    """The newest batch of each part that has one."""
    found = (sending.earlier(client, run_key_of(part, marks)) for part in checked.parts)
    return [batch for batch in found if batch is not None and batch.status != "failed"]


def paid_usd(batch: BatchInfo) -> float:
    """What a batch has cost, with what may have been lost."""
    return (batch.stats.cost_usd or 0.0) + batch.stats.lost_usd


@dataclass(slots=True)
class Parts:
    """Starts the parts of one table, in their order.

    Attributes:
        request: as every part is asked.
        ceiling_usd: what all parts together may cost.
        fresh: parts of earlier runs are ended, not gone on with.
        out_of_money: the next part was not started, since nothing is left for it.
    """

    checked: CheckedTable
    client: Client
    display: Display
    request: BatchRequest
    marks: Mapping[str, Any]
    ceiling_usd: float | None = None
    fresh: bool = False
    out_of_money: bool = False
    _at: int = 0
    _later: dict[int, BatchInfo] | None = None
    _writer: PartWriter = field(init=False)

    def __post_init__(self) -> None:
        self._writer = PartWriter(self.checked)

    def next(self, watched: Sequence[Followed]) -> Followed | None:
        """Start or find the next part, if it is time for it. May be asked again after the server was away."""
        if self._at == len(self.checked.parts) or not self._is_time(watched):
            return None
        part = self.checked.parts[self._at]
        left_usd = self._left_usd(watched, part)
        if left_usd is not None and left_usd <= TOLERANCE_USD:
            self.out_of_money = True
            return None
        each = self._found(part, left_usd) or self._sent(part, left_usd)
        self._at += 1
        return each

    def _is_time(self, watched: Sequence[Followed]) -> bool:
        if self.out_of_money or any(
            each.batch.status == "failed" or (each.seconds is not None and not each.batch.ended)
            for each in watched
        ):
            return False  # refused, or at its ceiling
        running = sum(each.seconds is None for each in watched)
        return running < (MOST_OPEN if self.ceiling_usd is None else 1)

    def _left_usd(self, watched: Sequence[Followed], part: Part) -> float | None:
        """What a part may cost: the ceiling without what all others have cost, those of earlier runs included."""
        if self.ceiling_usd is None:
            return None
        if self._later is None:
            self._later = {} if self.fresh else self._halted()
        others = [each.batch for each in watched]
        others += [batch for number, batch in self._later.items() if number > part.number]
        return self.ceiling_usd - sum(map(paid_usd, others))

    def _halted(self) -> dict[int, BatchInfo]:
        """Parts that an earlier run has sent; they rest until it is their turn under the ceiling."""
        found: dict[int, BatchInfo] = {}
        for part in self.checked.parts[1:]:
            batch = sending.earlier(self.client, run_key_of(part, self.marks))
            if batch is not None and batch.status == "in_progress" and not batch.stats.paused:
                batch = self.client.pause(batch.id)
            if batch is not None:
                found[part.number] = batch
        return found

    def _found(self, part: Part, left_usd: float | None) -> Followed | None:
        """The batch of an earlier run, on its way again; None where there is none that will be whole."""
        run_key = run_key_of(part, self.marks)
        if self.fresh:
            self._end_earlier(run_key)
            return None
        batch = sending.earlier(self.client, run_key)
        if batch is None:
            return None
        if sending.is_resumable(batch):
            batch = sending.resumed(self.client, batch, left_usd)
            of_total = f"{words.count(batch.done)} of {words.count(part.rows)} rows done"
            self.display.note(f"resuming {self._name(part)}, {batch.id}: {of_total}")
        elif not sending.is_whole(self.client, batch):
            return None
        return Followed(self._name(part), batch, time.monotonic(), done_before=batch.done)

    def _end_earlier(self, run_key: str) -> None:
        for batch in self.client.list(run_key=run_key, limit=_EARLIER).batches:
            if sending.is_resumable(batch) and batch.status != "finalizing":
                self.client.cancel(batch.id)

    def _sent(self, part: Part, left_usd: float | None) -> Followed:
        self.display.note(f"sending {self._name(part)} ({words.size(part.bytes)})")
        started_s = time.monotonic()
        path = self.checked.table.path
        number = f"{part.number}/{len(self.checked.parts)}"
        request = replace(
            self.request,
            max_cost_usd=left_usd,
            run_key=run_key_of(part, self.marks),
            metadata={**(self.request.metadata or {}), "part": number},
        )
        # One part is on the disk at a time, none in memory.
        with tempfile.TemporaryFile() as file:
            self._writer.write(part, file)
            file.seek(0)
            filename = f"{path.stem}.part{part.number}.jsonl"
            batch = sending.send(self.client, file, request, filename=filename)
        return Followed(self._name(part), batch, started_s)

    def _name(self, part: Part) -> str:
        if len(self.checked.parts) == 1:
            return self.checked.table.path.name
        return f"{self.checked.table.path.name} part {part.number}/{len(self.checked.parts)}"
