"""What /analytics says of figures: read, added up, and put into the form of a reply. Blocking: on a store thread.

analytics.py is the door; the shapes are in shapes_analytics.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from app.api.services import Services
from workers import metrics
from workers.celery_config import batch_queue
from workers.core.analytics import (
    MINUTE_S,
    REFUSAL,
    ErrorCount,
    Figures,
    Labels,
    grown,
    latencies,
    most_frequent,
    of_metric,
    provider_row,
    recorded_row,
    request_row,
    status_of,
    summed,
    whole,
    window_start_s,
)
from workers.core.errors import StoreUnavailable
from workers.core.histogram import Histogram, merged

Doc = dict[str, Any]
V = TypeVar("V")
Window = Literal["1h", "24h", "7d"]
# Who is not any provider's: lines that we refused ourselves.
_NOBODY = "none"
_OK = "ok"
SHOWN = (
    *(metrics.HTTP_REQUESTS, metrics.HTTP_SECONDS, metrics.LLM_SECONDS),
    *(metrics.LIMITER_WAITS, metrics.LIMITER_WAIT_SECONDS),
)
log = logging.getLogger("batchwright.api")


def figures(behind: Services, window: Window, in_progress: int) -> Doc:
    head, figures = _of_window(behind, window)
    minutes = (head["until"] - head["since"]) / MINUTE_S
    return {
        "object": "analytics.stats",
        **head,
        **_requests(figures, minutes),
        "providers": _providers(figures),
        "batches": _recorded(behind, head["since"]),
        "now": _now(behind, in_progress),
    }


def _of_window(behind: Services, window: Window) -> tuple[Doc, Figures]:
    minutes, enabled = behind.stores.minutes, behind.settings.monitoring.enabled
    now_s = minutes.now().timestamp()
    since_s = window_start_s(window, now_s)
    figures = minutes.since(datetime.fromtimestamp(since_s, UTC), *SHOWN) if enabled else Figures()
    return {"enabled": enabled, "window": window, "since": since_s, "until": int(now_s)}, figures


def _requests(figures: Figures, minutes: float) -> Doc:
    names = ("method", "endpoint")
    counts = of_metric(figures.counts, metrics.HTTP_REQUESTS.name)
    labels = metrics.HTTP_REQUESTS.labels
    times = of_metric(figures.times, metrics.HTTP_SECONDS.name)
    took = latencies(times, metrics.HTTP_SECONDS.labels, names)
    statuses: dict[tuple[str, ...], dict[str, float]] = {}
    for (*at, status), count in summed(counts, labels, (*names, "status")).items():
        statuses.setdefault(tuple(at), {})[status] = count
    rows = [
        {"method": method, "endpoint": endpoint}
        | request_row(by_status, took.get((method, endpoint), Histogram()), minutes)
        for (method, endpoint), by_status in statuses.items()
    ]
    whole = {status: count for (status,), count in summed(counts, labels, ("status",)).items()}
    return {
        "requests": request_row(whole, merged(took.values()), minutes),
        "endpoints": sorted(rows, key=lambda row: (-row["requests"], row["endpoint"], row["method"])),
    }


def _providers(figures: Figures) -> list[Doc]:
    of_calls, of_waits, of_waiting = metrics.LLM_SECONDS, metrics.LIMITER_WAITS, metrics.LIMITER_WAIT_SECONDS
    calls = _nested(
        latencies(of_metric(figures.times, of_calls.name), of_calls.labels, ("provider", "outcome"))
    )
    waits, waited_s = (
        _nested(summed(of_metric(figures.counts, each.name), each.labels, ("provider", "reason")))
        for each in (of_waits, of_waiting)
    )
    return [
        provider_row(provider, calls.get(provider, {}), waits.get(provider, {}), waited_s.get(provider, {}))
        for provider in sorted({*calls, *waits})
    ]


def _nested(found: Mapping[Labels, V]) -> dict[str, dict[str, V]]:
    """Values by the first of two labels and then by the second."""
    out: dict[str, dict[str, V]] = {}
    for (first, second), value in found.items():
        out.setdefault(first, {})[second] = value
    return out


def _recorded(behind: Services, since_s: int) -> Doc:
    now = behind.stores.recorded.read()
    noted = behind.stores.minutes.first_noted(datetime.fromtimestamp(since_s, UTC))
    return {
        "total": recorded_row(whole(now)),
        "by_provider": {name or _NOBODY: recorded_row(row) for name, row in sorted(now.items())},
        "in_window": recorded_row(grown(whole(now), noted[1])) if noted else None,
        "in_window_since": int(noted[0].timestamp()) if noted else None,
    }


def error_counts(behind: Services, window: Window, limit: int) -> Doc:
    head, figures = _of_window(behind, window)
    items = [
        ErrorCount("item", code, count, first_s, last_s)
        for code, count, first_s, last_s in behind.looks.failures_since(head["since"])
    ]
    found = most_frequent([*_failed_requests(figures), *_failed_calls(figures), *items])
    data = [each.as_dict() for each in found[:limit]]
    return {"object": "analytics.errors", **head, "data": data, "has_more": len(found) > limit}


def _failed_requests(figures: Figures) -> Iterator[ErrorCount]:
    seen = of_metric(figures.seen, metrics.HTTP_REQUESTS.name)
    for labels, count in of_metric(figures.counts, metrics.HTTP_REQUESTS.name).items():
        method, endpoint, status = labels
        if status_of(status) >= REFUSAL:
            yield ErrorCount("request", status, int(count), *seen[labels], method=method, endpoint=endpoint)


def _failed_calls(figures: Figures) -> Iterator[ErrorCount]:
    seen = of_metric(figures.seen, metrics.LLM_SECONDS.name)
    for labels, took in of_metric(figures.times, metrics.LLM_SECONDS.name).items():
        provider, outcome = labels
        if outcome != _OK:
            yield ErrorCount("call", outcome, took.count, *seen[labels], provider=provider)


def _now(behind: Services, in_progress: int) -> Doc:
    shards, seats = behind.stores.standing.open_shards(), behind.workers.seats().values()
    names = sorted({*(each.name for each in behind.settings.providers), *(name for name, _ in shards)})
    depths, oldest_s = _depths(behind, names), behind.stores.standing.oldest_due_s(names)
    queues = [
        {
            "provider": name,
            "messages": depths.get(name),
            **{status: shards.get((name, status), 0) for status in ("queued", "dispatched", "leased")},
            "oldest_due_s": oldest_s.get(name),
            "calls_in_flight": sum(seat.calls.get(name, 0) for seat in seats),
        }
        for name in names
    ]
    return {
        "requests_in_progress": in_progress,
        "calls_in_flight": sum(sum(seat.calls.values()) for seat in seats),
        "workers": len(seats),
        "queues": queues,
    }


def _depths(behind: Services, providers: Iterable[str]) -> dict[str, int]:
    """Messages in the queue of each; nothing from the first that does not answer on."""
    found: dict[str, int] = {}
    try:
        for provider in providers:
            found[provider] = behind.queue.depth(batch_queue(provider))
    except StoreUnavailable as error:
        log.warning("no depth of queues: %s", error)
    return found
