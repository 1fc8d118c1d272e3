"""How long providers take, against what was promised of them. Pure.

The promises are those of the product's feature list; a provider that is far away or loaded can break them whatever
we do, so a missed one is shown and is no error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Stage = Literal["cold", "warm", "first_token", "cached"]
STAGES: Mapping[Stage, str] = {
    "cold": "whole answer over a new connection",
    "warm": "whole answer over an open connection",
    "first_token": "first text of a streamed answer",
    "cached": "answer out of the cache",
}


@dataclass(frozen=True, slots=True)
class Times:
    """What one stage took, in milliseconds, and how many tries failed."""

    ms: tuple[float, ...] = ()
    failed: int = 0
    why: str = ""

    @property
    def p50(self) -> float | None:
        """The median."""
        return percentile(self.ms, 0.5)

    @property
    def p95(self) -> float | None:
        """Nineteen of twenty are no longer."""
        return percentile(self.ms, 0.95)


@dataclass(frozen=True, slots=True)
class Measured:
    """One provider."""

    provider: str
    kind: str
    model: str = ""
    client: str = ""
    times: Mapping[Stage, Times] = field(default_factory=dict)
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """At most `most_ms` at this percentile; `kind` None is every provider."""

    stage: Stage
    share: Literal["p50", "p95"]
    most_ms: float
    kind: str | None = None

    def is_about(self, measured: Measured) -> bool:
        """Whether it says something of this provider."""
        return self.kind is None or self.kind == measured.kind


PROMISES = (
    Promise("cached", "p50", 10.0),
    Promise("warm", "p50", 150.0, kind="ollama"),
    Promise("warm", "p95", 200.0, kind="ollama"),
    Promise("warm", "p95", 500.0),
    Promise("first_token", "p50", 200.0),
)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The least value that this share of all does not exceed (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share * len(ordered))) - 1] if ordered else None


def calls_needed(providers: int, count: int) -> int:
    """Calls that a measurement makes: cold, warm and streamed, and one more that opens the warm connection."""
    return providers * (3 * count + 1)


def rows(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The table: provider, model, what, p50, p95, failed, the promise and whether it holds."""
    found: list[tuple[str, ...]] = []
    for each in measured:
        if each.skipped is not None:
            found.append((each.provider, each.model, f"skipped: {each.skipped}", "", "", "", ""))
        for stage, times in each.times.items():
            failed = f"{times.failed} ({times.why})" if times.failed else ""
            cells = (each.provider, each.model, STAGES[stage], _ms(times.p50), _ms(times.p95), failed)
            found.append((*cells, ", ".join(_standing(each, stage))))
    return found


def as_json(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [_json_of(each) for each in measured]


def _json_of(measured: Measured) -> dict[str, Any]:
    found: dict[str, Any] = {"provider": measured.provider, "kind": measured.kind, "model": measured.model}
    found |= {"client": measured.client, "skipped": measured.skipped}
    for stage, times in measured.times.items():
        found[stage] = {
            "p50_ms": _rounded(times.p50),
            "p95_ms": _rounded(times.p95),
            "calls": len(times.ms) + times.failed,
            "failed": times.failed,
            "why": times.why or None,
        }
    return found


def _standing(measured: Measured, stage: Stage) -> list[str]:
    told = []
    for promise in PROMISES:
        value = getattr(measured.times[stage], promise.share)
        if promise.stage == stage and promise.is_about(measured) and value is not None:
            word = "kept" if value <= promise.most_ms else "missed"
            told.append(f"{promise.share} {promise.most_ms:g} ms {word}")
    return told


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"
