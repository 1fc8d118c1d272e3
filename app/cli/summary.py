"""What came of a run: the line of `--json`, and the table for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli import words
from app.cli.errors import AT_CEILING
from app.cli.failures import Failure
from app.cli.progress import SIMULATED
from app.client.models import BatchInfo, Stats

ALL_CACHED = "answered from the cache: 0 calls"
FAILURES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """One batch at its end (or where it was left), and where its files lie.

    Attributes:
        seconds: from its creation, or from where we came in, to its end.
        done_before: items that were done when we came in.
        failures: kinds of failure, the most frequent first.
        kept: what is to be said of older files that a person has named, where there are none now.
    """

    name: str
    batch: BatchInfo
    seconds: float
    done_before: int = 0
    output_path: Path | None = None
    error_path: Path | None = None
    failures: tuple[Failure, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def items_per_second(self) -> float:
        """Items that got their result while we watched, a second."""
        return (self.batch.done - self.done_before) / self.seconds if self.seconds > 0 else 0.0

    @property
    def exit_code(self) -> int:
        """0 every item answered, 1 not every one, 2 the file was refused, 4 it rests at its money ceiling."""
        if self.batch.at_ceiling:
            return AT_CEILING
        if self.batch.status == "failed":
            return 2
        return 0 if self.batch.status == "completed" and not self.batch.failed else 1


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The keys and their order are a promise to scripts."""
    batch, stats = outcome.batch, outcome.batch.stats
    return {
        "batch_id": batch.id,
        "status": batch.status,
        "total": batch.total,
        "completed": batch.completed,
        "failed": batch.failed,
        "cached": stats.cached,
        "coalesced": stats.coalesced,
        "calls": stats.calls,
        "excess_calls": stats.excess_calls,
        "input_tokens": stats.input_tokens,
        "output_tokens": stats.output_tokens,
        "cost_usd": stats.cost_usd,
        "seconds": round(outcome.seconds, 3),
        "items_per_second": round(outcome.items_per_second, 1),
        "output_path": str(outcome.output_path) if outcome.output_path else None,
        "error_path": str(outcome.error_path) if outcome.error_path else None,
        "max_cost_usd": stats.max_cost_usd,
        "pause_reason": stats.pause_reason,
        "asked_again": stats.asked_again,
        "by_provider": stats.by_provider,
        "handed_over": stats.handed_over,
        "saved_usd": stats.saved_usd,
    }


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """The worst of all: a refused file counts more than failed items."""
    return max((outcome.exit_code for outcome in outcomes), default=0)


def fields(outcome: Outcome) -> list[tuple[str, str]]:
    """The table of one batch, as name and value."""
    batch, stats = outcome.batch, outcome.batch.stats
    excess = f" ({words.count(stats.excess_calls)} perhaps repeated)" if stats.excess_calls else ""
    again = f", {words.count(stats.asked_again)} to mend an answer" if stats.asked_again else ""
    rows = [
        ("batch", f"{batch.id}, {status_words(batch)}"),
        ("answered", f"{words.count(batch.completed)} of {words.things(batch.total, 'item')}"),
        ("failed", words.count(batch.failed)),
        ("never ran", words.count(stats.never_ran)),
        ("from the cache", f"{words.count(stats.cached)}, coalesced {words.count(stats.coalesced)}"),
        ("calls", f"{words.count(stats.calls)}{excess}{again}"),
        ("tokens", f"{words.count(stats.input_tokens)} in, {words.count(stats.output_tokens)} out"),
        ("cost", words.money(stats.cost_usd) + _ceiling(stats)),
        ("saved", f"{words.money(stats.saved_usd)}, by answers that were not called for"),
        *_shares(stats),
        ("handed over", f"{words.things(stats.handed_over, 'item')} to another provider"),
        ("time", f"{words.duration(outcome.seconds)}, {words.rate(outcome.items_per_second)} items/s"),
    ]
    unknown = not batch.total  # until the file is checked, and if it is refused
    nothing = {"never ran": not stats.never_ran, "handed over": not stats.handed_over}
    # Where nothing was waited for, a time would be that of looking.
    looked = not outcome.seconds or 0 < batch.total <= outcome.done_before
    nothing |= {"saved": stats.saved_usd == 0, "time": looked}
    nothing |= dict.fromkeys(("answered", "failed", "from the cache", "calls", "tokens"), unknown)
    return [row for row in rows if not nothing.get(row[0])]


def _ceiling(stats: Stats) -> str:
    if stats.max_cost_usd is None:
        return ""
    lost = f", and {words.money(stats.lost_usd)} perhaps lost with a worker" if stats.lost_usd else ""
    return f" of at most {words.money(stats.max_cost_usd)}{lost}"


def _shares(stats: Stats) -> list[tuple[str, str]]:
    """A line a provider, where there are several."""
    if len(stats.by_provider) < 2:
        return []
    return [
        (
            f"  {name}",
            ", ".join(
                (
                    words.things(int(share.get("recorded") or 0), "item"),
                    f"{words.count(int(share.get('input_tokens') or 0))} tokens in",
                    f"{words.count(int(share.get('output_tokens') or 0))} out",
                    words.money(share.get("cost_usd")),
                )
            ),
        )
        for name, share in stats.by_provider.items()
    ]


COLUMNS = ("file", "answered", "failed", "cached", "coalesced", "calls", "tokens", "cost", "time")


def columns(outcome: Outcome) -> tuple[str, ...]:
    """One line of the table of several batches, below COLUMNS."""
    batch, stats = outcome.batch, outcome.batch.stats
    ended = "" if batch.status == "completed" else f" ({status_words(batch)})"
    return (
        f"{outcome.name}{ended}",
        f"{words.count(batch.completed)}/{words.count(batch.total)}",
        words.count(batch.failed),
        words.count(stats.cached),
        words.count(stats.coalesced),
        words.count(stats.calls),
        words.short(stats.input_tokens + stats.output_tokens),
        words.money(stats.cost_usd),
        words.duration(outcome.seconds),
    )


def total_columns(outcomes: Sequence[Outcome], seconds: float) -> tuple[str, ...]:
    """The last line of that table."""
    batches = [outcome.batch for outcome in outcomes]
    stats = [batch.stats for batch in batches]
    costs = [each.cost_usd for each in stats if each.cost_usd is not None]
    return (
        "all",
        f"{words.count(sum(b.completed for b in batches))}/{words.count(sum(b.total for b in batches))}",
        words.count(sum(b.failed for b in batches)),
        words.count(sum(s.cached for s in stats)),
        words.count(sum(s.coalesced for s in stats)),
        words.count(sum(s.calls for s in stats)),
        words.short(sum(s.input_tokens + s.output_tokens for s in stats)),
        words.money(sum(costs) if len(costs) == len(stats) else None),
        words.duration(seconds),
    )


def remarks(outcomes: Sequence[Outcome]) -> list[str]:
    """What must be said in words: who answered, what was saved, what went wrong first."""
    said = []
    if any(outcome.batch.stats.simulated for outcome in outcomes):
        said.append(SIMULATED)
    if all_from_cache(outcomes):
        said.append(ALL_CACHED)
    said += [ceiling_words(outcome) for outcome in outcomes if outcome.batch.at_ceiling]
    for outcome in outcomes:
        of_file = f" in {outcome.name}" if len(outcomes) > 1 else ""
        said += [
            f"{words.things(failure.count, 'item')} failed{of_file}: {failure.text}"
            for failure in outcome.failures[:FAILURES_SHOWN]
        ]
        more = sum(failure.count for failure in outcome.failures[FAILURES_SHOWN:])
        if more:
            said.append(f"{words.things(more, 'item')} failed{of_file} for other reasons")
        said += outcome.kept
    return said


def ceiling_words(outcome: Outcome) -> str:
    """That a batch rests, what it has cost, and how it goes on."""
    batch = outcome.batch
    done = f"{words.count(batch.done)} of {words.things(batch.total, 'item')} done"
    if batch.at_tenants_ceiling:
        return (
            f"{outcome.name} rests at its tenant's ceiling for the month: {done}; it goes on when the month turns "
            "(UTC), or when an operator raises max_cost_usd_per_month"
        )
    resume = f"`batchwright resume {batch.id} --max-cost-usd N`"
    ways = f"{resume} goes on"
    if outcome.name != batch.id:  # it came from a file of this command
        ways = f"the same command with a higher --max-cost-usd goes on, and so does {resume}"
    return f"{outcome.name} rests at its ceiling of {words.money(batch.stats.max_cost_usd)}: {done}; {ways}"


def all_from_cache(outcomes: Sequence[Outcome]) -> bool:
    """Whether nobody was called and every answer was known."""
    batches = [outcome.batch for outcome in outcomes]
    total = sum(batch.total for batch in batches)
    return total > 0 and all(
        batch.stats.calls == 0 and batch.stats.cached == batch.total == batch.completed for batch in batches
    )


def places(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Where the files lie."""
    found = []
    for outcome in outcomes:
        if outcome.output_path:
            found.append(("answers", str(outcome.output_path)))
        if outcome.error_path:
            found.append(("errors", str(outcome.error_path)))
    return found


def status_words(batch: BatchInfo) -> str:
    """A batch's state in words."""
    if batch.at_ceiling:
        return "paused at its tenant's ceiling" if batch.at_tenants_ceiling else "paused at its ceiling"
    return batch.status.replace("_", " ")


def batch_line(batch: BatchInfo) -> Mapping[str, Any]:
    """A batch as `--json` of the other verbs shows it: the API's own object."""
    return batch.raw
