"""Alert rules: ours, and over them `[[alerts]]` of the user's settings file.

    [[alerts]]                    a rule of ours by its name: what is said here changes it
    name = "api_slow"
    over = 2.0                    or `under`
    for_s = 300                   optional; how long it must last, to begin and to end
    enabled = true                optional

    [[alerts]]                    a name of your own adds a rule; it needs a measure, and `over` or `under`
    name = "acme_waits"
    measure = "oldest_due_s"
    over = 60

workers/core/alert_rules.py decides by them, workers/alerting.py measures.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from config.errors import SettingsError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")  # it becomes a label, an anchor and part of ids
_KEYS = ("name", "measure", "over", "under", "for_s", "enabled")
_MOST_RULES = 100
_MOST_FOR_S = 86_400.0

# What can be measured. Shares and the p95 are of the last five minutes, and of nothing while too little was asked.
MEASURES: Final[Mapping[str, str]] = {
    "api_error_rate": "Share of the API's answers that were 5xx.",
    "api_p95_s": "The API's p95 in seconds, without event streams and file transfers.",
    "item_error_rate": "Share of recorded items that failed.",
    "call_error_rate": "Share of a provider's calls that failed by its doing; a 429 is none of them.",
    "breaker_lanes": "Models of a provider whose breaker is open.",
    "oldest_due_s": "How long the first of a provider's shards that may run waits, in seconds.",
    "work_without_worker": "Open shards of a provider, or batches to be checked, for which no worker lives.",
    "disk_percent": "How full MongoDB's disk is.",
    "late_deliveries": "Webhook deliveries that have failed three times and are tried again.",
    "schedule_late_s": "For how long the first schedule that is due has not run, in seconds.",
    "beat_silent_s": "How long nobody has heard of beat, in seconds, where there ever was one.",
    "excess_calls_1h": "Calls of the last hour that may have been paid twice.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """When to alarm.

    Attributes:
        above: whether a value over the threshold is bad; else one under it.
        for_s: so long without a break it must be bad before the alert fires, and good before it is resolved.
        helps: what to do, in a sentence.
    """

    name: str
    measure: str
    threshold: float
    above: bool = True
    for_s: float = 60.0
    enabled: bool = True
    helps: str = "See what it measures in docs/analytics.md."


BUILT_IN: Final = (
    AlertRule(
        name="api_errors",
        measure="api_error_rate",
        threshold=0.1,
        helps="Look at `batchwright logs api`: each failed request is there with its id; then at /ready.",
    ),
    AlertRule(
        name="api_slow",
        measure="api_p95_s",
        threshold=5.0,
        helps="See in `batchwright stats` which endpoint is slow, and with `batchwright doctor` which server.",
    ),
    AlertRule(
        name="items_failing",
        measure="item_error_rate",
        threshold=0.1,
        helps="`batchwright stats --errors` names the errors, `batchwright errors BATCH` the requests.",
    ),
    AlertRule(
        name="provider_failing",
        measure="call_error_rate",
        threshold=0.5,
        for_s=300.0,
        helps="Look at the provider's status page; `batchwright pause --provider NAME` saves attempts.",
    ),
    AlertRule(
        name="breaker_open",
        measure="breaker_lanes",
        threshold=0.0,
        for_s=180.0,
        helps="The provider has failed again and again; its work rests. Check its key, address and status page.",
    ),
    AlertRule(
        name="work_waits",
        measure="oldest_due_s",
        threshold=14_400.0,
        helps="`batchwright why BATCH` says what it waits for; more workers help where slots are full.",
    ),
    AlertRule(
        name="no_worker",
        measure="work_without_worker",
        threshold=0.0,
        for_s=30.0,
        helps="Start a worker for this provider, or any: `batchwright up`, or the worker's service.",
    ),
    AlertRule(
        name="disk_filling",
        measure="disk_percent",
        threshold=80.0,
        helps="Delete files, shorten batch.retention_days, or give MongoDB more room.",
    ),
    AlertRule(
        name="webhooks_failing",
        measure="late_deliveries",
        threshold=20.0,
        for_s=300.0,
        helps="See which receiver fails in the list of deliveries, and disable or mend it.",
    ),
    AlertRule(
        name="schedule_late",
        measure="schedule_late_s",
        threshold=120.0,
        for_s=0.0,
        helps="See that beat and a worker run: `batchwright ps`; then the schedule's own last error.",
    ),
    AlertRule(
        name="beat_silent",
        measure="beat_silent_s",
        threshold=60.0,
        for_s=30.0,
        helps="Start beat, and see that it reaches the broker: `batchwright logs beat`.",
    ),
    AlertRule(
        name="excess_calls",
        measure="excess_calls_1h",
        # One worker that dies under load may cost all its call slots, 512 by default; two are more than an accident.
        threshold=1_000.0,
        for_s=0.0,
        helps="Workers die or connections break in the middle of calls: look at restarts and at the network.",
    ),
)


def read_alerts(table: object, source: str, thresholds: Mapping[str, float]) -> tuple[AlertRule, ...]:
    """All rules, ours first. `thresholds`: of ours by name, where another setting gives it. Raises SettingsError."""
    if not isinstance(table, list) or not all(isinstance(entry, dict) for entry in table):
        raise SettingsError("alerts", source, "tables [[alerts]]", str(table)[:80])
    rules = {
        rule.name: replace(rule, threshold=thresholds.get(rule.name, rule.threshold)) for rule in BUILT_IN
    }
    named: set[str] = set()
    for entry in table:
        rule = _read_rule(entry, source, rules)
        if rule.name in named:
            raise SettingsError("alerts.name", source, "a name that no other [[alerts]] has", rule.name)
        named.add(rule.name)
        rules[rule.name] = rule
    if len(rules) > _MOST_RULES:
        raise SettingsError("alerts", source, f"at most {_MOST_RULES} rules", str(len(rules)))
    return tuple(rules.values())


def _read_rule(entry: Mapping[str, Any], source: str, known: Mapping[str, AlertRule]) -> AlertRule:
    for key in entry:
        if key not in _KEYS:
            raise SettingsError(f"alerts.{key}", source, "one of " + ", ".join(_KEYS), key)
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        words = "a name of lower-case letters, digits and underscores"
        raise SettingsError("alerts.name", source, words, str(name)[:80])
    measure = entry.get("measure")
    if measure is not None and not (isinstance(measure, str) and measure in MEASURES):
        words = "one of " + ", ".join(MEASURES) + _closest(measure, MEASURES)
        raise SettingsError(f"alerts.{name}.measure", source, words, str(measure)[:80])
    if "over" in entry and "under" in entry:
        raise SettingsError(f"alerts.{name}.under", source, "either `over` or `under`", "both")
    rule = known.get(name)
    if rule is None:
        if measure is None:
            words = "a measure, or the name of a rule there is" + _closest(name, known)
            raise SettingsError(f"alerts.{name}.measure", source, words, "nothing")
        if not {"over", "under"} & set(entry):
            raise SettingsError(f"alerts.{name}.over", source, "a number in `over` or `under`", "nothing")
        rule = AlertRule(name=name, measure=measure, threshold=0.0)
    return replace(rule, **_changes(name, entry, source))


def _changes(name: str, entry: Mapping[str, Any], source: str) -> dict[str, Any]:
    new: dict[str, Any] = {}
    if "measure" in entry:
        new["measure"] = entry["measure"]
    for key in ("over", "under"):
        if key in entry:
            new |= {"above": key == "over", "threshold": _number(f"alerts.{name}.{key}", entry[key], source)}
    if "for_s" in entry:
        dotted = f"alerts.{name}.for_s"
        new["for_s"] = _number(dotted, entry["for_s"], source, minimum=0.0, maximum=_MOST_FOR_S)
    if "enabled" in entry:
        if not isinstance(entry["enabled"], bool):
            raise SettingsError(f"alerts.{name}.enabled", source, "true or false", str(entry["enabled"])[:80])
        new["enabled"] = entry["enabled"]
    return new


def _number(
    dotted: str, value: object, source: str, *, minimum: float | None = None, maximum: float | None = None
) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        within = (minimum is None or value >= minimum) and (maximum is None or value <= maximum)
        if within:
            return float(value)
    bounds = "" if minimum is None or maximum is None else f" from {minimum:g} to {maximum:g}"
    raise SettingsError(dotted, source, f"a number{bounds}", str(value)[:80])


def _closest(name: object, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), sorted(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
