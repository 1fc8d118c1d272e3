"""How far the batches are, as numbers, and how that reads. Pure: times are arguments.

follow.py makes a `View` from every look at the server; live.py puts it on the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.cli import words
from app.client.models import BatchInfo, Waiting

SIMULATED = "answers come from the simulator"


@dataclass(frozen=True, slots=True)
class Row:
    """One batch at one moment."""

    name: str
    status: str
    total: int = 0
    done: int = 0
    failed: int = 0
    cached: int = 0
    coalesced: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0
    simulated: bool = False
    paused: bool = False

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return self.done / self.total if self.total else float(self.status == "completed")


@dataclass(frozen=True, slots=True)
class View:
    """Everything the progress shows.

    Attributes:
        per_second: items over the last seconds.
        waiting: why nothing moves, in words; empty while something does.
    """

    rows: tuple[Row, ...]
    elapsed_s: float = 0.0
    per_second: float = 0.0
    waiting: tuple[str, ...] = field(default=())

    @property
    def total(self) -> Row:
        """All batches as one."""
        return sum_of(self.rows)

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at this rate; None when nothing can be said."""
        rest = self.total.total - self.total.done
        if any(row.status == "validating" for row in self.rows) or self.per_second <= 0:
            return None
        return rest / self.per_second


def row_of(name: str, batch: BatchInfo) -> Row:
    """What the progress shows of a batch."""
    stats = batch.stats
    return Row(
        name=name,
        status=stats.ending if stats.ending in ("cancelled", "expired") else batch.status,
        total=batch.total,
        done=min(batch.total, batch.done),
        failed=batch.failed,
        cached=stats.cached,
        coalesced=stats.coalesced,
        tokens=stats.input_tokens + stats.output_tokens,
        cost_usd=stats.cost_usd,
        simulated=stats.simulated,
        paused=stats.paused,
    )


def sum_of(rows: Sequence[Row]) -> Row:
    """All batches as one row; the cost is unknown as soon as one of them is."""
    costs = [row.cost_usd for row in rows]
    known = [cost for cost in costs if cost is not None]
    unfinished = [row.status for row in rows if row.status != "completed"]
    return Row(
        name=words.things(len(rows), "file"),
        status=unfinished[0] if unfinished else "completed",
        total=sum(row.total for row in rows),
        done=sum(row.done for row in rows),
        failed=sum(row.failed for row in rows),
        cached=sum(row.cached for row in rows),
        coalesced=sum(row.coalesced for row in rows),
        tokens=sum(row.tokens for row in rows),
        cost_usd=sum(known) if len(known) == len(costs) else None,
        simulated=any(row.simulated for row in rows),
        paused=bool(rows) and all(row.paused for row in rows),
    )


def waiting_text(waiting: Waiting, batch_id: str) -> str:
    """A reason in the words of the command line: the API's own name calls of its own."""
    if waiting.kind == "paused":
        return f"the batch is paused; `batchwright resume {batch_id}` lets it go on"
    return words.one_line(waiting.text)


def facts(row: Row) -> list[str]:
    """What else there is to say of a row, the least interesting last."""
    said = [f"{words.count(row.failed)} failed"] if row.failed else []
    said += [f"{words.count(row.cached)} cached", f"{words.count(row.coalesced)} coalesced"]
    said += [f"{words.short(row.tokens)} tokens", f"cost {words.money(row.cost_usd)}"]
    return said


def state_word(row: Row) -> str:
    """The state as the progress says it."""
    if row.paused and row.status == "in_progress":
        return "paused"
    return {"validating": "checking the file", "in_progress": "running"}.get(row.status, row.status)


def tail(view: View) -> list[str]:
    """Speed and the time left."""
    done = all(row.status not in ("validating", "in_progress", "finalizing") for row in view.rows)
    if done:
        return [words.duration(view.elapsed_s)]
    if view.total.paused:
        return []  # the pace of the last seconds promises nothing
    said = [f"{words.rate(view.per_second)} items/s"]
    if view.left_s is not None and not view.waiting:
        said.append(f"{words.duration(view.left_s)} left")
    return said


def plain_line(view: View) -> str:
    """The whole progress as one line, for logs and pipes."""
    row = view.total
    if all(each.status == "validating" for each in view.rows):
        return state_word(row)
    if all(each.status == "failed" for each in view.rows):
        return "refused by the server"
    parts = [f"{words.count(row.done)} of {words.count(row.total)} done", *facts(row), *tail(view)]
    if row.status != "in_progress" or row.paused:
        parts.insert(0, state_word(row))
    if len(view.rows) > 1:
        ended = sum(each.status not in ("validating", "in_progress", "finalizing") for each in view.rows)
        parts.append(f"{ended} of {len(view.rows)} files")
    return ", ".join(parts)


def plain_interval_s(elapsed_s: float) -> float:
    """Time between two plain lines: each second at first; a night's run must not fill a disk."""
    return 1.0 if elapsed_s < 60 else 5.0 if elapsed_s < 600 else 30.0
