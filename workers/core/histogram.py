"""How long things took, as counts in fixed buckets: small, mergeable, and good for percentiles. Pure.

Ten bounds a decade, the preferred numbers R10 (ISO 3): each bucket is at most 26 % wide, from 1 ms to 1,000 s, which
holds a look into the cache as well as a cold model's first answer. Prometheus gets the bounds 1, 2.5 and 5 of each
decade alone (`PROMETHEUS_BOUNDS_S`), which are sums of these buckets, so both always agree.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_R10 = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
_EXPONENTS = range(-3, 3)
BOUNDS_S: Final = (*(float(f"{step}e{power}") for power in _EXPONENTS for step in _R10), 1000.0)
PROMETHEUS_BOUNDS_S: Final = tuple(
    bound for number, bound in enumerate(BOUNDS_S) if number % len(_R10) in (0, 4, 7)
)


@dataclass(slots=True)
class Histogram:
    """Durations in seconds.

    Attributes:
        buckets: how many fell into the bucket whose upper bound is `BOUNDS_S[number]`; the number after the last
            bound is what took longer. Empty buckets are left out.
        sum_s, count: of all.
        min_s, max_s: the shortest and the longest; infinite where there is none.
    """

    buckets: dict[int, int] = field(default_factory=dict)
    sum_s: float = 0.0
    count: int = 0
    min_s: float = math.inf
    max_s: float = -math.inf

    def add(self, seconds: float, times: int = 1) -> None:
        """Count one duration, or several equal ones."""
        number, buckets = bisect_left(BOUNDS_S, seconds), self.buckets
        buckets[number] = buckets.get(number, 0) + times
        self.sum_s += seconds * times
        self.count += times
        if seconds < self.min_s:  # noqa: PLR1730 - at every call of a provider: `min` takes three times as long
            self.min_s = seconds
        if seconds > self.max_s:  # noqa: PLR1730
            self.max_s = seconds

    def copy(self) -> Histogram:
        """The same counts, apart from these."""
        return Histogram(dict(self.buckets), self.sum_s, self.count, self.min_s, self.max_s)

    def since(self, before: Histogram) -> Histogram:
        """What was added after `before`, an earlier copy of this.

        Its extremes are exact where they are also those of all; otherwise the bounds of its outer buckets stand for
        them.
        """
        more = {
            number: count - before.buckets.get(number, 0)
            for number, count in self.buckets.items()
            if count > before.buckets.get(number, 0)
        }
        added = Histogram(more, self.sum_s - before.sum_s, self.count - before.count)
        if more:
            first, last = min(more), max(more)
            low = BOUNDS_S[first - 1] if first else 0.0
            high = BOUNDS_S[last] if last < len(BOUNDS_S) else self.max_s
            added.min_s = self.min_s if self.min_s < before.min_s else max(self.min_s, low)
            added.max_s = self.max_s if self.max_s > before.max_s else min(self.max_s, high)
        return added

    def percentile_s(self, share: float) -> float | None:
        """The duration that `share` (0 to 1) of them did not exceed, within a bucket's width; None of nothing.

        Within the bucket the durations are taken as evenly spread, and never beyond the shortest and the longest.
        """
        if not self.count:
            return None
        wanted, seen = share * self.count, 0
        for number in sorted(self.buckets):
            here = self.buckets[number]
            if seen + here >= wanted:
                low = BOUNDS_S[number - 1] if number else 0.0
                high = BOUNDS_S[number] if number < len(BOUNDS_S) else self.max_s
                found = low + (high - low) * (wanted - seen) / here
                return min(max(found, self.min_s), self.max_s)
            seen += here
        return self.max_s

    def below(self, bounds: Iterable[float] = PROMETHEUS_BOUNDS_S) -> list[tuple[float, int]]:
        """How many were not over each of these bounds of `BOUNDS_S`, which rise."""
        found, numbers, seen = [], iter(sorted(self.buckets)), 0
        number = next(numbers, None)
        for bound in bounds:
            while number is not None and number < len(BOUNDS_S) and BOUNDS_S[number] <= bound:
                seen += self.buckets[number]
                number = next(numbers, None)
            found.append((bound, seen))
        return found

    def to_doc(self) -> list[Any]:
        """The stored form: pairs, since a document's names are text."""
        pairs = [list(pair) for pair in self.buckets.items()]
        return [pairs, self.sum_s, self.count, self.min_s, self.max_s]

    @classmethod
    def from_doc(cls, doc: list[Any]) -> Histogram:
        """Read it back."""
        pairs, sum_s, count, min_s, max_s = doc
        return cls(dict(pairs), sum_s, count, min_s, max_s)


def merged(all_: Iterable[Histogram]) -> Histogram:
    """All durations of several in one."""
    out = Histogram()
    buckets, known = out.buckets, out.buckets.get
    for each in all_:
        for number, count in each.buckets.items():
            buckets[number] = known(number, 0) + count
        out.sum_s += each.sum_s
        out.count += each.count
        out.min_s, out.max_s = min(out.min_s, each.min_s), max(out.max_s, each.max_s)
    return out


def mean_s(histogram: Histogram) -> float | None:
    """The mean; None of nothing."""
    return histogram.sum_s / histogram.count if histogram.count else None


def as_dict(histogram: Histogram) -> Mapping[str, float | int | None]:
    """What a reply says of them: count, and min, mean, max, p50, p95, p99 in milliseconds; null where none was."""
    shown = {
        "min": histogram.min_s if histogram.count else None,
        "avg": mean_s(histogram),
        "max": histogram.max_s if histogram.count else None,
        "p50": histogram.percentile_s(0.5),
        "p95": histogram.percentile_s(0.95),
        "p99": histogram.percentile_s(0.99),
    }
    in_ms = {f"{name}_ms": None if value is None else round(value * 1000, 3) for name, value in shown.items()}
    return {"count": histogram.count, **in_ms}
