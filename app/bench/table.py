"""A bench as Markdown: what was measured, how the targets stand, how things grow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.bench.figures import OURS, Growth, Ratio, Row
from app.bench.record import Outcome

_MB = 1_000_000
_QUIET_LOAD = 0.5
TITLES = {"misses": "every item is a call", "hits": "every answer is cached"}


def markdown(outcome: Outcome) -> str:
    """The whole page."""
    parts = [f"# Bench\n\n{_where(outcome)}\n\n![items a second by engine](bench.svg)\n"]
    parts += [_engines(kind, rows) for kind, rows in outcome.rows.items() if rows]
    parts += [_targets(outcome.ratios), _growth(outcome.growth)]
    return "\n".join(part for part in parts if part)


def in_order(rows: Mapping[str, Row]) -> list[Row]:
    """The fastest first; those without a figure last."""
    return sorted(rows.values(), key=lambda row: (-(row.items_per_s or 0.0), row.name))


def _where(outcome: Outcome) -> str:
    machine, rules = outcome.machine, outcome.rules
    placed = machine.get("engine_core")
    core = "one core for the engine" if placed is not None else "no process bound to a core"
    load = float(machine.get("load") or 0.0)
    noise = f" The machine was busy with other work before (load {load:g})." if load > _QUIET_LOAD else ""
    return (
        f"{machine.get('cpu')}, {machine.get('cores')} cores ({core}), Python {machine.get('python')}, "
        f"transport {outcome.transport}; answers after {rules.get('latency_ms', 0):g} ms, "
        f"{rules.get('concurrency')} calls at once, medians of {rules.get('rounds')} rounds, every answer checked."
        f"{noise}"
    )


def _engines(kind: str, rows: Mapping[str, Row]) -> str:
    ours = rows.get(OURS)
    mine = ours.items_per_s if ours else None
    cells = []
    for row in in_order(rows):
        rate = row.items_per_s
        if rate is None:
            cells.append((row.name, f"skipped: {row.skipped}", "", "", "", row.version))
            continue
        times = f"{mine / rate:.3g}" if mine and row.name != OURS else ""
        note = f" ({row.skipped})" if row.skipped else ""
        span = (
            f"{min(lap.items_per_s for lap in row.laps):,.0f}-{max(lap.items_per_s for lap in row.laps):,.0f}"
        )
        cells.append((row.name + note, f"{rate:,.0f}", span, f"{row.cpu_ms:.3f}", times, row.version))
    names = ("engine", "items/s", "rounds", "CPU ms an item", f"{OURS} is x times", "version")
    return f"## {kind.capitalize()}: {TITLES[kind]}\n\n{_table(names, cells, left=(0, 5))}"


def _targets(ratios: Sequence[Ratio]) -> str:
    if not ratios:
        return ""
    cells = [
        (
            f"{each.target.kind}, to {each.target.other}",
            f"{each.target.least:g}",
            f"{each.reached:.3g}",
            "yes" if each.met else "no",
        )
        for each in ratios
    ]
    return f"## Targets\n\n{_table((OURS, 'at least', 'reached', 'met'), cells, left=(0, 3))}"


def _growth(growth: Sequence[Growth]) -> str:
    if not growth:
        return ""
    processes = sorted({name for each in growth for name in each.memory})
    names = (
        "items",
        "items/s",
        "CPU ms an item",
        *(f"{name} MB, peak (end)" for name in processes),
        "control Redis MB",
        "cache Redis MB (bytes an item)",
        "MongoDB bytes an item (before compression)",
    )
    cells = [
        (
            f"{each.items:,}",
            f"{each.items_per_s:,.0f}",
            f"{each.cpu_ms:.3f}",
            *(_memory(each, name) for name in processes),
            f"{each.control_redis_bytes / _MB:.1f}",
            f"{each.cache_redis_bytes / _MB:.1f} ({each.cache_redis_bytes_per_item:,.0f})",
            f"{each.mongodb_bytes_per_item:,.0f} ({each.mongodb_data_bytes_per_item:,.0f})",
        )
        for each in growth
    ]
    return f"## Growth\n\n{_table(names, cells, left=())}"


def _memory(growth: Growth, name: str) -> str:
    known = growth.memory.get(name)
    return f"{known['peak_bytes'] / _MB:.0f} ({known['final_bytes'] / _MB:.0f})" if known else ""


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int]) -> str:
    rule = ["---" if at in left else "---:" for at in range(len(names))]
    lines = [names, rule, *([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
