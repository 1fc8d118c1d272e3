"""`--sample N`: ask a few random items first, and say what all of them would cost.

Which ones is drawn from the content, so a repeat asks the same; their answers are cached, so going on does not pay
for them again. The arithmetic is pure (`drawn`, `cost_of_all`, `seconds_of_all`), the rest asks the server.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.cli import report, sending, words
from app.cli.errors import AT_CEILING, OK, SOME_FAILED, CliError
from app.cli.follow import Followed, Follower
from app.cli.summary import Outcome, ceiling_words
from app.client.jsonl import result_from
from workers.core.identity import content_key

if TYPE_CHECKING:
    from app.cli.live import Display
    from app.cli.session import Session, Wish
    from app.client.calls import BatchRequest
    from app.client.models import BatchInfo
    from config.settings import Settings
    from workers.core.choose import Chosen

_SHOWN = 3
_NARROWEST, _WIDEST = 40, 120
_STANDARD_ERRORS = 2.0
_HOW = (
    "cost of all: the sample's mean, two standard errors to either side; equal and cached requests make it less; "
    "time of all: from every call slot in use, or the rate limit, to the sample's own pace"
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A guess and where the truth probably lies; None where too little is known to say."""

    guess: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """What bounds a run: calls at once, and calls a minute where its providers' limits are known."""

    slots: int
    per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a sample is taken from.

    Attributes:
        digest: of the content, which decides the choice.
        marks: what else makes a run the same work.
        lines: the requests of the items with these numbers, in their order; items count from 1.
        request: as the whole is asked, its file left out.
    """

    name: str
    total: int
    digest: str
    marks: Mapping[str, Any]
    lines: Callable[[frozenset[int]], Iterator[bytes]]
    request: BatchRequest
    speed: Speed


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of a sample, and what it says of the whole; `answers`: the first few, by custom_id."""

    draw: Draw
    batch: BatchInfo
    answers: tuple[tuple[str, str], ...]
    cost: Spread | None
    seconds: tuple[float, float]

    @property
    def paid_usd(self) -> float:
        """What it has cost, with what may have been lost; an unknown price counts nothing."""
        return (self.batch.stats.cost_usd or 0.0) + self.batch.stats.lost_usd


def speed_of(settings: Settings, wish: Wish, chosen: Iterable[Chosen]) -> Speed:
    """What bounds a run by the settings here; a server that is named may have others."""
    limits = {each.name: each.limits for each in settings.providers}
    used = [limits.get(name) for name in {each.provider for each in chosen}]
    rates = [each.requests_per_minute for each in used if each and each.requests_per_minute]
    places = [each.concurrency for each in used if each and each.concurrency]
    slots = wish.workers * settings.worker.max_call_slots
    return Speed(
        min(slots, sum(places)) if places and len(places) == len(used) else slots,
        sum(rates) if rates and len(rates) == len(used) else None,
    )


def drawn(total: int, number: int, seed: str) -> frozenset[int]:
    """`number` items out of those from 1 to `total` (all, if there are not so many), the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311  a choice that can be repeated, no secret
    return frozenset(chance.sample(range(1, total + 1), min(number, total)))


def cost_of_all(costs_usd: Sequence[float | None], total: int) -> Spread | None:
    """The cost of `total` items by that of some: their mean, two standard errors to either side.

    The standard error is that of a sample without replacement (Cochran, Sampling Techniques, 2.6). Returns: None
    where a price is unknown.
    """
    known = [cost for cost in costs_usd if cost is not None]
    if not known or len(known) < len(costs_usd):
        return None
    mean = statistics.fmean(known)
    if len(known) < 2:
        return Spread(mean * total)
    left = max(0.0, (total - len(known)) / total)
    error = statistics.stdev(known) * (left / len(known)) ** 0.5
    aside = _STANDARD_ERRORS * error * total
    return Spread(mean * total, max(sum(known), mean * total - aside), mean * total + aside)


def seconds_of_all(
    latencies_s: Sequence[float], took_s: float, total: int, speed: Speed
) -> tuple[float, float]:
    """Between the time with every call slot in use, or at the rate limit, and the time at the sample's own pace."""
    asked = max(1, len(latencies_s))
    slowest = took_s / asked * total
    mean_s = statistics.fmean(latencies_s) if latencies_s else 0.0
    fastest = total * mean_s / speed.slots
    if speed.per_minute:
        fastest = max(fastest, total * 60.0 / speed.per_minute)
    return fastest, max(slowest, fastest)


def take(found: Session, display: Display, draw: Draw, number: int, *, fresh: bool) -> Sample:
    """Ask `number` items and wait for them; a sample that was taken before is not taken again. Raises UserError."""
    run_key = content_key(draw.digest, {**draw.marks, "sample": number})
    client = found.client
    known = None if fresh else sending.earlier(client, run_key)
    started_s = time.monotonic()
    if known is not None and sending.is_whole(client, known):
        batch = known
    elif known is not None and sending.is_resumable(known):
        batch = sending.resumed(client, known, draw.request.max_cost_usd)
    else:
        batch = _sent(found, draw, drawn(draw.total, number, draw.digest), run_key)
    each = Followed(f"{draw.name} (sample)", batch, started_s)
    Follower(client, display, simulation_known=True, check=found.check).follow([each])
    took_s = (each.seconds or 0.0) if not batch.ended else _seconds_of(batch)
    return _read(found, draw, each.batch, took_s)


def _sent(found: Session, draw: Draw, numbers: frozenset[int], run_key: str) -> BatchInfo:
    with tempfile.TemporaryFile() as file:
        file.writelines(draw.lines(numbers))
        file.seek(0)
        request = replace(draw.request, run_key=run_key)
        return sending.send(found.client, file, request, filename=f"{draw.name}.sample.jsonl")


def _seconds_of(batch: BatchInfo) -> float:
    """How long a batch took that had ended before we came, by its own times, which are whole seconds."""
    ended_at = batch.raw.get("completed_at") or batch.created_at
    return max(1.0, float(ended_at - batch.created_at))


def _read(found: Session, draw: Draw, batch: BatchInfo, took_s: float) -> Sample:
    items = list(sending.items_of(found.client, batch))
    # What the cache answers costs nothing, and says nothing of the others.
    called = [item for item in items if item["source"] == "call"] or items
    latencies_s = [(item["latency_ms"] or 0) / 1000 for item in called]
    answers: list[tuple[str, str]] = []
    if batch.output_file_id:
        for line, _ in zip(found.client.lines(batch.output_file_id), range(_SHOWN), strict=False):
            result = result_from(line)
            answers.append((result.custom_id, result.text or ""))
    cost = cost_of_all([item["cost_usd"] for item in called], draw.total)
    seconds = seconds_of_all(latencies_s, took_s, draw.total, draw.speed)
    return Sample(draw, batch, tuple(answers), cost, seconds)


def shown_and_wanted(samples: Sequence[Sample], *, as_json: bool, yes: bool) -> bool:
    """Say what the samples say, and whether the whole is to be run: by --yes, or because a person wants it.

    With --json nobody is asked; who goes on then finds the sample in the line of the whole.
    """
    is_whole = all(sample.batch.status == "completed" for sample in samples)
    if as_json:
        for sample in () if yes and is_whole else samples:
            report.print_json({"sample": sample_json(sample)})
        return yes and is_whole
    for sample in samples:
        _print(sample)
    resting = [Outcome(f"the sample of {each.draw.name}", each.batch, 0.0) for each in samples]
    remarks = [ceiling_words(each) for each in resting if each.batch.at_ceiling]
    report.print_remarks([*remarks, *([_HOW] if any(sample.batch.done for sample in samples) else [])])
    if yes or not is_whole or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return yes and is_whole
    print("Go on with all of them? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def exit_code(samples: Sequence[Sample]) -> int:
    """Of a run that ends with its samples: 4 at the money ceiling, 1 for one that did not end by itself, else 0."""
    if any(sample.batch.at_ceiling for sample in samples):
        return AT_CEILING
    return OK if all(sample.batch.status == "completed" for sample in samples) else SOME_FAILED


def left_usd(max_cost_usd: float | None, paid_usd: float) -> float | None:
    """The ceiling of the rest, once a sample has been paid. Raises CliError when nothing is left."""
    if max_cost_usd is None:
        return None
    if paid_usd >= max_cost_usd:
        raise CliError(
            f"the sample has cost {words.money(paid_usd)}, all that --max-cost-usd allows",
            hint="a higher one goes on",
            exit_code=AT_CEILING,
        )
    return max_cost_usd - paid_usd


def sample_json(sample: Sample) -> dict[str, Any]:
    """The keys and their order are a promise to scripts."""
    cost, batch = sample.cost, sample.batch
    return {
        "name": sample.draw.name,
        "batch_id": batch.id,
        "items": batch.total,
        "of": sample.draw.total,
        "completed": batch.completed,
        "failed": batch.failed,
        "cost_usd": batch.stats.cost_usd,
        "answers": [{"custom_id": name, "answer": text} for name, text in sample.answers],
        "whole_cost_usd": _rounded(cost.guess if cost else None),
        "whole_cost_usd_low": _rounded(cost.low if cost else None),
        "whole_cost_usd_high": _rounded(cost.high if cost else None),
        "whole_seconds_low": round(sample.seconds[0], 1),
        "whole_seconds_high": round(sample.seconds[1], 1),
    }


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 6)


def _print(sample: Sample) -> None:
    batch, cost = sample.batch, sample.cost
    rows = [
        ("sample", f"{words.things(batch.total, 'item')} of {words.count(sample.draw.total)}, {batch.id}"),
        ("answered", f"{words.count(batch.completed)}, failed {words.count(batch.failed)}"),
        ("cost", words.money(batch.stats.cost_usd)),
    ]
    if batch.done:  # nothing says nothing of all
        rows += [
            ("cost of all", _cost_words(cost)),
            ("time of all", " to ".join(dict.fromkeys(map(words.duration, sample.seconds)))),
        ]
    beside = 2 + max(len(name) for name, _ in [*rows, *sample.answers])
    width = max(_NARROWEST, min(_WIDEST, report.console().width - beside))
    report.print_fields([*rows, *((name, words.one_line(text, width)) for name, text in sample.answers)])


def _cost_words(cost: Spread | None) -> str:
    if cost is None:
        return "unknown: a price is missing"
    if cost.low is None:
        return f"about {words.money(cost.guess)} (one item says nothing of the spread)"
    return f"about {words.money(cost.guess)}, {words.money(cost.low)} to {words.money(cost.high)}"
