"""The API's objects as frozen dataclasses. Pure: JSON in, values out; unknown fields are kept in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a batch's input was refused; `line` counts from 1, None means the whole file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """What only Batchwright tells of a batch (the key `batchwright` of its object).

    Attributes:
        recorded: items with their one result, whatever it is.
        excess_calls: calls that may have repeated one whose outcome was lost: an upper bound.
        cost_usd: None when the price of any answer is unknown.
        asked_again: answers that did not match their schema and were asked for anew.
        saved_usd: what cached and coalesced answers would have cost; None when the price of any is unknown.
        pause_reason: `user`, `budget` at the ceiling of `max_cost_usd`, or `tenant_budget` at the one of the tenant's
            month; None while it is not paused.
        lost_usd: what calls may have cost whose worker was lost with them; it counts towards the ceiling.
        by_provider: what each provider did and took, as the API says it.
        simulated: at least one answer comes from the simulator.
        handed_over: items given to another provider because theirs failed, each time they were.
    """

    total: int = 0
    recorded: int = 0
    cached: int = 0
    coalesced: int = 0
    calls: int = 0
    excess_calls: int = 0
    repeats: int = 0
    never_ran: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    ending: str | None = None
    paused: bool = False
    simulated: bool = False
    asked_again: int = 0
    pause_reason: str | None = None
    max_cost_usd: float | None = None
    lost_usd: float = 0.0
    saved_usd: float | None = 0.0
    by_provider: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    handed_over: int = 0


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """One batch as the API shows it; a retry has a parent, and what was retried has children (ids)."""

    id: str
    status: str
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    total: int
    completed: int
    failed: int
    created_at: int
    model: str | None
    problems: tuple[Problem, ...]
    stats: Stats
    parent_id: str | None
    children: tuple[str, ...]
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.status in TERMINAL

    @property
    def at_ceiling(self) -> bool:
        """Whether it rests because the next calls would cost more than `max_cost_usd` or its tenant's month allows."""
        return self.at_tenants_ceiling or (self.stats.paused and self.stats.pause_reason == "budget")

    @property
    def at_tenants_ceiling(self) -> bool:
        """Whether that is the tenant's month: then it goes on by itself when the month turns."""
        return self.stats.paused and self.stats.pause_reason == "tenant_budget"

    @property
    def done(self) -> int:
        """Items that ran and have their result."""
        return max(self.stats.recorded - self.stats.never_ran, self.completed + self.failed)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file as the API shows it."""

    id: str
    filename: str
    bytes: int
    purpose: str
    created_at: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One reason why a batch does not move, in words: `text`. `since` and `until`: Unix seconds where known."""

    kind: str
    text: str
    provider: str | None = None
    shards: int = 0
    until: float | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of batches, newest first."""

    batches: tuple[BatchInfo, ...]
    has_more: bool


def batch_from(data: Mapping[str, Any]) -> BatchInfo:
    """Read a batch object. Raises KeyError, TypeError or ValueError for what is none."""
    counts = data.get("request_counts") or {}
    errors = data.get("errors") or {}
    ours = data.get("batchwright") or {}
    return BatchInfo(
        id=str(data["id"]),
        status=str(data["status"]),
        endpoint=str(data["endpoint"]),
        input_file_id=str(data["input_file_id"]),
        output_file_id=data.get("output_file_id"),
        error_file_id=data.get("error_file_id"),
        total=int(counts.get("total", 0)),
        completed=int(counts.get("completed", 0)),
        failed=int(counts.get("failed", 0)),
        created_at=int(data["created_at"]),
        model=data.get("model"),
        problems=tuple(_problem_from(each) for each in errors.get("data") or ()),
        stats=_stats_from(ours, data.get("usage") or {}),
        parent_id=ours.get("parent_id"),
        children=tuple(ours.get("children") or ()),
        raw=data,
    )


def _stats_from(ours: Mapping[str, Any], usage: Mapping[str, Any]) -> Stats:
    cost, saved = ours.get("cost_usd", 0.0), ours.get("saved_usd", 0.0)
    return Stats(
        total=int(ours.get("total") or 0),
        recorded=int(ours.get("recorded") or 0),
        cached=int(ours.get("cached") or 0),
        coalesced=int(ours.get("coalesced") or 0),
        calls=int(ours.get("calls") or 0),
        excess_calls=int(ours.get("excess_calls") or 0),
        repeats=int(ours.get("repeats") or 0),
        never_ran=int(ours.get("never_ran") or 0),
        input_tokens=int(ours.get("input_tokens", usage.get("input_tokens")) or 0),
        output_tokens=int(ours.get("output_tokens", usage.get("output_tokens")) or 0),
        cost_usd=None if cost is None else float(cost),
        ending=ours.get("ending"),
        paused=bool(ours.get("paused")),
        simulated=bool(ours.get("simulated")),
        asked_again=int(ours.get("asked_again") or 0),
        pause_reason=ours.get("pause_reason"),
        max_cost_usd=ours.get("max_cost_usd"),
        lost_usd=float(ours.get("lost_usd") or 0.0),
        saved_usd=None if saved is None else float(saved),
        by_provider=ours.get("by_provider") or {},
        handed_over=int(ours.get("handed_over") or 0),
    )


def _problem_from(data: Mapping[str, Any]) -> Problem:
    return Problem(str(data.get("code")), str(data.get("message")), data.get("param"), data.get("line"))


def file_from(data: Mapping[str, Any]) -> FileInfo:
    """Read a file object. Raises KeyError, TypeError or ValueError for what is none."""
    return FileInfo(
        id=str(data["id"]),
        filename=str(data["filename"]),
        bytes=int(data["bytes"]),
        purpose=str(data["purpose"]),
        created_at=int(data["created_at"]),
        raw=data,
    )


def waiting_from(data: Mapping[str, Any]) -> tuple[Waiting, ...]:
    """Read the reply of GET /v1/batches/{id}/why."""
    return tuple(
        Waiting(
            kind=str(each.get("kind")),
            text=str(each.get("text") or each.get("kind")),
            provider=each.get("provider"),
            shards=int(each.get("shards") or 0),
            until=each.get("until"),
            since=each.get("since"),
        )
        for each in data["waiting_for"]
    )


def page_from(data: Mapping[str, Any]) -> Page:
    """Read a list of batches."""
    return Page(tuple(batch_from(each) for each in data["data"]), bool(data.get("has_more")))
