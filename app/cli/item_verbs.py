"""`batchwright items`: what each recorded request of a batch took, and what it went through on the way."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.session import named_server

_COLUMNS = ("line", "custom_id", "state", "provider", "calls", "waited", "cost", "what happened")
_THEN = {"hand_over": ", handed over", "give_up": ", given up"}
_WAITED_FOR = {
    "limit": "the rate limit",
    "paused": "its provider's rest",
    "model_paused": "its model's rest",
    "concurrency": "a place at its provider",
    "breaker": "the breaker",
    "budget": "the money ceiling",
    "redis": "Redis",
}
_SHOWN_FROM_S = 0.05  # what would read as 0.0 s


def items(batch_id: str, *, failed: bool, limit: int, after: int, as_json: bool) -> int:
    """Show one page of items, by line."""
    with named_server(load()) as client:
        page = client.items(batch_id, status="failed" if failed else None, after=after, limit=limit)
    rows = page["data"]
    if as_json:
        report.print_json(rows)
    elif rows:
        report.print_table(_COLUMNS, [_cells(row) for row in rows], right=("line", "calls", "waited", "cost"))
    else:
        print("no items", file=sys.stderr)
    if page["has_more"]:
        print(f"more with --after {rows[-1]['line']}", file=sys.stderr)
    return 0


def _cells(item: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(item["line"]),
        words.one_line(item["custom_id"] or "", 40),
        item["status"] if item["status_code"] in (None, 200) else f"{item['status']} ({item['status_code']})",
        item["provider"] or "",
        words.count(item["calls"]),
        words.duration(sum(item["waited_s"].values())) if item["waited_s"] else "",
        words.money(item["cost_usd"]),
        what_happened(item),
    )


def what_happened(item: Mapping[str, Any]) -> str:
    """Its failed tries, those alike as one, and for what else it waited: `acme: 3 timeout, handed over`."""
    said = []
    for (provider, code), alike in groupby(item["attempts"], key=lambda one: (one["provider"], one["code"])):
        tries = list(alike)
        said.append(f"{provider}: {len(tries)} {code}{_THEN.get(tries[-1]['then'], '')}")
    said += [
        f"{words.duration(seconds)} for {_WAITED_FOR.get(reason, reason)}"
        for reason, seconds in item["waited_s"].items()
        if reason != "retry" and seconds >= _SHOWN_FROM_S
    ]
    error = item["error"]
    if error and not item["attempts"]:
        said.append(error["code"])
    return words.one_line("; ".join(said))
