"""What all batches together have done and cost, by provider: the figures that must be right after any kill. Pure.

The finalizer keeps a batch's rows in the ledger; store/recorded_totals.py sums them with what running batches have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from workers.core.savings import SHARE_SUMS, share_of
from workers.core.tally import Tally, total

Row = dict[str, Any]
_BESIDE: Final = ("never_ran", "excess", "asks_again", "reasoning_tokens", "cache_write_tokens")
# What a row sums: all as in Tally, but that `items` are those with a result, and `possibly_repeated` are calls of
# workers that were lost in flight.
SUMS: Final = (*SHARE_SUMS, *_BESIDE, "possibly_repeated")
_MONEY: Final = ("cost_usd", "saved_usd")
# Prices have four decimals a million tokens at most: every sum is a multiple of this, far above what adding loses.
_MONEY_DIGITS: Final = 10


def lost_calls(leases: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> int:
    """How many calls of a shard were under way when their worker was lost: started, and without a result.

    Args:
        leases: those that ended so, with `fence` and `started`.
        rows: the results that the shard itself has recorded, with `fence`, `calls`, `source` and `excess`.
    """
    told: Counter[int] = Counter()
    for row in rows:
        if row["calls"]:
            # What `started` still counts of it: the call that brought its result, unless that came from elsewhere,
            # and those of unknown outcome before. Calls that are known to have failed are none.
            told[row["fence"]] += (row["source"] == "call") + row["excess"]
    return sum(max(0, lease["started"] - told[lease["fence"]]) for lease in leases)


def row_of(tally: Tally, possibly_repeated: int) -> Row:
    """The sums of a row."""
    beside = {name: getattr(tally, name) for name in _BESIDE}
    return share_of(tally) | beside | {"possibly_repeated": possibly_repeated}


def recorded_rows(
    counts: Mapping[tuple[str, str], Tally], providers: Mapping[str, str], repeated: Mapping[str, int]
) -> list[Row]:
    """The rows of an ended batch by provider; what is 0 is left out. Lines nobody was asked for have provider ''.

    Args:
        counts: the tallies of its results by shard and model.
        providers: whose each shard is.
        repeated: its possibly repeated calls by provider.
    """
    found: dict[str, list[Tally]] = {provider: [] for provider, calls in repeated.items() if calls}
    for (shard_id, _), tally in counts.items():
        found.setdefault(providers.get(shard_id, ""), []).append(tally)
    rows = {name: row_of(total(tallies), repeated.get(name, 0)) for name, tallies in sorted(found.items())}
    return [
        {"provider": name} | {what: value for what, value in row.items() if value}
        for name, row in rows.items()
    ]


def added(rows: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    """Rows in one for each provider; what a row lacks is 0 there.

    Money is the same in whatever order and groups it was added: a floating-point sum differs in its last digits by
    them, and Prometheus, asking now this and now that API process, would take the lower one for a counter that began
    anew.
    """
    out: dict[str, Row] = {}
    for row in rows:
        sums = out.setdefault(row["provider"], dict.fromkeys(SUMS, 0))
        for name in SUMS:
            sums[name] += row.get(name, 0)
    for sums in out.values():
        for name in _MONEY:
            sums[name] = round(sums[name], _MONEY_DIGITS)
    return out


def never_less(before: Mapping[str, Row], now: Mapping[str, Row]) -> dict[str, Row]:
    """The later of two sums, nowhere below the earlier one: what is lower is a counter that began anew."""
    out = {provider: dict(row) for provider, row in now.items()}
    for provider, row in before.items():
        later = out.setdefault(provider, dict.fromkeys(SUMS, 0))
        for name in SUMS:
            later[name] = max(later[name], row[name])
    return out
