"""Measure what alert rules go by, and write down what follows. A chore of the workers, and of the API without them.

`evaluate_alerts` asks the databases alone, so it says the same in whichever process it runs, and two at once change
nothing (store/alerts.py). What cannot be measured now is left out, and every alert that goes by it stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from config.settings import Settings
from workers import metrics
from workers.analytics import GATHER_EVERY_S, Home, gather_figures
from workers.core.alert_rules import Action, Begin, Fire, Measured, Resolve, decide
from workers.core.analytics import Figures, failed_share, grown, latencies, of_metric, summed, whole
from workers.core.errors import StoreUnavailable
from workers.core.histogram import merged
from workers.core.lanes import Rates
from workers.store.limit_state import read_state
from workers.store.minutes import minute_of
from workers.store.redis import REDIS_DOWN, connect
from workers.store.schedules import due_of
from workers.store.stores import Stores

log = logging.getLogger(__name__)

EVALUATE_EVERY_S: Final = 15.0
CHORE_LEASE_S: Final = 120.0
WINDOW: Final = timedelta(minutes=5)
MEASURED: Final = (metrics.HTTP_REQUESTS, metrics.HTTP_SECONDS, metrics.LLM_SECONDS)
HOUR: Final = timedelta(hours=1)
# A share of fewer says nothing.
FEWEST: Final = 20
# Whole files and streams take as long as they are.
NOT_ANSWERS: Final = ("/events", "/content", "/output", "/v1/files")
# What a call came to that is not the provider's failure: an answer, the limit's own refusal, a wrong request.
BLAMELESS: Final = frozenset({"ok", "rate_limited", "refused"})
_REDIS_WITHIN_S = 1.0
_MOST_COUNTED = 100
Values = Mapping[str, float | None]


def evaluate_alerts(home: Home) -> None:
    """One round over all rules. Raises STORE_TROUBLE where MongoDB is away; the next round goes on."""
    if not home.settings.monitoring.enabled:
        return
    stores = home.stores
    now = stores.minutes.now()
    measured = measure(home, now)
    for action in decide(home.settings.alerts, measured, stores.alerts.standing(), now.timestamp()):
        if stores.alerts.do(action, now):
            _say(action)


def _say(action: Action) -> None:
    if isinstance(action, Begin) and action.fires:
        log.warning("alert %s %s fires: %s", action.rule.name, action.subject, action.value)
    elif isinstance(action, Fire):
        log.warning("alert %s %s fires: %s", action.rule.name, action.standing.subject, action.value)
    elif isinstance(action, Resolve):
        log.warning("alert %s %s is over", action.standing.rule, action.standing.subject)


def measure(home: Home, now: datetime) -> Measured:
    """Every measure of config/alerts.py that can be told now, by subject."""
    stores = home.stores
    figures = stores.minutes.since(minute_of(now) - WINDOW, *MEASURED)
    recorded = _recorded(stores, now)
    shards = stores.standing.open_shards()
    names = sorted({provider for provider, _ in shards})
    measured: dict[str, Values] = {
        "api_error_rate": {"": _api_error_rate(figures)},
        "api_p95_s": {"": _api_p95_s(figures)},
        "call_error_rate": _call_error_rates(figures),
        "item_error_rate": {"": _item_error_rate(_grown(stores, recorded, now - WINDOW))},
        "excess_calls_1h": {"": _excess(_grown(stores, recorded, now - HOUR))},
        "oldest_due_s": stores.standing.oldest_due_s(names),
        "work_without_worker": _work_without_worker(stores, shards),
        "late_deliveries": {"": float(stores.deliveries.often_failed())},
        "beat_silent_s": {"": _beat_silent_s(home)},
        "schedule_late_s": {"": _schedule_late_s(stores)},
    }
    for name, look in _OTHERS.items():
        try:
            measured[name] = look(home)
        except (StoreUnavailable, *REDIS_DOWN) as error:
            log.warning("cannot measure %s: %s", name, type(error).__name__)
    return measured


# --- of figures


def _api_error_rate(figures: Figures) -> float | None:
    counts = of_metric(figures.counts, metrics.HTTP_REQUESTS.name)
    by_status = {
        status: n for (status,), n in summed(counts, metrics.HTTP_REQUESTS.labels, ("status",)).items()
    }
    return failed_share(by_status) if sum(by_status.values()) >= FEWEST else None


def _api_p95_s(figures: Figures) -> float | None:
    times = of_metric(figures.times, metrics.HTTP_SECONDS.name)
    by_endpoint = latencies(times, metrics.HTTP_SECONDS.labels, ("endpoint",))
    took = merged(each for (endpoint,), each in by_endpoint.items() if not endpoint.endswith(NOT_ANSWERS))
    return took.percentile_s(0.95) if took.count >= FEWEST else None


def _call_error_rates(figures: Figures) -> Values:
    times = of_metric(figures.times, metrics.LLM_SECONDS.name)
    calls: dict[str, list[int]] = {}
    for (provider, outcome), each in latencies(
        times, metrics.LLM_SECONDS.labels, ("provider", "outcome")
    ).items():
        counts = calls.setdefault(provider, [0, 0])
        counts[0] += each.count
        counts[1] += 0 if outcome in BLAMELESS else each.count
    return {name: failed / made if made >= FEWEST else None for name, (made, failed) in calls.items()}


# --- of what is recorded


def _recorded(stores: Stores, now: datetime) -> Mapping[str, Any]:
    """The sums until this minute; summed and noted once in it, whoever measures how often."""
    known = stores.minutes.totals_at(now)
    if known is None:
        known = whole(stores.recorded.read())
        stores.minutes.note_totals(now, known)
    return known


def _grown(stores: Stores, recorded: Mapping[str, Any], since: datetime) -> Mapping[str, Any]:
    return grown(recorded, stores.minutes.totals_at(since) or recorded)


def _item_error_rate(new: Mapping[str, Any]) -> float | None:
    return new["failed"] / new["items"] if new["items"] >= FEWEST else None


def _excess(new: Mapping[str, Any]) -> float:
    return float(new["excess"] + new["possibly_repeated"])


# --- of what stands


def _work_without_worker(stores: Stores, shards: Mapping[tuple[str, str], int]) -> Values:
    """By provider; under "" the batches that nobody is there to check."""
    slots = stores.processes.slots()
    waiting = Counter[str]()
    for (provider, _), number in shards.items():
        if not slots.get(provider, 0):
            waiting[provider] += number
    if not stores.processes.count():
        waiting[""] = len(stores.upkeep.to_plan("", _MOST_COUNTED))
    return {name: float(number) for name, number in waiting.items()}


def _beat_silent_s(home: Home) -> float | None:
    # The small profile has no beat, though a larger one may have run on this database before.
    return None if home.settings.profile == "small" else home.stores.chores.beat_silent_s()


def _schedule_late_s(stores: Stores) -> float | None:
    first = next(stores.schedules.due(), None)
    return float(first["now_s"]) - due_of(first) if first else None


def _disk_percent(home: Home) -> Values:
    use = home.stores.disk.use()
    return {"": None if use is None else use.percent}


def _breaker_lanes(home: Home) -> Values:
    return asyncio.run(_open_lanes(home.settings))


async def _open_lanes(settings: Settings) -> Values:
    url = settings.servers.redis_url
    if url is None:
        raise StoreUnavailable("no control Redis is named")
    async with connect(url, max_connections=1, timeout_s=_REDIS_WITHIN_S, repeats_late=False) as redis:
        names = [provider.name for provider in settings.providers]
        states = {name: await read_state(redis, name, Rates(), 0.0) for name in names}
    return {
        name: float(sum(lane.breaker != "closed" for lane in each.lanes)) for name, each in states.items()
    }


_OTHERS: Mapping[str, Callable[[Home], Values]] = {
    "disk_percent": _disk_percent,
    "breaker_lanes": _breaker_lanes,
}

# --- without beat

# Name, how often, and what: rows of workers/chores.py too.
CHORES: Final[tuple[tuple[str, float, Callable[[Home], None]], ...]] = (
    ("alerts", EVALUATE_EVERY_S, evaluate_alerts),
    ("figures", GATHER_EVERY_S, gather_figures),
)


def do_without_beat(home: Home, owner: str) -> None:
    """Do these where they are due and nobody is at them: that beat or all workers are away is what they must tell."""
    if not home.settings.monitoring.enabled:
        return
    for name, every_s, chore in CHORES:
        if home.stores.chores.begin(name, owner, every_s=every_s, lease_s=CHORE_LEASE_S):
            try:
                chore(home)
            finally:
                home.stores.chores.end(name, owner)
