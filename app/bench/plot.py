"""A bench as a picture: bars on a logarithmic scale, readable in light and in dark. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from app.bench.figures import OURS, Row
from app.bench.record import Outcome
from app.bench.table import TITLES, in_order

_WIDTH, _LEFT, _RIGHT = 820, 150, 110
_BAR, _GAP, _HEAD = 22, 10, 64
# Both schemes in one file: whoever shows it says which one holds. Without a word it is the light one.
_STYLE = """
  text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .faint { fill: #59636e; font-size: 12px; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .bar { fill: #8c959f; }
  .ours { fill: #0969da; }
  .strong { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .faint { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .bar { fill: #656c76; }
    .ours { fill: #4493f8; }
  }
"""


def svg(outcome: Outcome) -> str:
    """The picture: a panel for misses and one for hits."""
    parts: list[str] = []
    top = 16.0
    for kind, rows in outcome.rows.items():
        shown = [row for row in in_order(rows) if row.items_per_s]
        if shown:
            parts += _panel(f"{kind.capitalize()}: {TITLES[kind]}", shown, top)
            top += _HEAD + len(shown) * (_BAR + _GAP) + 40
    parts.append(_text(_LEFT, top, _footer(outcome.machine, outcome.rules), "faint"))
    height = int(top + 16)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img" aria-label="Items a second by engine">\n<style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def scale(rates: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that enclose the rates: at least one decade."""
    low = math.floor(math.log10(min(rates)))
    high = math.ceil(math.log10(max(rates)))
    return low, max(high, low + 1)


def _panel(title: str, rows: Sequence[Row], top: float) -> list[str]:
    rates = [row.items_per_s or 1.0 for row in rows]
    low, high = scale(rates)
    room = _WIDTH - _LEFT - _RIGHT
    bottom = top + _HEAD + len(rows) * (_BAR + _GAP) - _GAP + 4

    def x(rate: float) -> float:
        return _LEFT + room * (math.log10(rate) - low) / (high - low)

    parts = [_text(_LEFT, top + 16, title, "title")]
    parts.append(_text(_LEFT, top + 35, "items a second on one core, logarithmic scale", "faint"))
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(
            f'<line class="grid" x1="{at:.1f}" y1="{top + 50:.1f}" x2="{at:.1f}" y2="{bottom:.1f}"/>'
        )
        parts.append(_text(at, bottom + 16, f"{10**power:,}", "faint", anchor="middle"))
    for number, (row, rate) in enumerate(zip(rows, rates, strict=True)):
        parts += _bar(row, rate, x(rate), top + _HEAD - 8 + number * (_BAR + _GAP))
    return parts


def _bar(row: Row, rate: float, end: float, y: float) -> list[str]:
    ours = row.name == OURS
    middle = y + _BAR / 2 + 4.5
    strong = "strong" if ours else ""
    width = max(1.0, end - _LEFT)
    shape = f'x="{_LEFT}" y="{y:.1f}" width="{width:.1f}" height="{_BAR}" rx="3"'
    title = f"<title>{escape(row.name)}: {rate:,.0f} items/s</title>"
    return [
        _text(_LEFT - 10, middle, row.name, strong, anchor="end"),
        f'<rect class="{"ours" if ours else "bar"}" {shape}>{title}</rect>',
        _text(end + 8, middle, f"{rate:,.0f}", strong),
    ]


def _text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    look = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{look} text-anchor="{anchor}">{escape(words)}</text>'


def _footer(machine: Mapping[str, Any], rules: Mapping[str, Any]) -> str:
    return (
        f"{machine.get('cpu')}, {machine.get('cores')} cores, answers after {rules.get('latency_ms', 0):g} ms, "
        f"medians of {rules.get('rounds')} rounds"
    )
