"""What a metric is. metrics.py and metrics_kept.py name all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; a counter's name ends in `_total` and its value only grows while its process lives.

    A histogram is one of durations in seconds, by the bounds of core/histogram.py. What a process counts has the
    label `process` last: who counts gives the others, in their order.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def counter(name: str, text: str, *labels: str) -> Metric:
    """What only grows."""
    return Metric(name, "counter", text, labels)


def gauge(name: str, text: str, *labels: str) -> Metric:
    """What goes up and down."""
    return Metric(name, "gauge", text, labels)


def times(name: str, text: str, *labels: str) -> Metric:
    """Durations."""
    return Metric(name, "histogram", text, labels)
