"""Figures of a time: what processes have counted and timed in it, added up and shown as replies show them. Pure.

store/minutes.py keeps them by the minute, app/api/analytics.py shows them, and alerts (alert_rules.py) are measured by
them. Adding is all that is ever done to figures, so it does not matter in which order, or by whom, they were gathered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import orjson

from workers.core.histogram import Histogram, as_dict, merged
from workers.core.recorded import SUMS
from workers.core.recorded import added as added_rows

# Name of a metric, and its labels in the metric's own order.
Series = tuple[str, tuple[str, ...]]
Labels = tuple[str, ...]
V = TypeVar("V")
MINUTE_S: Final = 60
HOUR_S: Final = 3600
WINDOWS_S: Final[Mapping[str, int]] = {"1h": HOUR_S, "24h": 24 * HOUR_S, "7d": 7 * 24 * HOUR_S}
SERVER_FAULT: Final = 500
REFUSAL: Final = 400
# Of what is recorded, under the same names in replies.
_AS_THEY_ARE: Final = (
    *("failed", "never_ran", "cached", "coalesced", "calls"),
    *("input_tokens", "output_tokens"),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted and timed.

    Attributes:
        seen: the first and the last minute (Unix seconds) in which a series, of counts or of times, grew.
    """

    counts: Mapping[Series, float] = field(default_factory=dict)
    times: Mapping[Series, Histogram] = field(default_factory=dict)
    seen: Mapping[Series, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The stored form: bytes are half as long as a document's fields, and faster to read."""
        counts = [[*series, value, *self.seen[series]] for series, value in sorted(self.counts.items())]
        times = [
            [*series, each.to_doc(), *self.seen[series]]
            for series, each in sorted(self.times.items(), key=lambda item: item[0])
        ]
        return orjson.dumps({"counts": counts, "times": times})

    @classmethod
    def from_json(cls, text: bytes, only: Collection[str] = ()) -> Figures:
        """Read it back. `only`: of these metrics, if any is named."""
        doc = orjson.loads(text)
        counts: dict[Series, float] = {}
        seen: dict[Series, tuple[int, int]] = {}
        for name, labels, value, first, last in doc["counts"]:
            if only and name not in only:
                continue
            series = (name, tuple(labels))
            counts[series], seen[series] = float(value), (int(first), int(last))
        times: dict[Series, Histogram] = {}
        for name, labels, histogram, first, last in doc["times"]:
            if only and name not in only:
                continue
            series = (name, tuple(labels))
            times[series], seen[series] = Histogram.from_doc(histogram), (int(first), int(last))
        return cls(counts, times, seen)


def in_minute(minute_s: int, counts: Mapping[Series, float], times: Mapping[Series, Histogram]) -> Figures:
    """What one process has seen in one minute."""
    return Figures(counts, times, dict.fromkeys((*counts, *times), (minute_s, minute_s)))


def added(all_: Iterable[Figures]) -> Figures:
    """The sum of several."""
    counts: dict[Series, float] = {}
    seen: dict[Series, tuple[int, int]] = {}
    times: dict[Series, list[Histogram]] = {}
    for each in all_:
        for series, (first, last) in each.seen.items():
            before = seen.get(series, (first, last))
            seen[series] = (min(first, before[0]), max(last, before[1]))
        for series, value in each.counts.items():
            counts[series] = counts.get(series, 0.0) + value
        for series, histogram in each.times.items():
            times.setdefault(series, []).append(histogram)
    return Figures(counts, {series: merged(parts) for series, parts in times.items()}, seen)


def of_metric(all_: Mapping[Series, V], name: str) -> dict[Labels, V]:
    """The series of one metric by their labels."""
    return {labels: value for (metric, labels), value in all_.items() if metric == name}


def grouped(series: Mapping[Labels, V], labels: Sequence[str], by: Sequence[str]) -> dict[Labels, list[V]]:
    """Values by these of their labels, the others left out."""
    places = [labels.index(name) for name in by]
    out: dict[Labels, list[V]] = {}
    for values, each in series.items():
        out.setdefault(tuple(values[place] for place in places), []).append(each)
    return out


def summed(series: Mapping[Labels, float], labels: Sequence[str], by: Sequence[str]) -> dict[Labels, float]:
    """Counts by these of their labels."""
    return {values: sum(each) for values, each in grouped(series, labels, by).items()}


def latencies(
    series: Mapping[Labels, Histogram], labels: Sequence[str], by: Sequence[str]
) -> dict[Labels, Histogram]:
    """Durations by these of their labels."""
    return {values: merged(each) for values, each in grouped(series, labels, by).items()}


def status_of(word: str) -> int:
    """A status as a number; 0 for one that is none, of a request that got no answer."""
    return int(word) if word.isascii() and word.isdigit() else 0


def failed_share(by_status: Mapping[str, float]) -> float | None:
    """Which share of requests the server itself failed at (5xx); None of none."""
    total = sum(by_status.values())
    failed = sum(count for status, count in by_status.items() if status_of(status) >= SERVER_FAULT)
    return failed / total if total else None


def window_start_s(window: str, now_s: float) -> int:
    """Where a window begins, in Unix seconds: at a whole minute, long ones at a whole hour, which is what is kept."""
    length_s = WINDOWS_S[window]
    step_s = MINUTE_S if length_s == HOUR_S else HOUR_S
    return int((now_s - length_s) // step_s * step_s)


def request_row(by_status: Mapping[str, float], took: Histogram, minutes: float) -> dict[str, Any]:
    """Requests in a reply: `refused` are answers of 4xx, which is the sender's doing, `errors` those of 5xx."""
    numbers = {status: int(count) for status, count in sorted(by_status.items())}
    requests = sum(numbers.values())
    return {
        "requests": requests,
        "requests_per_minute": round(requests / minutes, 3),
        "refused": sum(
            count for status, count in numbers.items() if REFUSAL <= status_of(status) < SERVER_FAULT
        ),
        "errors": sum(count for status, count in numbers.items() if status_of(status) >= SERVER_FAULT),
        "error_rate": failed_share(by_status) or 0.0,
        "status_codes": numbers,
        "latency": as_dict(took),
    }


def provider_row(
    provider: str,
    by_outcome: Mapping[str, Histogram],
    waits: Mapping[str, float],
    waited_s: Mapping[str, float],
) -> dict[str, Any]:
    """One provider in a reply: its calls by outcome, and how often and how long limits held calls up, by reason."""
    return {
        "provider": provider,
        "calls": sum(each.count for each in by_outcome.values()),
        "outcomes": {outcome: each.count for outcome, each in sorted(by_outcome.items())},
        "latency": as_dict(merged(by_outcome.values())),
        "limiter_waits": {
            reason: {"times": int(times), "seconds": round(waited_s.get(reason, 0.0), 3)}
            for reason, times in sorted(waits.items())
        },
    }


def recorded_row(sums: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded (core/recorded.py), in the words of the batch object."""
    return {
        "completed": int(sums["items"] - sums["failed"]),
        "excess_calls": int(sums["excess"] + sums["possibly_repeated"]),
        **{name: int(sums[name]) for name in _AS_THEY_ARE},
        "cost_usd": None if sums["unpriced"] else round(sums["cost_usd"], 6),
        "saved_usd": None if sums["saved_unpriced"] else round(sums["saved_usd"], 6),
    }


def whole(by_provider: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """What is recorded, whatever the provider."""
    rows = [{**row, "provider": ""} for row in by_provider.values()]
    return added_rows(rows).get("", dict.fromkeys(SUMS, 0))


def grown(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """By how much each sum has grown; none has become less, whatever rounding says."""
    return {name: max(0, value - before.get(name, 0)) for name, value in now.items()}


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Errors alike, and the minutes (Unix seconds) of the first and the last."""

    kind: Literal["request", "call", "item"]
    code: str
    count: int
    first_s: int
    last_s: int
    method: str | None = None
    endpoint: str | None = None
    provider: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As a reply shows it."""
        names = ("kind", "code", "method", "endpoint", "provider", "count")
        shown = {name: getattr(self, name) for name in names}
        return shown | {"first_seen": self.first_s, "last_seen": self.last_s}


def most_frequent(errors: Iterable[ErrorCount]) -> list[ErrorCount]:
    """The most frequent first; of equals the latest."""
    return sorted(errors, key=lambda each: (-each.count, -each.last_s, each.kind, each.code))
