"""Ceilings of money: what a shard may still hold under one, and what to do when it may not. Pure.

    hold (by estimate, before calls) -> calls -> settle (by true usage) -> ... -> close (the shard has ended)

A batch may have one, and its tenant one for each calendar month (UTC): then a shard holds money under both.
store/holds.py keeps the sums, in the batch document and in the month's account; the engine asks before each chunk.
Estimates decide what starts; true costs may pass the ceiling by what the estimates fell short, and nothing starts then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

# Why a batch rests, as it stands in `pause_reason`: at its own ceiling, or at that of its tenant's month.
BUDGET = "budget"
TENANT_BUDGET = "tenant_budget"
# The part of a ceiling at which a first word is said.
WARNING_SHARE = 0.8
# Sums of the same numbers in another order differ in the last digits; a ceiling is not missed by those.
TOLERANCE_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Room:
    """The answer to a shard that asked to hold money, in US dollars.

    Attributes:
        granted: the hold is written, the calls may start. All else is advice: it may have changed since.
        free_usd: what this shard could have in flight under the ceiling.
        others_in_flight_usd: what other shards have in flight: some of it may come free.
        limit_usd: the ceiling that refused.
        superseded: a later lease of this shard exists; this one must start nothing.
    """

    granted: bool
    free_usd: float
    others_in_flight_usd: float
    limit_usd: float
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Money:
    """The money under a ceiling as it stands, in US dollars.

    Attributes:
        spent_usd: known to be spent.
        in_flight_usd: estimates of calls under way.
        lost_usd: what calls may have cost whose worker was lost before it recorded them: never given out again.
    """

    limit_usd: float
    spent_usd: float
    in_flight_usd: float
    lost_usd: float


def new_budget(limit_usd: float) -> dict[str, Any]:
    """The `budget` of a new batch document. Raises ValueError for a ceiling that is none."""
    if not 0 < limit_usd < float("inf"):
        raise ValueError(f"a ceiling is a sum above 0, got {limit_usd}")
    return {"limit_usd": float(limit_usd), "spent_usd": 0.0, "lost_usd": 0.0, "holds": {}}


def money_of(budget: Mapping[str, Any]) -> Money:
    """Read the `budget` of a batch document."""
    holds = budget["holds"].values()
    return Money(
        limit_usd=budget["limit_usd"],
        spent_usd=budget["spent_usd"]
        + sum(hold["settled_usd"] - hold.get("base_usd", 0.0) for hold in holds),
        in_flight_usd=sum(hold["in_flight_usd"] for hold in holds),
        lost_usd=budget["lost_usd"] + sum(hold["lost_usd"] for hold in holds),
    )


def ended(budget: Mapping[str, Any], cost_usd: float) -> dict[str, Any]:
    """The `budget` of a batch that has ended: no shard holds anything any more.

    A worker that dies between the end of its shard and that of its hold leaves the hold to nobody. What the results
    cost is spent; what is known to be gone beyond that went for calls that brought no result, or may have.
    """
    money = money_of(budget)
    gone_usd = money.spent_usd + money.in_flight_usd + money.lost_usd
    lost_usd = gone_usd - cost_usd
    rest = {"spent_usd": cost_usd, "lost_usd": lost_usd if lost_usd > TOLERANCE_USD else 0.0, "holds": {}}
    return {**budget, **rest}


def room_in(
    budget: Mapping[str, Any], key: str, fence: int, settled_usd: float, *, from_now: bool = False
) -> Room:
    """What the shard behind `key` could hold, whose true cost so far is `settled_usd`.

    `from_now`: what it had cost before its first hold here counts elsewhere, as it does in a month's account.
    """
    hold = budget["holds"].get(key)
    base_usd = (hold or {}).get("base_usd", settled_usd if from_now else 0.0)
    others = [other for name, other in budget["holds"].items() if name != key]
    gone_usd = budget["spent_usd"] + budget["lost_usd"] + sum(other["usd"] for other in others)
    carried = carried_usd(hold, fence, settled_usd) if hold else 0.0
    return Room(
        granted=False,
        free_usd=max(0.0, budget["limit_usd"] - gone_usd - carried - (settled_usd - base_usd)),
        others_in_flight_usd=sum(other["in_flight_usd"] for other in others),
        limit_usd=budget["limit_usd"],
        superseded=hold is not None and hold["fence"] > fence,
    )


def carried_usd(hold: Mapping[str, Any], fence: int, settled_usd: float) -> float:
    """What a shard has lost, seen from the lease `fence` that knows of `settled_usd`.

    Nobody knows what became of an earlier lease's calls under way, and of answers that it had paid and not recorded.
    Calls that were recorded after its last word are counted twice, as lost and as settled: the ceiling may come
    early then, and never late.
    """
    lost_usd = float(hold["lost_usd"])
    if hold["fence"] >= fence:
        return lost_usd
    unrecorded_usd = float(hold["settled_usd"]) - settled_usd
    return (
        lost_usd + float(hold["in_flight_usd"]) + (unrecorded_usd if unrecorded_usd > TOLERANCE_USD else 0.0)
    )


def fits(estimates_usd: Iterable[float], free_usd: float) -> int:
    """How many calls of a chunk, from its first on, may start with `free_usd`."""
    number, sum_usd = 0, 0.0
    for estimate_usd in estimates_usd:
        sum_usd += estimate_usd
        if sum_usd > free_usd + TOLERANCE_USD:
            break
        number += 1
    return number


def after_refusal(room: Room, own_in_flight_usd: float) -> Literal["wait", "pause"]:
    """What a shard does of which not even the next call fits.

    Calls under way, its own or others', mostly cost less than they hold: then it waits for them. With nothing
    under way no money will ever come free, and the batch rests until somebody raises its ceiling. A superseded
    lease waits, since its end is on its way; it decides nothing for the batch.
    """
    in_flight = own_in_flight_usd > 0 or room.others_in_flight_usd > 0
    return "wait" if in_flight or room.superseded else "pause"


def month_of(now_s: float) -> str:
    """The calendar month in UTC of a moment in Unix seconds, as `2026-11`."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m")


def account_id(tenant: str, month: str) -> str:
    """The name of a tenant's account for one month."""
    return f"{tenant}:{month}"


def goes_on(rests: Mapping[str, Any], account: str, cap_usd: float | None) -> bool:
    """Whether a batch that rests at its tenant's ceiling may try again: another month, a higher ceiling, or none.

    Args:
        rests: what it rests at, as it stands in the batch document: account and limit_usd.
        account: the tenant's account of this month.
        cap_usd: its ceiling now.
    """
    return account != rests["account"] or cap_usd is None or cap_usd > rests["limit_usd"]
