"""`batchwright items`: what each request of a batch took, what it went through on the way, and what it waits for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.session import named_server
from app.client import after_calls

_COLUMNS = ("line", "custom_id", "state", "provider", "calls", "waited", "cost", "what happened")
_PENDING = ("line", "state", "provider", "calls", "waited", "what happened")
_THEN = {"hand_over": ", handed over", "give_up": ", given up"}
_WAITED_FOR = {
    "limit": "the rate limit",
    "paused": "its provider's rest",
    "model_paused": "its model's rest",
    "concurrency": "a place at its provider",
    "tenant_requests": "its tenant's requests a minute",
    "tenant_tokens": "its tenant's tokens a minute",
    "tenant_concurrency": "a place among its tenant's calls",
    "breaker": "the breaker",
    "budget": "the money ceiling",
    "redis": "Redis",
}
_SHOWN_FROM_S = 0.05  # what would read as 0.0 s


@dataclass(frozen=True, slots=True)
class Shown:
    """Which items, as app/client/after_calls.py `items` takes them."""

    status: str | None = None
    code: str | None = None
    custom_id: str | None = None
    cursor: str | None = None
    after: int = 0
    limit: int = 100


def items(batch_id: str, shown: Shown, *, as_json: bool) -> int:
    """Show one page of items, by line."""
    with named_server(load()) as client:
        page = client.call(after_calls.items(batch_id, **asdict(shown)))
    rows = page["data"]
    if as_json:
        report.print_json(rows)
    elif rows and shown.status == "pending":
        report.print_table(_PENDING, [_waiting(row) for row in rows], right=("line", "calls", "waited"))
    elif rows:
        report.print_table(_COLUMNS, [_cells(row) for row in rows], right=("line", "calls", "waited", "cost"))
    else:
        print("no items", file=sys.stderr)
    if page["has_more"]:
        print(f"more with --cursor {page['next_cursor']}", file=sys.stderr)
    return 0


def item(batch_id: str, line: int, *, as_json: bool) -> int:
    """Show one item with its request and its result."""
    with named_server(load()) as client:
        found = client.call(after_calls.item(batch_id, line))
    if as_json:
        report.print_json(found)
        return 0
    pending = found["status"] == "pending"
    names, cells = (_PENDING, _waiting(found)) if pending else (_COLUMNS, _cells(found))
    rows = [(name, cell) for name, cell in zip(names, cells, strict=True) if cell]
    rows += [(name, words.json_line(found[name])) for name in ("request", "result") if found[name]]
    report.print_fields(rows)
    return 0


def _waiting(item: Mapping[str, Any]) -> tuple[str, ...]:
    reason = item["reason"]
    return (
        str(item["line"]),
        f"{item['state']}, for {_WAITED_FOR.get(reason, reason)}" if reason else item["state"],
        item["provider"] or "",
        words.count(item["calls"]),
        _waited(item),
        _tries(item),
    )


def _waited(item: Mapping[str, Any]) -> str:
    return words.duration(sum(item["waited_s"].values())) if item["waited_s"] else ""


def _cells(item: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(item["line"]),
        words.one_line(item["custom_id"] or "", 40),
        item["status"] if item["status_code"] in (None, 200) else f"{item['status']} ({item['status_code']})",
        item["provider"] or "",
        words.count(item["calls"]),
        _waited(item),
        words.money(item["cost_usd"]),
        what_happened(item),
    )


def what_happened(item: Mapping[str, Any]) -> str:
    """Its failed tries, those alike as one, and for what else it waited: `acme: 3 timeout, handed over`."""
    error = item["error"]
    said = [part for part in (_tries(item), error["code"] if error and not item["attempts"] else "") if part]
    return words.one_line("; ".join(said))


def _tries(item: Mapping[str, Any]) -> str:
    said = []
    for (provider, code), alike in groupby(item["attempts"], key=lambda one: (one["provider"], one["code"])):
        tries = list(alike)
        said.append(f"{provider}: {len(tries)} {code}{_THEN.get(tries[-1]['then'], '')}")
    said += [
        f"{words.duration(seconds)} for {_WAITED_FOR.get(reason, reason)}"
        for reason, seconds in item["waited_s"].items()
        if reason != "retry" and seconds >= _SHOWN_FROM_S
    ]
    return "; ".join(said)
