"""The calls about what a batch has left behind: its items, its failures, its retries, one file of them all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from app.client import models
from app.client.calls import HttpCall
from app.client.models import BatchInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequest:
    """Which items of a batch to try again, and how.

    Attributes:
        only: `filter` of POST /v1/batches/{id}/retry: codes, status_codes, never_ran, custom_ids, lines.
        options: our options of a batch (model, cache, max_cost_usd, ...); what is left out is as in the parent.
        idempotency_key: the same key with the same request is the same retry.
    """

    only: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    completion_window: str | None = None
    metadata: Mapping[str, str] | None = None
    idempotency_key: str | None = None


def retry(batch_id: str, request: RetryRequest) -> HttpCall[BatchInfo]:
    """POST /v1/batches/{id}/retry; repeatable, since its key finds the retry that a lost reply was about."""
    said: dict[str, Any] = {
        "filter": dict(request.only),
        "batchwright": dict(request.options),
        "completion_window": request.completion_window,
        "metadata": None if request.metadata is None else dict(request.metadata),
    }
    key = request.idempotency_key
    return HttpCall(
        "POST",
        _path(batch_id, "retry"),
        models.batch_from,
        json={name: value for name, value in said.items() if value},
        headers={"idempotency-key": key} if key else {},
        repeatable=key is not None,
    )


def failures(batch_id: str, *, merge: bool) -> HttpCall[Mapping[str, Any]]:
    """GET /v1/batches/{id}/errors; `merge`: of the batch and its retries, what none of them has made good."""
    params = {"merge": "true"} if merge else {}
    return HttpCall("GET", _path(batch_id, "errors"), lambda data: data, params=params)


def items(
    batch_id: str,
    *,
    status: str | None = None,
    code: str | None = None,
    custom_id: str | None = None,
    cursor: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> HttpCall[Mapping[str, Any]]:
    """GET /v1/batches/{id}/items; `cursor` is an earlier page's `next_cursor`."""
    given = {
        "status": status,
        "code": code,
        "custom_id": custom_id,
        "cursor": cursor,
        "after": str(after) if after else None,
        "limit": str(limit),
    }
    params = {name: word for name, word in given.items() if word is not None}
    return HttpCall("GET", _path(batch_id, "items"), lambda data: data, params=params)


def item(batch_id: str, line: int) -> HttpCall[Mapping[str, Any]]:
    """GET /v1/batches/{id}/items/{line}: with its request and its result."""
    return HttpCall("GET", _path(batch_id, f"items/{line}"), lambda data: data)


def output_path(batch_id: str, which: str, *, partial: bool = False, merge: bool = False) -> str:
    """Where the lines of a batch are (`which`: output or error); `merge`: of it and its retries as one.

    `partial`: those there are so far; without it the server refuses before the end.
    """
    flags = f"{'partial=true&' if partial else ''}{'merge=true&' if merge else ''}"
    return _path(batch_id, f"output?{flags}which={which}")


def _path(batch_id: str, rest: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}/{rest}"
