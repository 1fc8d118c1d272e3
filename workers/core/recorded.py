"""What all batches together have done and cost, by provider: the figures that must be right after any kill. Pure.

The finalizer keeps a batch's rows in the ledger; store/recorded_totals.py sums them with what running batches have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from workers.core.savings import SHARE_SUMS, share_of
from workers.core.tally import Tally, total

Row = dict[str, Any]
_BESIDE: Final = ("never_ran", "excess", "asks_again", "reasoning_tokens", "cache_write_tokens")
# What a row sums: all as in Tally, but that `items` are those with a result, and `possibly_repeated` are calls of
# workers that were lost in flight.
SUMS: Final = (*SHARE_SUMS, *_BESIDE, "possibly_repeated")


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
    """Rows in one for each provider; what a row lacks is 0 there."""
    out: dict[str, Row] = {}
    for row in rows:
        sums = out.setdefault(row["provider"], dict.fromkeys(SUMS, 0))
        for name in SUMS:
            sums[name] += row.get(name, 0)
    return out


def never_less(before: Mapping[str, Row], now: Mapping[str, Row]) -> dict[str, Row]:
    """The later of two sums, nowhere below the earlier one.

    A sum of money made of the same amounts in another order may differ in its last digit, and Prometheus would take
    what is lower by whatever little for a counter that began anew.
    """
    out = {provider: dict(row) for provider, row in now.items()}
    for provider, row in before.items():
        later = out.setdefault(provider, dict.fromkeys(SUMS, 0))
        for name in SUMS:
            later[name] = max(later[name], row[name])
    return out
