"""The tables of `stats` and `alerts`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.errors import OK, SOME_FAILED
from app.cli.session import named_server
from app.client import analytics_calls

Doc = Mapping[str, Any]
_SPARE = ("max", "refused", "messages", "p50", "p99")
_TIMES = ("p50", "p95", "p99", "max")
# Totals are noted once in each.
_MINUTE_S = 60


def stats(*, window: str, as_json: bool) -> int:
    """Figures of a window, and what stands now."""
    with named_server(load()) as client:
        found = client.call(analytics_calls.stats(window))
    if as_json:
        report.print_json(found)
        return OK
    _note_if_off(found)
    _print("endpoint", ("requests", "refused", "errors", *_TIMES), map(_endpoint, found["endpoints"]))
    _print("provider", ("calls", "not ok", "held up", *_TIMES), map(_provider, found["providers"]))
    busy = filter(_is_busy, found["now"]["queues"])
    columns = ("queued", "sent", "running", "messages", "oldest due", "calls now")
    _print("waits for", columns, map(_queue, busy))
    report.print_fields(_summary(found))
    return OK


def errors(*, window: str, limit: int, as_json: bool) -> int:
    """Errors of a window, the most frequent first."""
    with named_server(load()) as client:
        found = client.call(analytics_calls.errors(window, limit))
    if as_json:
        report.print_json(found)
        return OK
    _note_if_off(found)
    if not found["data"]:
        print(f"no errors in {window}")
        return OK
    rows = [
        (
            words.count(row["count"]),
            row["kind"],
            words.clean(row["code"]),
            words.clean(_where(row)),
            words.moment(row["first_seen"]),
            words.moment(row["last_seen"]),
        )
        for row in found["data"]
    ]
    report.print_table(
        ("count", "kind", "code", "where", "first", "last"), rows, right=("count",), spare=("first",)
    )
    if found["has_more"]:
        print(f"there are more kinds; --limit shows more than {limit}", file=sys.stderr)
    return OK


def alerts(*, state: str, limit: int, as_json: bool) -> int:
    """Alerts with what to do; 1 while one fires."""
    with named_server(load()) as client:
        found = client.call(analytics_calls.alerts(state, limit))
    firing = [each for each in found["data"] if each["state"] == "firing"]
    if as_json:
        report.print_json(found)
        return SOME_FAILED if firing else OK
    _note_if_off(found)
    if not found["data"]:
        print("no alerts")
        return OK
    rows = [
        (each["state"], _name(each), _value(each), words.moment(each["since"]), _lasted(each))
        for each in found["data"]
    ]
    report.print_table(("state", "alert", "value", "since", "lasts"), rows)
    for each in firing:
        print(f"{_name(each)}: {words.clean(each['helps'])} ({words.clean(each['runbook'])})")
    return SOME_FAILED if firing else OK


def _note_if_off(found: Doc) -> None:
    if not found["enabled"]:
        print("monitoring.enabled is off: no figures are kept and no alert is evaluated", file=sys.stderr)


def _print(first: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table, if there is anything in it."""
    if found := list(rows):
        spare = [name for name in _SPARE if name in columns]
        report.print_table((first, *columns), found, right=columns, spare=spare)


def _endpoint(row: Doc) -> tuple[str, ...]:
    counts = (words.count(row[name]) for name in ("requests", "refused", "errors"))
    return (words.clean(f"{row['method']} {row['endpoint']}"), *counts, *_times(row["latency"]))


def _times(latency: Doc) -> tuple[str, ...]:
    return tuple(_ms(latency[f"{name}_ms"]) for name in _TIMES)


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return words.duration(value / 1000) if value >= 1000 else f"{value:.3g} ms"


def _provider(row: Doc) -> tuple[str, ...]:
    not_ok = [f"{words.count(n)} {name}" for name, n in row["outcomes"].items() if name != "ok"]
    held_up = sum(each["times"] for each in row["limiter_waits"].values())
    return (
        words.clean(row["provider"]),
        words.count(row["calls"]),
        ", ".join(not_ok) or "0",
        words.count(held_up),
        *_times(row["latency"]),
    )


def _is_busy(row: Doc) -> bool:
    return any(row[name] for name in ("queued", "dispatched", "leased", "messages", "calls_in_flight"))


def _queue(row: Doc) -> tuple[str, ...]:
    oldest = row["oldest_due_s"]
    return (
        words.clean(row["provider"]),
        *(words.count(row[name]) for name in ("queued", "dispatched", "leased")),
        "-" if row["messages"] is None else words.count(row["messages"]),
        "-" if oldest is None else words.duration(oldest),
        words.count(row["calls_in_flight"]),
    )


def _summary(found: Doc) -> list[tuple[str, str]]:
    whole, now, ever = found["requests"], found["now"], found["batches"]["total"]
    lately = found["batches"]["in_window"]
    rate, failed, p95 = whole["requests_per_minute"], whole["error_rate"], _ms(whole["latency"]["p95_ms"])
    said = f"{words.count(whole['requests'])} in {found['window']}, {rate:.3g} a minute"
    return [
        ("requests", f"{said}, {failed:.1%} failed, p95 {p95}"),
        *([("recorded", f"{_recorded(lately)}, {_since(found)}")] if lately is not None else []),
        ("ever", _recorded(ever)),
        (
            "now",
            f"{words.things(now['workers'], 'worker')}, {words.things(now['calls_in_flight'], 'call')} under way",
        ),
    ]


def _since(found: Doc) -> str:
    """`in 1h`; of an installation that is younger than the window, since when it is counted."""
    since = found["batches"]["in_window_since"]
    if since < found["since"] + _MINUTE_S:
        return f"in {found['window']}"
    return f"since {words.moment(since).removesuffix(':00')}"


def _recorded(sums: Doc) -> str:
    excess = f", {words.count(sums['excess_calls'])} perhaps made twice" if sums["excess_calls"] else ""
    return (
        f"{words.things(sums['completed'], 'answer')}, {words.count(sums['failed'])} failed, "
        f"{words.things(sums['calls'], 'call')}{excess}, {words.money(sums['cost_usd'])}, "
        f"{words.money(sums['saved_usd'])} saved"
    )


def _where(row: Doc) -> str:
    if row["kind"] == "request":
        return f"{row['method']} {row['endpoint']}"
    return str(row["provider"] or "batches")


def _name(alert: Doc) -> str:
    return words.clean(alert["rule"] if alert["subject"] is None else f"{alert['rule']} {alert['subject']}")


def _value(alert: Doc) -> str:
    value = "-" if alert["value"] is None else f"{alert['value']:.4g}"
    return f"{value} ({alert['bad']} {alert['threshold']:g})"


def _lasted(alert: Doc) -> str:
    return words.duration(max(0.0, (alert["resolved_at"] or time.time()) - alert["since"]))
