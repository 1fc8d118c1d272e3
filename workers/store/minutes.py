"""What all processes have counted and timed, by the minute (`minutes`), and what was recorded until then (`totals`).

A minute: _id, at (date, its beginning), span (process, minute, hour), figures (core/analytics.py), expire_at. Each
process writes one of its own for a minute, again and again with all that it has seen in it: a repeat harms nothing.
Those are gathered into one for the minute and, after two hours, one for the hour. A gathered one names in `taken` whose
figures it holds: whoever reads passes those over, and so does whoever gathers again, so that breaking off anywhere, or
two at once, changes no sum. `version` lets one of two have its way.

A total: _id (`2026-11-21T14:05`), at, totals (any numbers that only grow, recorded_totals.py's), expire_at. The
difference of two of them is as exact as what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from workers.core.analytics import HOUR_S, MINUTE_S, Figures, added
from workers.metric import Metric
from workers.store.mongo import Db, Doc

KEPT_HOURS: Final = 168.0  # the setting's default, for whoever has no settings
OF_PROCESS, OF_MINUTE, OF_HOUR = "process", "minute", "hour"
# A process writes its minute for at most so long after its end.
LATE_S: Final = 300
KEPT_BY_THE_MINUTE_S: Final = 2 * HOUR_S
# Who reads takes less than this from its first document to its last.
_READ_WITHIN_S: Final = 60
# Of one time, so that a round is bounded: more processes than that are gathered in the next one.
_AT_ONCE: Final = 500
_DAY_AND_MINUTE: Final = "%Y-%m-%dT%H:%M"
_NAMES = {OF_MINUTE: _DAY_AND_MINUTE, OF_HOUR: "%Y-%m-%dT%H"}
_SPAN_S = {OF_MINUTE: MINUTE_S, OF_HOUR: HOUR_S}
_SOURCES = {OF_MINUTE: OF_PROCESS, OF_HOUR: OF_MINUTE}


def minute_of(moment: datetime) -> datetime:
    """Its beginning."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


class Minutes:
    """Write, read and gather figures. `retention_hours`: how long they are kept."""

    def __init__(self, db: Db, *, retention_hours: float = KEPT_HOURS) -> None:
        self._db, self._docs, self._totals = db, db["minutes"], db["totals"]
        # What begins at a whole hour (core/analytics.py) needs all of the hour in which its window begins.
        self._kept = timedelta(hours=retention_hours, seconds=HOUR_S)

    def now(self) -> datetime:
        """The server's clock: of processes whose own differ, figures come to the same minute."""
        told: datetime = self._db.command("hello")["localTime"]
        return told if told.tzinfo else told.replace(tzinfo=UTC)

    def write(self, process: str, minute: datetime, figures: Figures) -> None:
        """All that a process (a name that no other life of it has) has seen in a minute until now."""
        id_ = f"{minute.strftime(_DAY_AND_MINUTE)}/{process}"
        new = {
            "at": minute,
            "span": OF_PROCESS,
            "figures": figures.to_json(),
            "expire_at": minute + self._kept,
        }
        self._docs.update_one({"_id": id_}, {"$set": new}, upsert=True)

    def since(self, start: datetime, *only: Metric) -> Figures:
        """The sum of everything from then on. `only`: of these metrics, if any is named."""
        names = frozenset(metric.name for metric in only)
        return added(Figures.from_json(each, names) for each in self._read(start))

    def count(self, start: datetime) -> int:
        """How many documents a look from then on reads."""
        return self._docs.count_documents({"at": {"$gte": start}})

    def _read(self, start: datetime) -> Iterator[bytes]:
        """Each figure once, whoever gathers meanwhile: what may be taken is read before who may take it."""
        taken: set[str] = set()
        found: list[Doc] = []
        for span in (OF_PROCESS, OF_MINUTE, OF_HOUR):
            found += self._docs.find({"span": span, "at": {"$gte": start}}, {"expire_at": 0})
        for doc in found:
            taken.update(doc.get("taken", ()))
        yield from (doc["figures"] for doc in found if doc["_id"] not in taken)

    # --- gathering

    def gather(self, now: datetime) -> int:
        """Put processes' minutes that are over into one, and minutes that are old into hours; gives how many went."""
        gone = self._gather(OF_MINUTE, before=minute_of(now) - timedelta(seconds=LATE_S), now=now)
        hour = now.replace(minute=0, second=0, microsecond=0)
        old = hour - timedelta(seconds=KEPT_BY_THE_MINUTE_S - HOUR_S)
        return gone + self._gather(OF_HOUR, before=old, now=now)

    def _gather(self, span: str, *, before: datetime, now: datetime) -> int:
        source = _SOURCES[span]
        times = self._docs.distinct("at", {"span": source, "at": {"$lt": before}})
        gone = 0
        for at in sorted({_begin(each, _SPAN_S[span]) for each in times}):
            gone += self._gather_into(span, at, now)
        for doc in self._docs.find({"span": span, "taken.0": {"$exists": True}}, {"figures": 0}):
            self._settle(doc, now)
        return gone

    def _gather_into(self, span: str, at: datetime, now: datetime) -> int:
        """One round for one minute or hour: write the sum, then remove what is in it."""
        id_ = at.strftime(_NAMES[span])
        held = self._docs.find_one({"_id": id_})
        taken = set(held.get("taken", ())) if held else set()
        until = at + timedelta(seconds=_SPAN_S[span])
        where: Doc = {"span": _SOURCES[span], "at": {"$gte": at, "$lt": until}}
        parts = list(self._docs.find(where | {"_id": {"$nin": sorted(taken)}}).limit(_AT_ONCE))
        # One that has not let go of its own parts yet waits: they must not be lost sight of.
        parts = [part for part in parts if not part.get("taken")]
        if parts and not self._write_sum(span, at, held, parts, now):
            return 0  # somebody else was faster; the next round sees what is left
        ids = [*taken, *(part["_id"] for part in parts)]
        return self._docs.delete_many({"_id": {"$in": ids}}).deleted_count

    def _write_sum(self, span: str, at: datetime, held: Doc | None, parts: list[Doc], now: datetime) -> bool:
        before = [held] if held else []
        figures = added(Figures.from_json(doc["figures"]) for doc in (*before, *parts))
        version = held["version"] if held else 0
        new: Doc = {
            "at": at,
            "span": span,
            "figures": figures.to_json(),
            "expire_at": at + self._kept,
            "taken": [*(held or {}).get("taken", ()), *(part["_id"] for part in parts)],
            "taken_at": now,
            "version": version + 1,
        }
        id_ = at.strftime(_NAMES[span])
        if held is None:
            try:
                self._docs.insert_one({"_id": id_} | new)
            except DuplicateKeyError:
                return False
            return True
        return bool(self._docs.update_one({"_id": id_, "version": version}, {"$set": new}).modified_count)

    def _settle(self, doc: Doc, now: datetime) -> None:
        """Forget whose figures it holds, once they are gone and nobody reads who has seen them."""
        if now - doc["taken_at"] < timedelta(seconds=_READ_WITHIN_S):
            return
        self._docs.delete_many({"_id": {"$in": doc["taken"]}})
        self._docs.update_one(
            {"_id": doc["_id"], "version": doc["version"]},
            {"$set": {"taken": [], "version": doc["version"] + 1}},
        )

    # --- what was recorded

    def note_totals(self, now: datetime, totals: Mapping[str, Any]) -> None:
        """What was recorded until now; of a minute the last word stands."""
        at = minute_of(now)
        new = {"at": at, "totals": dict(totals), "expire_at": at + self._kept}
        self._totals.update_one({"_id": at.strftime(_DAY_AND_MINUTE)}, {"$set": new}, upsert=True)

    def totals_at(self, moment: datetime) -> Mapping[str, Any] | None:
        """What was recorded until about then: the first word from then on; None where there is none."""
        noted = self.first_noted(moment)
        return noted[1] if noted else None

    def first_noted(self, moment: datetime) -> tuple[datetime, Mapping[str, Any]] | None:
        """The same with its minute: on a young installation it is later than `moment`."""
        name = minute_of(moment).strftime(_DAY_AND_MINUTE)
        found = self._totals.find_one({"_id": {"$gte": name}}, {"at": 1, "totals": 1}, sort=[("_id", 1)])
        return (found["at"], found["totals"]) if found else None


def _begin(at: datetime, span_s: int) -> datetime:
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % span_s, UTC)
