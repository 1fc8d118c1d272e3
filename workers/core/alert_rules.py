"""Which alerts begin, fire and end, by what was measured. Pure: the caller gives the time and what stands.

    (nothing) --bad--> pending --bad for `for_s`--> firing --good for `for_s`--> resolved
                pending --good--> (nothing)

An alert is of a rule and a subject: a provider, or "" for the whole installation. What could not be measured leaves
everything as it is; a value of None was measured, and there was nothing to find fault with. workers/alerting.py
measures and asks, store/alerts.py writes each action in one conditional write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import blake3

from config.alerts import AlertRule

Phase = Literal["pending", "firing"]
# Measure -> subject -> value.
Measured = Mapping[str, Mapping[str, float | None]]
FIRING_EVENT, RESOLVED_EVENT = "alert.firing", "alert.resolved"
RUNBOOK: Final = "docs/runbook.md"


@dataclass(frozen=True, slots=True)
class Standing:
    """An alert that has begun and not ended.

    Attributes:
        since_s: Unix seconds since when it is bad without a break.
        clear_since_s: of a firing one, since when it is good again; None while it is bad.
    """

    id: str
    rule: str
    subject: str
    phase: Phase
    since_s: float
    clear_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """A new alert; `fires` at once where the rule asks for no time."""

    rule: AlertRule
    subject: str
    value: float
    fires: bool


@dataclass(frozen=True, slots=True)
class Fire:
    """A pending one has been bad for long enough."""

    standing: Standing
    rule: AlertRule
    value: float


@dataclass(frozen=True, slots=True)
class Forget:
    """A pending one is good again; nobody was told of it."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class Note:
    """A firing one goes on; `clear_since_s` as in `Standing`, from now on."""

    standing: Standing
    value: float | None
    clear_since_s: float | None


@dataclass(frozen=True, slots=True)
class Resolve:
    """A firing one has been good for long enough, or its rule is no more."""

    standing: Standing
    value: float | None


Action = Begin | Fire | Forget | Note | Resolve


def is_bad(rule: AlertRule, value: float | None) -> bool:
    """Whether a value is past the rule's threshold; the threshold itself is not."""
    if value is None:
        return False
    return value > rule.threshold if rule.above else value < rule.threshold


def decide(
    rules: Sequence[AlertRule], measured: Measured, standing: Iterable[Standing], now_s: float
) -> list[Action]:
    """What follows for every rule and subject. Done again with what then stands, it follows once."""
    open_ = {(each.rule, each.subject): each for each in standing}
    active = {rule.name: rule for rule in rules if rule.enabled}
    found = [_ended(each) for each in open_.values() if each.rule not in active]
    for rule in active.values():
        if rule.measure not in measured:
            continue
        values = measured[rule.measure]
        # A subject that is not measured any more (a provider that was taken away) has nothing bad about it.
        subjects = {*values, *(subject for name, subject in open_ if name == rule.name)}
        for subject in sorted(subjects):
            found += _step(rule, subject, open_.get((rule.name, subject)), values.get(subject), now_s)
    return found


def _step(
    rule: AlertRule, subject: str, standing: Standing | None, value: float | None, now_s: float
) -> Iterator[Action]:
    bad = is_bad(rule, value)
    if standing is None:
        if bad and value is not None:
            yield Begin(rule, subject, value, fires=rule.for_s == 0)
    elif standing.phase == "pending":
        if not bad or value is None:
            yield Forget(standing)
        elif now_s - standing.since_s >= rule.for_s:
            yield Fire(standing, rule, value)
    elif bad:
        yield Note(standing, value, None)
    else:
        clear_since_s = now_s if standing.clear_since_s is None else standing.clear_since_s
        if now_s - clear_since_s >= rule.for_s:
            yield Resolve(standing, value)
        else:
            yield Note(standing, value, clear_since_s)


def _ended(standing: Standing) -> Action:
    return Forget(standing) if standing.phase == "pending" else Resolve(standing, None)


def key_of(rule: str, subject: str) -> str:
    """What one alert at a time is open for."""
    return f"{rule}/{subject}"


def alert_id(rule: str, subject: str, since_s: float) -> str:
    """The id of one alert, derived from what it is about and its beginning; sorts by that."""
    digest = blake3.blake3(key_of(rule, subject).encode()).hexdigest(length=5)
    return f"alert_{int(since_s * 1000):012x}{digest}"


def event_id(alert: str, kind: str) -> str:
    """The id of its event of this type: one for ever."""
    return f"evt_{alert}_{kind.rpartition('.')[2]}"


def runbook_link(rule: str) -> str:
    """Where the runbook says more."""
    return f"{RUNBOOK}#{rule}"
