"""The verb `events`: a batch's log as lines with the reader's own time, or as JSON. events_group.py has its flags."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.progress import plain_interval_s, waiting_text
from app.cli.session import named_server
from app.client.event_calls import BatchEvent
from app.client.models import Waiting, batch_from
from workers.core.budget import BUDGET, TENANT_BUDGET
from workers.core.events import GAP, PROGRESS

Data = Mapping[str, Any]


def events(batch_id: str, *, follow: bool, since: int | None, as_json: bool) -> int:
    """Print the log so far; with `follow` what comes, until the batch has ended."""
    started_s, pace = time.monotonic(), Thinned()
    with named_server(load()) as client:
        for event in client.events(batch_id, since=since, follow=follow):
            is_progress = event.type == PROGRESS
            if as_json and (follow or not is_progress):
                report.print_json(event.raw)
            elif not as_json and not is_progress:
                print(line_of(event), flush=True)
            elif follow and pace.shows(event, time.monotonic() - started_s):
                for line in progress_lines(event):
                    print(line, flush=True)
    return 0


class Thinned:
    """Which progress is worth a line: a night's batch must not fill a terminal. Pure."""

    def __init__(self) -> None:
        self._said_s = float("-inf")
        self._reasons: Sequence[Any] = ()

    def shows(self, event: BatchEvent, elapsed_s: float) -> bool:
        """Whether to say this one, so long after the start; new reasons to wait are said at once."""
        reasons = [why.get("kind") for why in event.data.get("waiting_for") or ()]
        is_due = elapsed_s - self._said_s >= plain_interval_s(elapsed_s)
        if not is_due and reasons == self._reasons:
            return False
        self._said_s, self._reasons = elapsed_s, reasons
        return True


def line_of(event: BatchEvent) -> str:
    """An entry of the log in words."""
    say = _WORDS.get(event.type)
    said = say(event.data) if say is not None else _unknown(event)
    return words.clean(f"{words.moment(event.created_at)}  {said}")


def progress_lines(event: BatchEvent) -> list[str]:
    """How far the batch is, and what it waits for, if it does."""
    data, counts = event.data, event.data["request_counts"]
    said = [f"{words.count(data['recorded'])} of {words.count(counts['total'])} done"]
    if not counts["total"]:
        said = ["the input file is not checked yet"]
    if counts["failed"]:
        said.append(f"{words.count(counts['failed'])} failed")
    if data["per_second"]:
        said.append(f"{words.rate(data['per_second'])} items/s")
    if data["eta_s"] is not None:
        said.append(f"{words.duration(data['eta_s'])} left")
    waits = [
        waiting_text(Waiting(str(why.get("kind")), str(why.get("text"))), data["id"])
        for why in data["waiting_for"]
    ]
    start = words.moment(event.created_at)
    return [
        words.clean(f"{start}  {text}") for text in (", ".join(said), *(f"waiting: {why}" for why in waits))
    ]


def _unknown(event: BatchEvent) -> str:
    """What a later server says, as it says it."""
    data = {name: value for name, value in event.data.items() if name != "id"}
    return f"{event.type} {words.json_line(data)}" if data else event.type


def _ended(how: str) -> Callable[[Data], str]:
    def say(data: Data) -> str:
        batch = batch_from(data["batch"])
        said = [how, f"{words.count(batch.completed)} of {words.count(batch.total)} answered"]
        if batch.failed:
            said.append(f"{words.count(batch.failed)} failed")
        return ", ".join([*said, f"cost {words.money(batch.stats.cost_usd)}"])

    return say


def _refused(data: Data) -> str:
    problems = batch_from(data["batch"]).problems
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"refused: {problems[0].message}{more}" if problems else "refused"


def _paused(data: Data) -> str:
    return _RESTS.get(str(data.get("reason")), "paused")


_RESTS = {BUDGET: "rests at its money ceiling", TENANT_BUDGET: "rests at its tenant's monthly ceiling"}
_WORDS: dict[str, Callable[[Data], str]] = {
    "batch.created": lambda data: f"created for {data.get('endpoint')}; its input file is being checked",
    "batch.in_progress": lambda _: "input file checked, running",
    "batch.finalizing": lambda _: "every request has its result, closing the files",
    "batch.cancelling": lambda _: "being cancelled: what runs ends first",
    "batch.paused": _paused,
    "batch.resumed": lambda _: "goes on",
    "batch.completed": _ended("completed"),
    "batch.cancelled": _ended("cancelled"),
    "batch.expired": _ended("the completion window is over"),
    "batch.failed": _refused,
    "batch.budget_warning": lambda _: "80 % of its money ceiling is spent",
    "batch.budget_reached": lambda _: "its money ceiling is reached",
    GAP: lambda data: f"entries {data.get('from')} to {data.get('to')} are not kept any more",
}
