"""Alerts (`alerts`): one document from the first bad value until long after its end, with the events it brings forth.

A document: _id (core/alert_rules.py `alert_id`), tenant (the first one, whose webhooks are told), key (rule/subject),
open (true until it has ended), phase (pending, firing, resolved), rule, subject, measure, threshold, above, helps,
value (the last one), since, fired_at, clear_since, resolved_at (dates), events (batch_log.py `told`), expire_at (once
it has ended). A unique index lets one document a key be open, and each change is one write that needs what was read:
two who evaluate at once make one alert and one event of each kind; who dies in between has done all of a step or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError

from config.alerts import AlertRule
from workers.core.alert_rules import (
    FIRING_EVENT,
    RESOLVED_EVENT,
    Action,
    Begin,
    Fire,
    Forget,
    Note,
    Phase,
    Resolve,
    Standing,
    alert_id,
    event_id,
    key_of,
    runbook_link,
)
from workers.store.batch_log import told
from workers.store.minutes import KEPT_HOURS
from workers.store.mongo import Db, Doc
from workers.store.tenants import DEFAULT_TENANT

State = Literal["firing", "resolved", "all"]
_PHASES: dict[State, list[str]] = {
    "firing": ["firing"],
    "resolved": ["resolved"],
    "all": ["firing", "resolved"],
}


class Alerts:
    """Read what stands, do what was decided. `retention_hours`: how long an alert is kept after its end."""

    def __init__(self, db: Db, *, retention_hours: float = KEPT_HOURS) -> None:
        self._docs = db["alerts"]
        self._kept = timedelta(hours=retention_hours)

    def standing(self) -> list[Standing]:
        """Those that have begun and not ended."""
        # By the key as well, or the index of those that are open would not be asked.
        return [_standing(doc) for doc in self._docs.find({"open": True, "key": {"$gt": ""}})]

    def firing(self) -> dict[str, int]:
        """How many fire, by rule; rules of which none does are left out."""
        steps: list[Doc] = [{"$match": {"phase": "firing"}}, {"$sortByCount": "$rule"}]
        return {row["_id"]: int(row["count"]) for row in self._docs.aggregate(steps)}

    def page(self, state: State, *, limit: int) -> list[Doc]:
        """Those of this state, that begin last first; the pending ones are nobody's business."""
        where = {"phase": {"$in": _PHASES[state]}}
        return list(self._docs.find(where, {"events": 0}).sort("_id", -1).limit(limit))

    def do(self, action: Action, now: datetime) -> bool:
        """Write what was decided by what stood then. False where it stands differently by now: nothing is done."""
        if isinstance(action, Begin):
            return self._begin(action, now)
        where: Doc = {"_id": action.standing.id, "open": True, "phase": action.standing.phase}
        if isinstance(action, Forget):
            return bool(self._docs.delete_one(where).deleted_count)
        where["clear_since"] = _date(action.standing.clear_since_s)
        if isinstance(action, Note):
            new: Doc = {"value": action.value, "clear_since": _date(action.clear_since_s)}
            return bool(self._docs.update_one(where, {"$set": new}).matched_count)
        return self._turn(where, action, now)

    def _begin(self, action: Begin, now: datetime) -> bool:
        rule = action.rule
        doc: Doc = {
            "_id": alert_id(rule.name, action.subject, now.timestamp()),
            "tenant": DEFAULT_TENANT,
            "key": key_of(rule.name, action.subject),
            "open": True,
            "phase": "firing" if action.fires else "pending",
            "rule": rule.name,
            "subject": action.subject,
            **_said_by(rule),
            "value": action.value,
            "since": now,
            "fired_at": now if action.fires else None,
            "clear_since": None,
            "resolved_at": None,
        }
        if action.fires:
            doc["events"] = [_event(doc["_id"], FIRING_EVENT, now, _data(doc))]
        try:
            self._docs.insert_one(doc)
        except DuplicateKeyError:
            return False
        return True

    def _turn(self, where: Doc, action: Fire | Resolve, now: datetime) -> bool:
        doc = self._docs.find_one(where)
        if doc is None:
            return False
        new: Doc = {"value": action.value}
        if isinstance(action, Fire):
            kind = FIRING_EVENT
            new |= {"phase": "firing", "fired_at": now, **_said_by(action.rule)}
        else:
            kind = RESOLVED_EVENT
            new |= {"phase": "resolved", "resolved_at": now, "open": False, "expire_at": now + self._kept}
        event = _event(doc["_id"], kind, now, _data(doc | new))
        literal: Doc = {name: {"$literal": value} for name, value in new.items()}
        changed = self._docs.update_one(where, [{"$set": literal | told({"$literal": event})}])
        return bool(changed.modified_count)


def shown(doc: Doc) -> dict[str, Any]:
    """An alert in a reply."""
    return {
        "id": doc["_id"],
        "object": "alert",
        "state": doc["phase"],
        **_data(doc),
        "fired_at": _unix(doc["fired_at"]),
        "resolved_at": _unix(doc["resolved_at"]),
    }


def _said_by(rule: AlertRule) -> Doc:
    """What is kept of a rule, which may be another one when somebody reads of it."""
    return {
        "measure": rule.measure,
        "threshold": rule.threshold,
        "above": rule.above,
        "for_s": rule.for_s,
        "helps": rule.helps,
    }


def _data(doc: Doc) -> dict[str, Any]:
    return {
        "rule": doc["rule"],
        "subject": doc["subject"] or None,
        "measure": doc["measure"],
        "value": doc["value"],
        "threshold": doc["threshold"],
        "bad": "over" if doc["above"] else "under",
        "for_s": doc["for_s"],
        "since": _unix(doc["since"]),
        "helps": doc["helps"],
        "runbook": runbook_link(doc["rule"]),
    }


def _event(id_: str, kind: str, now: datetime, data: dict[str, Any]) -> Doc:
    return {
        "id": event_id(id_, kind),
        "object": "event",
        "created_at": int(now.timestamp()),
        "type": kind,
        "data": {"id": id_, **data},
    }


def _standing(doc: Doc) -> Standing:
    phase: Phase = doc["phase"]
    clear_since = doc["clear_since"]
    return Standing(
        doc["_id"],
        doc["rule"],
        doc["subject"],
        phase,
        doc["since"].timestamp(),
        None if clear_since is None else clear_since.timestamp(),
    )


def _date(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def rules_shown(rules: Sequence[AlertRule]) -> list[dict[str, Any]]:
    """The rules in a reply."""
    return [
        {
            "rule": rule.name,
            "measure": rule.measure,
            "bad": "over" if rule.above else "under",
            "threshold": rule.threshold,
            "for_s": rule.for_s,
            "enabled": rule.enabled,
        }
        for rule in rules
    ]
