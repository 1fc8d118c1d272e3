"""What this process has seen: counters and durations by metric and labels, in memory, for a fraction of a microsecond.

Whoever sees something says it here, in one line: `OBSERVED.count(metrics.X, "openai")`, `OBSERVED.time(...)`. Nobody
reads it on the way of an item. beats.py carries a worker's with its vital signs to MongoDB, the API's page for
Prometheus shows all of them, and what analytics keep by the minute is the difference of two `read`s.

What must be right to the last one after a kill (items, calls, tokens, money) is not counted here but summed from
what is recorded: a process that dies takes its last three seconds of this with it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workers.core.histogram import Histogram
from workers.metric import Metric

# Name of a metric, and its labels in the metric's own order.
Series = tuple[str, tuple[str, ...]]
# A metric with more series than this puts the rest under `OTHER`: a page for Prometheus has to stay small.
MOST_SERIES: Final = 500
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Readings:
    """Everything at one moment; counts only grow."""

    counts: Mapping[Series, float] = field(default_factory=dict)
    times: Mapping[Series, Histogram] = field(default_factory=dict)

    def since(self, before: Readings) -> Readings:
        """What was added after an earlier reading of the same process."""
        counts = {
            series: value - before.counts.get(series, 0.0)
            for series, value in self.counts.items()
            if value != before.counts.get(series, 0.0)
        }
        nothing = Histogram()
        times = {
            series: each.since(before.times.get(series, nothing))
            for series, each in self.times.items()
            if each.count != before.times.get(series, nothing).count
        }
        return Readings(counts, times)

    def to_doc(self) -> dict[str, Any]:
        """A document for MongoDB."""
        counts = [[name, list(labels), value] for (name, labels), value in self.counts.items()]
        times = [[name, list(labels), each.to_doc()] for (name, labels), each in self.times.items()]
        return {"counts": counts, "times": times}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Readings:
        """Read it back."""
        counts = {(name, tuple(labels)): float(value) for name, labels, value in doc["counts"]}
        times = {(name, tuple(labels)): Histogram.from_doc(each) for name, labels, each in doc["times"]}
        return cls(counts, times)


class Observed:
    """Counters and histograms of one process; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Series, float] = {}
        self._times: dict[Series, Histogram] = {}
        self._series: dict[str, int] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        series = (metric.name, labels)
        with self._lock:
            if series not in self._counts:
                series = self._admitted(series)
            self._counts[series] = self._counts.get(series, 0.0) + by

    def time(self, metric: Metric, *labels: str, seconds: float, times: int = 1) -> None:
        """Count one duration, or several equal ones."""
        series = (metric.name, labels)
        with self._lock:
            found = self._times.get(series)
            if found is None:
                found = self._times.setdefault(self._admitted(series), Histogram())
            found.add(seconds, times)

    def read(self) -> Readings:
        """A copy of everything."""
        with self._lock:
            return Readings(dict(self._counts), {series: each.copy() for series, each in self._times.items()})

    def _admitted(self, series: Series) -> Series:
        name, labels = series
        if self._series.get(name, 0) >= MOST_SERIES:
            return name, tuple(OTHER for _ in labels)
        self._series[name] = self._series.get(name, 0) + 1
        return series


# One for the process: what is seen is seen in store threads, in Celery's and in the loop.
OBSERVED: Final = Observed()
