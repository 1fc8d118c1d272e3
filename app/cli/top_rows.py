"""The cells of `top`: batches, providers and workers as words and colours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.cli import words
from app.cli.top_columns import Cell, Column

Doc = Mapping[str, Any]
SORTS = ("newest", "rate", "failed", "time left", "name")
BATCHES = (
    Column("batch", stretch=True, least=14),
    Column("id", rank=12),
    Column("tenant", rank=11),
    Column("model", rank=10, stretch=True, least=10),
    Column("progress", rank=1),
    Column("done", rank=3, right=True),
    Column("items/s", rank=2, right=True),
    Column("left", rank=4, right=True),
    Column("cached", rank=7, right=True),
    Column("shared", rank=8, right=True),
    Column("failed", rank=5, right=True),
    Column("cost", rank=9, right=True),
    Column("waits for", rank=6, stretch=True, least=12),
)
PROVIDERS = (
    Column("provider", stretch=True, least=10),
    Column("state", rank=1, stretch=True, least=8),
    Column("queue", rank=2, right=True),
    Column("oldest", rank=8, right=True),
    Column("calls", rank=3, right=True),
    Column("calls/s", rank=4, right=True),
    Column("p50", rank=6, right=True),
    Column("p95", rank=5, right=True),
    Column("use", rank=7, right=True),
    Column("tokens/min", rank=9, right=True),
    Column("requests left", rank=10, right=True),
)
WORKERS = (
    Column("worker", stretch=True, least=10),
    Column("state", rank=1),
    Column("calls", rank=2, right=True),
    Column("memory", rank=3, right=True),
    Column("cpu", rank=4, right=True),
    Column("lag", rank=5, right=True),
    Column("buffer", rank=6, right=True),
    Column("version", rank=7),
    Column("up", rank=8, right=True),
)
_BAR = 10
_LATE_LOOP_S, _OLD_BUFFER_S, _LONG_DUE_S = 0.5, 5.0, 60.0
_NOTHING: Cell = ("-", "dim")


def ordered(batches: Sequence[Doc], sort: str) -> list[Doc]:
    """Batches in an order of SORTS; the server gives them newest first."""
    far = float("inf")
    keys: Mapping[str, Any] = {
        "newest": None,
        "rate": lambda each: -(each["per_second"] or 0),
        "failed": lambda each: -each["failed"],
        "time left": lambda each: far if each["eta_s"] is None else each["eta_s"],
        "name": lambda each: _name(each).casefold(),
    }
    return list(batches) if keys[sort] is None else sorted(batches, key=keys[sort])


def batch(row: Doc, now_s: float) -> Mapping[str, Cell]:
    """A batch by column."""
    done, total = row["done"], row["total"]
    return {
        "batch": (_name(row), "bold"),
        "id": (row["id"], ""),
        "tenant": (words.escaped(row["tenant"]), ""),
        "model": (words.escaped(row["model"] or "several"), ""),
        "progress": (_progress(row), _progress_style(row)),
        "done": (f"{words.short(done)}/{words.short(total)}", "") if total else _NOTHING,
        "items/s": _NOTHING if row["per_second"] is None else (words.rate(row["per_second"]), ""),
        "left": _NOTHING if row["eta_s"] is None else (words.brief(row["eta_s"]), ""),
        "cached": _percent(row["cached"], done),
        "shared": _percent(row["coalesced"], done),
        "failed": (words.short(row["failed"]), "red") if row["failed"] else ("0", "dim"),
        "cost": (words.money(row["cost_usd"]), "") if row["cost_usd"] is not None else ("?", "dim"),
        "waits for": _waits(row["waiting_for"], now_s),
    }


def provider(row: Doc) -> Mapping[str, Cell]:
    """A provider by column."""
    oldest_s = row["oldest_due_s"]
    return {
        "provider": (words.escaped(row["name"]), "bold"),
        "state": _state(row),
        "queue": (words.count(row["shards_waiting"]), "" if row["shards_waiting"] else "dim"),
        "oldest": _NOTHING
        if oldest_s is None
        else (words.brief(oldest_s), "yellow" if oldest_s > _LONG_DUE_S else ""),
        "calls": (
            f"{words.short(row['in_flight'])}/{words.short(row['slots'])}",
            "" if row["slots"] else "dim",
        ),
        "calls/s": _NOTHING if row["calls_per_second"] is None else (words.rate(row["calls_per_second"]), ""),
        "p50": _latency(row["p50_s"]),
        "p95": _latency(row["p95_s"]),
        "use": _use(row),
        "tokens/min": _NOTHING
        if row["tokens_per_minute"] is None
        else (words.short(row["tokens_per_minute"]), ""),
        "requests left": (words.short(row["requests_left"]), "" if row["requests_left"] else "dim"),
    }


def worker(row: Doc, data: Doc) -> Mapping[str, Cell]:
    """A worker process by column."""
    lag_s, oldest_s, version = row["loop_lag_s"], row["buffer_oldest_s"], row["version"]
    memory, cpu, results = row["memory_bytes"], row["cpu_percent"], row["buffer_results"]
    up = None if row["started_at"] is None else max(0.0, data["at"] - row["started_at"])
    return {
        "worker": (words.escaped(row["name"]), "bold"),
        "state": ("alive", "green") if row["alive"] else (f"silent {words.brief(row['age_s'])}", "red"),
        "calls": (f"{row['calls']}/{words.short(row['slots'])}", ""),
        "memory": _NOTHING if memory is None else (words.size(memory), ""),
        "cpu": _NOTHING if cpu is None else (f"{cpu:.0f} %", ""),
        "lag": _NOTHING if lag_s is None else (_ms(lag_s), "red" if lag_s > _LATE_LOOP_S else ""),
        "buffer": _NOTHING
        if results is None
        else (words.short(results), "red" if (oldest_s or 0) > _OLD_BUFFER_S else ""),
        "version": (version or "-", "" if version == data["version"] else "yellow"),
        "up": _NOTHING if up is None else (words.brief(up), ""),
    }


def _name(row: Doc) -> str:
    return words.escaped(row["name"] or row["id"])


def _progress(row: Doc) -> str:
    if row["status"] == "validating":
        return f"{'checking':{_BAR}}     "
    share = row["done"] / row["total"] if row["total"] else 0.0
    full = min(_BAR, int(share * _BAR))
    # 100 % is said of what is done, not of what is nearly so.
    percent = 100 if share >= 1 else min(99, int(share * 100))
    return f"{'━' * full}{'─' * (_BAR - full)} {percent:3d}%"


def _progress_style(row: Doc) -> str:
    if row["paused"]:
        return "yellow"
    return "red" if row["failed"] else "cyan"


def _waits(reasons: Sequence[Doc], now_s: float) -> Cell:
    if not reasons:
        return "", ""
    first = reasons[0]
    until = first["until"]
    said = [words.escaped(first["kind"].replace("_", " "))]
    said += [f"({words.escaped(first['provider'])})"] if first["provider"] else []
    said += [words.brief(until - now_s)] if until is not None and until > now_s else []
    said += [f"+{len(reasons) - 1}"] if len(reasons) > 1 else []
    quiet = first["kind"] in ("queue", "planning", "closing", "dependency")
    return " ".join(said), "dim" if quiet else "yellow"


def _state(row: Doc) -> Cell:
    """What holds calls back, the gravest first."""
    if row["held_since"] is not None:
        return "held", "yellow"
    if row["breaker"] == "open":
        return f"open {words.brief(row['breaker_opens_in_s'] or 0)}", "bold red"
    if row["breaker"] == "half-open":
        return "trying", "yellow"
    if row["breaker"] is None:
        return "unknown", "yellow"
    if (row["rests_s"] or 0) >= 1:
        return f"rests {words.brief(row['rests_s'])}", "yellow"
    if (row["limits"]["wait_s"] or 0) >= 1:
        return f"limit {words.brief(row['limits']['wait_s'])}", "yellow"
    return ("ok", "green") if row["slots"] else ("no worker", "red" if row["shards_waiting"] else "dim")


def _use(row: Doc) -> Cell:
    limits, used = row["limits"], []
    if limits["requests_per_minute"] and row["calls_per_second"] is not None:
        used.append(row["calls_per_second"] * 60 / limits["requests_per_minute"])
    if limits["tokens_per_minute"] and row["tokens_per_minute"] is not None:
        used.append(row["tokens_per_minute"] / limits["tokens_per_minute"])
    if not used:
        return _NOTHING
    return f"{max(used) * 100:.0f} %", "yellow" if max(used) >= 0.9 else ""


def _percent(part: int, whole: int) -> Cell:
    return (f"{100 * part / whole:.0f} %", "green" if part else "dim") if whole else _NOTHING


def _latency(seconds: float | None) -> Cell:
    return _NOTHING if seconds is None else (_ms(seconds), "")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"
