"""The tables of `cost`: what the last days took, or what one batch did, by provider and model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.session import named_server
from app.client import calls

_SUMS = ("calls", "not called", "tokens in", "tokens out", "cost", "saved")
_SPARE = ("tokens in", "tokens out", "not called")
_FIRST = {"day": ("day", "provider"), "provider": ("provider",), "model": ("model", "provider")}


def of_days(*, days: int, by: str, as_json: bool) -> int:
    """What the batches of the last days took."""
    with named_server(load()) as client:
        found = client.call(calls.costs(days, by))
    if as_json:
        report.print_json(found)
        return 0
    names = _FIRST[by]
    rows = [
        (*(str(row[name] or "unknown") for name in names), words.count(row["batches"]), *_sums(row))
        for row in found["data"]
    ]
    if rows:
        report.print_table((*names, "batches", *_SUMS), rows, right=("batches", *_SUMS), spare=_SPARE)
    print(f"{_sum_words(found, found['data'])} in {words.things(days, 'day')}")
    return 0


def of_batch(batch_id: str, *, as_json: bool) -> int:
    """What one batch took until now."""
    with named_server(load()) as client:
        found = client.call(calls.batch_costs(batch_id))
    if as_json:
        report.print_json(found)
        return 0
    names = ("model", "provider", "items")
    rows = [
        (str(row["model"] or "unknown"), str(row["provider"]), words.count(row["items"]), *_sums(row))
        for row in found["data"]
    ]
    if rows:
        report.print_table((*names, *_SUMS), rows, right=("items", *_SUMS), spare=_SPARE)
    if not found["final"]:
        print(
            f"{batch_id} is {found['status'].replace('_', ' ')}: this is what it has cost so far",
            file=sys.stderr,
        )
    print(f"{_sum_words(found, found['data'])} in all")
    return 0


def _sums(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        words.count(row["calls"]),
        words.count(row["cached"] + row["coalesced"]),
        words.short(row["input_tokens"]),
        words.short(row["output_tokens"]),
        words.money(row["cost_usd"]),
        words.money(row["saved_usd"]),
    )


def _sum_words(total: Mapping[str, Any], rows: list[Mapping[str, Any]]) -> str:
    said = words.money(total["cost_usd"])
    if total["cost_usd"] is None:
        known_usd = sum(row["cost_usd"] or 0.0 for row in rows)
        said = f"at least {words.money(known_usd)}, some prices are unknown,"
    saved = "" if total["saved_usd"] == 0 else f", {words.money(total['saved_usd'])} saved"
    return f"{said}{saved}"
