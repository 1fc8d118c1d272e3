"""Decide what warming does: which known answers are warm enough, which are asked for again before they expire. Pure.

engine/pipeline.py asks for the items of a batch that warms, workers/warming.py for the prompts that are asked most.
Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from config.watching import Warming
from workers.core.budget import money_of
from workers.core.states import BatchStatus, is_terminal

# What two batches that warm at once have bought is as fresh to the second as anything it could buy itself.
_AS_GOOD_AS_NEW = 0.05
# An answer with a short life would be asked for all the time if only the horizon counted.
_LAST_PART_OF_LIFE = 0.25
# What the next firing may take until its answers are there: until then the old ones must last.
_WARMING_S = 120.0
# Of the horizon: refreshes that follow each other sooner would be many small batches.
_SPACING = 0.25
HOUR_S, DAY_S = 3_600.0, 86_400.0


def lives_until_s(batch: Mapping[str, Any], ttl_s: int) -> float:
    """Until when a known answer must live to be warm enough for a batch; 0 where any will do.

    A batch that warms names the moment when its prompts are warmed next (`warm_until`): what expires before would
    leave them cold. But an answer that was kept after the batch was made lives as long as any that it could buy,
    so that whoever comes second, in whatever process, pays nothing.

    Args:
        batch: the batch's document.
        ttl_s: how long a new answer would be kept.
    """
    until_s = batch.get("warm_until")
    if not batch.get("warm") or until_s is None:
        return 0.0
    return min(float(until_s), float(batch["created_at"]) + ttl_s * (1.0 - _AS_GOOD_AS_NEW))


def made_to_warm(batch: Mapping[str, Any], next_due_s: float) -> dict[str, Any]:
    """The document of a batch as one that warms: its prompts are warmed next at `next_due_s`, or a while after."""
    options = {**batch["options"], "cache": True}
    return {**batch, "options": options, "warm": True, "warm_until": next_due_s + _WARMING_S}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request can be read again: a line of a batch's input file."""

    batch_id: str
    line: int
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.batch_id}:{self.line}:{self.offset}:{self.length}"


def place_from(text: str) -> Place | None:
    """The inverse of `str(place)`; None for anything else."""
    batch_id, *numbers = text.split(":")
    if len(numbers) != 3 or not batch_id or not all(each.isascii() and each.isdecimal() for each in numbers):
        return None
    line, offset, length = map(int, numbers)
    return Place(batch_id, line, offset, length)


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that is asked often.

    Attributes:
        hits: how often its answer was found, an estimate that halves each day.
        left_s: what is left of the answer's life; None where it has none, or is gone.
    """

    key: str
    hits: float
    place: Place
    left_s: float | None


def expiring(asked: Iterable[Asked], rules: Warming) -> list[Asked]:
    """Those whose answers are there and expire within the horizon, the most asked first."""
    found = [
        one
        for one in asked
        if one.left_s is not None and one.left_s <= rules.horizon_s and one.hits >= rules.min_hits
    ]
    return sorted(found, key=lambda one: (-one.hits, one.key))[: rules.top]


def is_near_its_end(left_s: float, ttl_s: int) -> bool:
    """Whether so much of a whole life is past that a new one is worth a call."""
    return left_s <= ttl_s * _LAST_PART_OF_LIFE


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be spent now. `wait`: why nothing may, in one word: under_way, failed, just_done or over_budget."""

    calls: int = 0
    usd: float = 0.0
    wait: str = ""


def allowance(
    earlier: Sequence[Mapping[str, Any]], rules: Warming, now_s: float, kept_s: float = DAY_S
) -> Allowance:
    """What the refreshes of the last day leave of a tenant's budget, in calls and US dollars.

    Args:
        earlier: the documents of its refreshes since a day ago at least, or since they are kept.
        kept_s: how long they are kept after their end, an hour at least: of what was spent before nobody knows, so
            that time has its part of the day's money.
    """
    today = [one for one in earlier if one["created_at"] > now_s - DAY_S]
    lately = [one for one in today if one["created_at"] > now_s - HOUR_S]
    if any(not is_terminal(one["status"]) for one in today):
        return Allowance(wait="under_way")
    if any(one["status"] == BatchStatus.FAILED for one in lately):
        return Allowance(wait="failed")
    if any(one["created_at"] > now_s - rules.horizon_s * _SPACING for one in lately):
        return Allowance(wait="just_done")
    calls = rules.max_calls_per_hour - sum(int(one.get("total") or 0) for one in lately)
    usd = rules.max_usd_per_day * min(1.0, kept_s / DAY_S) - sum(map(spent_usd, today))
    return Allowance(calls, usd) if calls > 0 and usd > 0 else Allowance(wait="over_budget")


def spent_usd(batch: Mapping[str, Any]) -> float:
    """What a refresh has cost, with what may have been lost with a worker: the sums of its own ceiling."""
    money = money_of(batch["budget"])
    return money.spent_usd + money.lost_usd


def lines_of(bodies: Sequence[tuple[str, str, Mapping[str, Any]]]) -> bytes:
    """An input file of these requests: endpoint, model and body of each."""
    lines = [
        {
            "custom_id": f"most-asked-{number}",
            "method": "POST",
            "url": url,
            "body": {**body, "model": model},
        }
        for number, (url, model, body) in enumerate(bodies, start=1)
    ]
    return b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
