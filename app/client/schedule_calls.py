"""Calls about schedules, as data. Pure. Replies stay mappings: they are shown, and a newer server may say more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from app.client.calls import BatchRequest, HttpCall, create_batch

Reply = Mapping[str, Any]
_SCHEDULES = "/v1/schedules"


def create_schedule(
    batch: BatchRequest,
    *,
    kind: str = "batch",
    name: str | None = None,
    cron: str | None = None,
    timezone: str | None = None,
    every_s: int | None = None,
    missed: str | None = None,
) -> HttpCall[Reply]:
    """POST /v1/schedules; either `cron` or `every_s`. Not repeated after a lost reply: there would be two."""
    given = {"name": name, "cron": cron, "timezone": timezone, "every_s": every_s, "missed": missed}
    body: dict[str, Any] = {"kind": kind, "batch": create_batch(batch).json}
    body |= {name: value for name, value in given.items() if value is not None}
    return HttpCall("POST", _SCHEDULES, _as_it_is, json=body, repeatable=False)


def list_schedules(*, kind: str | None = None, after: str | None = None, limit: int = 100) -> HttpCall[Reply]:
    """GET /v1/schedules, newest first."""
    given = {"kind": kind, "after": after, "limit": str(limit)}
    params = {name: word for name, word in given.items() if word is not None}
    return HttpCall("GET", _SCHEDULES, _as_it_is, params=params)


def get_schedule(schedule_id: str) -> HttpCall[Reply]:
    """GET /v1/schedules/{id}."""
    return HttpCall("GET", _schedule(schedule_id), _as_it_is)


def change_schedule(schedule_id: str, changes: Mapping[str, Any]) -> HttpCall[Reply]:
    """PATCH /v1/schedules/{id}; what is left out stays."""
    return HttpCall("PATCH", _schedule(schedule_id), _as_it_is, json=changes)


def remove_schedule(schedule_id: str) -> HttpCall[Reply]:
    """DELETE /v1/schedules/{id}."""
    return HttpCall("DELETE", _schedule(schedule_id), _as_it_is, repeatable=False)


def list_runs(schedule_id: str, *, after: str | None = None, limit: int = 20) -> HttpCall[Reply]:
    """GET /v1/schedules/{id}/runs, the latest due first."""
    params = {"limit": str(limit)} | ({"after": after} if after else {})
    return HttpCall("GET", f"{_schedule(schedule_id)}/runs", _as_it_is, params=params)


def run_schedule(schedule_id: str, idempotency_key: str) -> HttpCall[Reply]:
    """POST /v1/schedules/{id}/run; the same key is the same run."""
    headers = {"idempotency-key": idempotency_key}
    return HttpCall("POST", f"{_schedule(schedule_id)}/run", _as_it_is, headers=headers)


def _as_it_is(data: Reply) -> Reply:
    return data


def _schedule(schedule_id: str) -> str:
    return f"{_SCHEDULES}/{quote(schedule_id, safe='')}"
