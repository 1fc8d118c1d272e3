"""What was spent and saved, by provider and model: from tallies to the rows of the ledger and of replies. Pure.

The finalizer keeps `shares` in the ledger; the API shows them, and sums them by day, provider or model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from workers.core.tally import Tally, total

By = Literal["day", "provider", "model"]
Row = dict[str, Any]
# What a row sums; `failed` and all else as in Tally, `items` are those with a result.
SHARE_SUMS = (
    "items",
    "calls",
    "cached",
    "coalesced",
    "failed",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost_usd",
    "unpriced",
    "saved_usd",
    "saved_unpriced",
)
# Which names of a row a grouping keeps. By day a row is of one provider, as it was before there were others.
_KEPT: dict[By, tuple[str, ...]] = {
    "day": ("day", "provider"),
    "provider": ("provider",),
    "model": ("provider", "model"),
}


def shares(counts: Mapping[tuple[str, str], Tally], providers: Mapping[str, str]) -> list[Row]:
    """A row for each provider and model of a batch, in their order.

    Args:
        counts: the tallies of its results by shard and model.
        providers: whose each shard is. What nobody was asked for (lines that were refused) has none, and no row.
    """
    found: dict[tuple[str, str], list[Tally]] = {}
    for (shard_id, model), tally in counts.items():
        provider = providers.get(shard_id, "")
        if provider and (tally.recorded > tally.never_ran or tally.calls):
            found.setdefault((provider, model), []).append(tally)
    rows: list[Row] = []
    for (provider, model), tallies in sorted(found.items()):
        first = not rows or rows[-1]["provider"] != provider
        names = {"provider": provider, "model": model, "first": int(first)}
        rows.append(names | share_of(total(tallies)))
    return rows


def share_of(tally: Tally) -> Row:
    """The sums of a row."""
    known = {name: getattr(tally, name) for name in SHARE_SUMS if name != "items"}
    return {"items": tally.recorded - tally.never_ran} | known


def summed(rows: Iterable[Mapping[str, Any]], by: By) -> list[Row]:
    """Rows with equal names in one, by those names; an unknown price makes its sum null.

    Args:
        rows: each with day, provider, model, batches, first (batches of which it is their provider's first row) and
            SHARE_SUMS.
    """
    groups: dict[tuple[str, ...], Row] = {}
    for row in rows:
        names = {name: row[name] for name in _KEPT[by]}
        key = tuple(str(name or "") for name in names.values())
        group = groups.setdefault(key, names | dict.fromkeys(("batches", *SHARE_SUMS), 0))
        # A batch with two models of a provider is one batch of that provider.
        group["batches"] += row["batches" if by == "model" else "first"]
        for name in SHARE_SUMS:
            group[name] += row[name]
    return [shown(groups[key]) for key in sorted(groups)]


def shown(row: Mapping[str, Any]) -> Row:
    """A row as a reply carries it: money is null where an answer in it has no known price."""
    hidden = ("first", "unpriced", "saved_unpriced")
    out = {name: value for name, value in row.items() if name not in hidden}
    out["cost_usd"] = None if row["unpriced"] else round(row["cost_usd"], 6)
    out["saved_usd"] = None if row["saved_unpriced"] else round(row["saved_usd"], 6)
    if "model" in out:
        out["model"] = out["model"] or None
    return out


def totals(rows: Iterable[Mapping[str, Any]]) -> Row:
    """All rows in one."""
    found = list(rows)
    return shown({name: sum(row[name] for row in found) for name in SHARE_SUMS})
