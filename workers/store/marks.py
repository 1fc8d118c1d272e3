"""What is said when money passes a mark of its ceiling: at 80 %, and at the ceiling itself.

A mark is a stage in the pipeline of the very write that passes it (store/holds.py): the log entry and the event for the
outbox stand in the document with the sums, or none of them does. `told` beside the sums remembers the ceiling that was
spoken of, so that each is said once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from workers.core.budget import TOLERANCE_USD, WARNING_SHARE
from workers.store.batch_log import logged, told
from workers.store.mongo import NOW, Doc

Which = Literal["warning", "reached"]
_SHARES: dict[Which, float] = {"warning": WARNING_SHARE, "reached": 1.0}
_LIMIT = "$budget.limit_usd"
# Spent and lost; what is under way is not gone yet.
_GONE: Doc = {
    "$add": [
        "$budget.spent_usd",
        "$budget.lost_usd",
        {
            "$sum": {
                "$map": {
                    "input": {"$objectToArray": "$budget.holds"},
                    "as": "hold",
                    "in": {"$subtract": ["$$hold.v.usd", "$$hold.v.in_flight_usd"]},
                }
            }
        },
    ]
}


@dataclass(frozen=True, slots=True)
class Marks:
    """The two marks of one kind of ceiling.

    Attributes:
        whose: begins the types of its events.
        about: the field with the id that they tell of.
        again: whether they are said anew under a raised ceiling.
    """

    whose: Literal["batch", "tenant"]
    about: str
    again: bool

    def stages(self) -> list[Doc]:
        """Both, behind the stage that has changed the sums."""
        return [self._stage(which, _passed(share)) for which, share in _SHARES.items()]

    def at_rest(self) -> Doc:
        """The second alone, where something rests at the ceiling: what is left is too little for the next call."""
        return self._stage("reached", {"$gt": [_LIMIT, 0]})

    def _stage(self, which: Which, passed: Doc) -> Doc:
        kind, field = f"{self.whose}.budget_{which}", f"budget.told.{which}"
        before: Any = {"$ifNull": [f"${field}", 0.0]}
        new = {"$lt": [before, _LIMIT]} if self.again else {"$eq": [before, 0.0]}
        data = {"limit_usd": _LIMIT, "spent_usd": {"$round": [_GONE, 6]}}
        event = {
            "id": {"$concat": ["evt_", "$_id", f"_budget_{which}_", _micro_usd(_LIMIT)]},
            "object": "event",
            "created_at": {"$toLong": {"$divide": [{"$toLong": NOW}, 1000]}},
            "type": kind,
            "data": {"id": f"${self.about}"} | data,
        }
        say = logged(kind, values=data) | told(event) | {field: _LIMIT}
        says = {"$and": [passed, new]}
        return {"$set": {name: {"$cond": [says, value, f"${name}"]} for name, value in say.items()}}


def _passed(share: float) -> Doc:
    # The ceiling itself first: where there is none, everything compares as more.
    mark = {"$subtract": [{"$multiply": [_LIMIT, share]}, TOLERANCE_USD]}
    return {"$and": [{"$gt": [_LIMIT, 0]}, {"$gte": [_GONE, mark]}]}


def _micro_usd(usd: str) -> Doc:
    """Whole millionths of a dollar: a point would not do in the id of a webhook."""
    return {"$toString": {"$toLong": {"$round": [{"$multiply": [{"$ifNull": [usd, 0]}, 1_000_000]}, 0]}}}
