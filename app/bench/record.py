"""The JSON of a bench, in its promised shape. Pure.

{"machine", "transport", "misses": {NAME: {"items_per_s", "cpu_ms", "rounds"}}, "hits": {...}, "growth": [...]};
an engine that did not run has "skipped": why. What stands beside these names may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.bench.figures import OURS, Growth, Kind, Ratio, Row, ratios


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a bench has found. `transport` is the HTTP client of our worker."""

    machine: Mapping[str, Any]
    transport: str
    rules: Mapping[str, Any]
    rows: Mapping[Kind, Mapping[str, Row]]
    growth: Sequence[Growth]

    @property
    def is_broken(self) -> bool:
        """Whether our own engine took part and could not go on."""
        return any(rows[OURS].skipped is not None for rows in self.rows.values() if OURS in rows)

    @property
    def ratios(self) -> list[Ratio]:
        """How the targets stand."""
        return ratios(self.rows, self.transport)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The whole record."""
    return {
        "machine": dict(outcome.machine),
        "transport": outcome.transport,
        "misses": {name: _row(row) for name, row in outcome.rows["misses"].items()},
        "hits": {name: _row(row) for name, row in outcome.rows["hits"].items()},
        "growth": [_rounded(asdict(each)) for each in outcome.growth],
        "ratios": [_ratio(each) for each in outcome.ratios],
        "rules": dict(outcome.rules),
    }


def _row(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if row.items_per_s is not None and row.cpu_ms is not None:
        found["items_per_s"] = round(row.items_per_s, 1)
        found["cpu_ms"] = round(row.cpu_ms, 4)
        found["rounds"] = [round(lap.items_per_s, 1) for lap in row.laps]
        found["items"] = [lap.items for lap in row.laps]
        found["checked"] = sum(lap.items for lap in row.laps)
    if row.version:
        found["version"] = row.version
    if row.skipped is not None:
        found["skipped"] = row.skipped
    return found


def _ratio(ratio: Ratio) -> dict[str, Any]:
    target = ratio.target
    return {
        "kind": target.kind,
        "to": target.other,
        "reached": round(ratio.reached, 3),
        "wanted": target.least,
        "met": ratio.met,
    }


def _rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: round(each, 4) if isinstance(each, float) else each for name, each in found.items()}
