"""What `batchwright retry` and `batchwright errors` do."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from app.cli import batch_verbs, report, summary, words
from app.cli.batch_verbs import load
from app.cli.errors import CliError
from app.cli.session import named_server
from app.client import after_calls
from app.client.after_calls import RetryRequest

_RANGE = re.compile(r"([1-9][0-9]{0,8})(?:-([1-9][0-9]{0,8}))?")
_COLUMNS = ("kind", "items", "lines", "retry", "message")


def ranges(texts: Iterable[str]) -> list[list[int]]:
    """`7` and `7-12` as [from, to]. Raises CliError for anything else."""
    found = []
    for text in texts:
        match = _RANGE.fullmatch(text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise CliError(f"--lines takes a line or a range, got {text!r}", hint="such as 7 or 7-12")
        found.append([first, last])
    return found


def retry(
    batch_id: str,
    *,
    only: Mapping[str, Any],
    options: Mapping[str, Any],
    window: str | None,
    watch: bool,
    as_json: bool,
) -> int:
    """Make a retry, and stay with it if asked to."""
    request = RetryRequest(
        only={name: value for name, value in only.items() if value},
        options={name: value for name, value in options.items() if value is not None},
        completion_window=window,
        idempotency_key=secrets.token_hex(16),
    )
    with named_server(load()) as client:
        child = client.call(after_calls.retry(batch_id, request))
    if watch:
        print(f"{child.id} retries {batch_id}", file=sys.stderr)
        return batch_verbs.watch(child.id, as_json=as_json)
    if as_json:
        report.print_json({**summary.batch_line(child), "parent_id": child.parent_id})
        return 0
    print(child.id)
    print(f"`batchwright watch {child.id}` shows how it goes; then", file=sys.stderr)
    print(f"`batchwright download {batch_id} --merge` brings the answers of all", file=sys.stderr)
    return 0


def errors(batch_id: str, *, merge: bool, as_json: bool) -> int:
    """Show the kinds of failures, and what helps."""
    with named_server(load()) as client:
        found = client.call(after_calls.failures(batch_id, merge=merge))
    kinds = found["data"]
    if as_json:
        report.print_json(found)
        return 0
    if not kinds:
        print("no item has failed", file=sys.stderr)
        return 0
    report.print_table(_COLUMNS, [_cells(kind) for kind in kinds], right=("items",))
    for hint in dict.fromkeys(f"{kind['code']}: {kind['hint']}" for kind in kinds):
        print(words.one_line(hint))
    if any(kind["retryable"] for kind in kinds):
        print(f"`batchwright retry {batch_id}` tries them again", file=sys.stderr)
    return 0


def _cells(kind: Mapping[str, Any]) -> tuple[str, ...]:
    lines = [str(sample["line"]) for sample in kind["samples"]]
    more = ", ..." if kind["count"] > len(lines) else ""
    return (
        words.one_line(kind["code"], 40),
        words.count(kind["count"]),
        ", ".join(lines) + more,
        "may help" if kind["retryable"] else "after a change",
        words.one_line(kind["message"], 100),
    )
