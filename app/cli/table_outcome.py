"""What came of a table: the parts' batches as one, for the progress, the summary and the line of `--json`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.cli import report, summary, words
from app.cli.errors import AT_CEILING, SOME_FAILED
from app.cli.failures import Failure
from app.cli.follow import Followed
from app.cli.progress import SIMULATED, Row, row_of, sum_of
from app.cli.summary import Outcome
from app.client.models import BatchInfo, Stats, batch_from
from app.tables.cutting import CheckedTable
from workers.core.budget import BUDGET

_MISSING_SHOWN = 5
_NO_PART = {"id": "", "status": "", "endpoint": "", "input_file_id": "", "created_at": 0}
_SUMMED = (
    "total",
    "recorded",
    "cached",
    "coalesced",
    "calls",
    "excess_calls",
    "repeats",
    "never_ran",
    "input_tokens",
    "output_tokens",
    "asked_again",
    "lost_usd",
    "handed_over",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOutcome:
    """A table at its end, or where it was left.

    Attributes:
        batch: the sum of its parts, in the shape of one.
        parts: the batches that were made, in the order of rows.
        of: how many parts there are to be.
        unanswered: rows that were written without a usable answer.
        missing: how many rows have nothing for a name of the prompt.
    """

    name: str
    batch: BatchInfo
    parts: tuple[BatchInfo, ...]
    of: int
    seconds: float
    done_before: int
    missing: Mapping[str, int]
    output_path: Path | None = None
    unanswered: int = 0
    failures: tuple[Failure, ...] = ()

    @property
    def is_ended(self) -> bool:
        """Whether no part will change any more."""
        return len(self.parts) == self.of and all(part.ended for part in self.parts)

    @property
    def exit_code(self) -> int:
        """As a batch's, and 1 for rows that were written without an answer."""
        if self.batch.at_ceiling:
            return AT_CEILING
        return max(self._outcome.exit_code, SOME_FAILED if self.unanswered else 0)

    def print(self, *, as_json: bool, more: Mapping[str, Any]) -> None:
        """On stdout; `more`: further keys of the line of JSON."""
        if as_json:
            report.print_json({**self.as_json(), **more})
            return
        state = f"{self.name}, {summary.status_words(self.batch)}"
        rows = [("table", f"{state}, {words.things(self.of, 'part')}"), *summary.fields(self._outcome)[1:]]
        report.print_fields(rows)
        report.print_remarks(self.remarks(), summary.places([self._outcome]))

    def as_json(self) -> dict[str, Any]:
        """The keys and their order are a promise to scripts."""
        ours = {
            "table": self.name,
            "parts": self.of,
            "batch_ids": [part.id for part in self.parts],
            "unanswered": self.unanswered,
            "missing": dict(self.missing),
        }
        theirs = summary.as_json(self._outcome)
        del theirs["batch_id"], theirs["error_path"]
        return ours | theirs

    def remarks(self) -> list[str]:
        """What must be said in words."""
        said = [SIMULATED] if self.batch.stats.simulated else []
        if 0 < self.batch.total <= self.done_before:
            said.append("all rows were asked by an earlier run: nothing was sent; --fresh starts anew")
        elif summary.all_from_cache([self._outcome]):
            said.append(summary.ALL_CACHED)
        for name, rows in list(self.missing.items())[:_MISSING_SHOWN]:
            said.append(f"{words.things(rows, 'row')} had nothing for {{{name}}}: an empty text was asked")
        if self.batch.at_ceiling:
            said.append(self._ceiling_words())
        elif not self.is_ended:
            said.append("the same command without --partial goes on")
        shown = self.failures[: summary.FAILURES_SHOWN]
        said += [f"{words.things(each.count, 'row')} without an answer: {each.text}" for each in shown]
        more = sum(each.count for each in self.failures[summary.FAILURES_SHOWN :])
        if more:
            said.append(f"{words.things(more, 'row')} without an answer for other reasons")
        if self.unanswered and self.is_ended:
            said.append("--fresh asks those again; answers that are cached cost nothing")
        return said

    def _ceiling_words(self) -> str:
        rests = f"{self.name} rests at its ceiling of {words.money(self.batch.stats.max_cost_usd)}"
        goes_on = "the same command with a higher --max-cost-usd goes on"
        if self.batch.at_tenants_ceiling:
            rests = f"{self.name} rests at its tenant's ceiling for the month"
            goes_on = "the same command goes on once that is higher, or the month has turned"
        return f"{rests}: {goes_on}, and with --partial it writes what there is"

    @property
    def _outcome(self) -> Outcome:
        return Outcome(self.name, self.batch, self.seconds, self.done_before, self.output_path)


def merged(
    checked: CheckedTable, watched: Sequence[Followed], ceiling_usd: float | None, *, out_of_money: bool
) -> TableOutcome:
    """The parts as one. `out_of_money`: one was not started, since the ceiling has nothing left for it."""
    parts = tuple(each.batch for each in watched)
    stats = _sum_of_stats([part.stats for part in parts])
    resting = [part.stats.pause_reason for part in parts if part.at_ceiling]
    if resting or out_of_money:
        stats = replace(stats, paused=True, pause_reason=resting[0] if resting else BUDGET)
    if ceiling_usd is None:  # then it is that of the part which rests
        ceiling_usd = next((part.stats.max_cost_usd for part in parts if part.at_ceiling), None)
    stats = replace(stats, max_cost_usd=ceiling_usd)
    started_s = min((each.started_s for each in watched), default=0.0)
    ends_s = [each.started_s + (each.seconds or 0.0) for each in watched]
    sums: dict[str, Any] = {
        "status": _status([part.status for part in parts], len(checked.parts)),
        "total": checked.rows,
        "completed": sum(part.completed for part in parts),
        "failed": sum(part.failed for part in parts),
        "model": checked.asking.model,
        "stats": stats,
    }
    return TableOutcome(
        name=checked.table.path.name,
        batch=replace(parts[0] if parts else batch_from(_NO_PART), **sums),
        parts=parts,
        of=len(checked.parts),
        seconds=max(ends_s, default=started_s) - started_s,
        done_before=sum(each.done_before for each in watched),
        missing=checked.missing,
    )


def row_of_table(name: str, total: int, batches: Sequence[BatchInfo]) -> Row:
    """What the progress shows of a table: its parts as one, and those not sent yet as waiting."""
    row = sum_of([row_of(name, batch) for batch in batches])
    is_checked = any(batch.total for batch in batches)
    status = row.status if row.status != "validating" or not is_checked else "in_progress"
    if status == "completed" and sum(batch.total for batch in batches) < total:
        status = "in_progress"
    return replace(row, name=name, total=total, status=status)


def _status(states: Sequence[str], of: int) -> str:
    """The worst of the parts; completed when all are."""
    for state in ("failed", "expired", "cancelled"):
        if state in states:
            return state
    return "completed" if len(states) == of and set(states) == {"completed"} else "in_progress"


def _sum_of_stats(parts: Sequence[Stats]) -> Stats:
    by_provider: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, share in part.by_provider.items():
            sums = by_provider.setdefault(name, {})
            for key, value in share.items():
                sums[key] = _plus(sums.get(key, 0), value)
    return Stats(
        **{name: sum(getattr(part, name) for part in parts) for name in _SUMMED},
        cost_usd=_sum(part.cost_usd for part in parts),
        saved_usd=_sum(part.saved_usd for part in parts),
        simulated=any(part.simulated for part in parts),
        by_provider=by_provider,
    )


def _sum(parts: Iterable[float | None]) -> float | None:
    """Of money; unknown as soon as one part is."""
    found: float | None = 0.0
    for part in parts:
        found = _plus(found, part)
    return None if found is None else round(found, 9)


def _plus(first: Any, second: Any) -> Any:
    """A sum of which a part may be unknown."""
    return None if first is None or second is None else first + second
