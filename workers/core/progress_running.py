"""What of a batch runs now, and how the batch stands as a whole, in one sentence. Pure.

Beside the reasons of progress.py: `/why` must also explain a batch of which nothing waits, and one that has ended.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from workers.core.progress_parts import unix
from workers.core.progress_texts import span
from workers.core.states import BatchStatus, ShardStatus, is_terminal


@dataclass(frozen=True, slots=True)
class Seat:
    """A living process: its name on the outside, and its calls under way by provider, of all batches."""

    name: str
    calls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """What one process has in hand of a batch for one provider.

    Attributes:
        requests: without a result.
        calls: under way at the provider, as of the process's last sign; at most `requests`, for what it calls there
            may be of other batches too.
        since: Unix seconds when the oldest of its shards was sent to it.
    """

    provider: str
    worker: str
    shards: int
    requests: int
    calls: int
    since: int | None

    def as_dict(self) -> dict[str, Any]:
        """The form a reply carries."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a batch stands in one sentence, and the command that helps most; None where nothing is to be done."""

    text: str
    command: str | None
    helps: str


def running_now(rows: Sequence[Mapping[str, Any]], seats: Mapping[str, Seat]) -> list[Running]:
    """What living processes hold, the oldest first. `rows` as Shards.by_state gives them; `seats` by owner."""
    held: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] == ShardStatus.LEASED and not row["stale"] and row["owner"] in seats:
            held.setdefault((row["provider"], row["owner"]), []).append(row)
    found = [_held(provider, seats[owner], theirs) for (provider, owner), theirs in held.items()]
    return sorted(found, key=lambda each: (each.since is None, each.since or 0, each.worker))


def outlook(
    batch: Mapping[str, Any],
    counts: Mapping[str, int],
    waiting: Sequence[Mapping[str, Any]],
    running: Sequence[Running],
    now: datetime,
) -> Outlook:
    """The batch as a whole.

    Args:
        counts: total, done and failed requests.
        waiting: the reasons as the reply carries them, the one that holds most first.
    """
    if is_terminal(batch["status"]):
        return _ended(batch, counts, now)
    runs = _runs(running, now)
    if not waiting:
        text = f"Nothing waits: {runs}." if runs else "Nothing waits: its parts are on their way to a worker."
        return Outlook(text, None, "Nothing to do.")
    held = sum(each["requests"] for each in waiting)
    rest = f"{_requests(held)} {'waits' if held == 1 else 'wait'}" if held else "it waits"
    text = f"{rest[0].upper()}{rest[1:]}; {runs or 'nothing of it runs now'}."
    first = next((each for each in waiting if each["command"]), waiting[0])
    return Outlook(text, first["command"], first["helps"])


def _held(provider: str, seat: Seat, rows: Sequence[Mapping[str, Any]]) -> Running:
    requests = sum(row["requests"] for row in rows)
    since = min((row["sent_at"] for row in rows if row.get("sent_at")), default=None)
    calls = min(requests, seat.calls.get(provider, 0))
    return Running(provider, seat.name, sum(row["shards"] for row in rows), requests, calls, unix(since))


def _runs(running: Sequence[Running], now: datetime) -> str:
    if not running:
        return ""
    requests, calls = (sum(getattr(each, name) for each in running) for name in ("requests", "calls"))
    workers = sorted({each.worker for each in running})
    who = workers[0] if len(workers) == 1 else f"{len(workers)} workers"
    verb = "has" if len(workers) == 1 else "have"
    oldest = running[0].since
    since = "" if oldest is None else f", the oldest part for {_ago(oldest, now)}"
    under_way = f"{calls:,} {'call' if calls == 1 else 'calls'} under way"
    return f"{who} {verb} {_requests(requests)} in hand, {under_way}{since}"


def _ended(batch: Mapping[str, Any], counts: Mapping[str, int], now: datetime) -> Outlook:
    status, id_ = str(batch["status"]), shlex.quote(str(batch["_id"]))
    at = batch.get(f"{status}_at")
    ago = "" if at is None else f" {_ago(at, now)} ago"
    total, failed = counts["total"], counts["failed"]
    if status == BatchStatus.FAILED:
        text = f"It was refused{ago}: its input file could not be taken."
        return Outlook(text, f"batchwright show {id_}", "Shows what is wrong with the file, line by line.")
    answered = counts["done"] - failed
    said = f"{answered:,} of {_requests(total)} {'is' if total == 1 else 'are'} answered"
    if status == BatchStatus.COMPLETED and not failed:
        return Outlook(
            f"It was completed{ago}: {said}.", f"batchwright download {id_}", "Brings the answers here."
        )
    if status == BatchStatus.COMPLETED:
        helps = f"Shows why, and what helps; `batchwright retry {id_}` tries them again."
        return Outlook(
            f"It was completed{ago}: {said}, {failed:,} failed.", f"batchwright errors {id_}", helps
        )
    helps = f"Makes a batch of what has no answer; `batchwright errors {id_}` says what that is."
    how = "It expired" if status == BatchStatus.EXPIRED else "It was cancelled"
    return Outlook(f"{how}{ago}: {said}.", f"batchwright retry {id_}", helps)


def _requests(number: int) -> str:
    return f"{number:,} {'request' if number == 1 else 'requests'}"


def _ago(unix_s: float, now: datetime) -> str:
    return span(datetime.fromtimestamp(unix_s, now.tzinfo), now)
