"""Every call of the API as data, so that the blocking and the concurrent client cannot drift apart. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import orjson

from app.client import models
from app.client.models import BatchInfo, FileInfo, Page, Waiting

T = TypeVar("T")

# A lost connection says nothing about the work done, so only what may be done twice is asked again.
RETRY_DELAYS_S = (0.2, 0.5, 1.0, 2.0)
POLL_FIRST_S = 0.1
POLL_LAST_S = 2.0


@dataclass(frozen=True, slots=True)
class HttpCall(Generic[T]):
    """One call and how its reply is read; `repeatable`: a second one changes nothing."""

    method: str
    path: str
    read: Callable[[Mapping[str, Any]], T]
    params: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True

    @property
    def content(self) -> bytes | None:
        """The request's body."""
        return None if self.json is None else orjson.dumps(self.json)

    @property
    def all_headers(self) -> dict[str, str]:
        """The request's own headers."""
        return {**self.headers, **({"content-type": "application/json"} if self.json is not None else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """What a batch is made from.

    Attributes:
        model: answers every line, whatever model the line names.
        cache: False asks every line anew and keeps none of the answers.
        warm: nobody waits: answers are kept as warmed ones, which are renewed before they expire.
        max_cost_usd: the ceiling for its calls; at it the batch rests until it is resumed with a higher one.
        order: "input" asks for the output in input order, which is how it comes anyhow.
        run_key: what makes two runs the same work; found again by `list_batches`.
        idempotency_key: the same key with the same request is the same batch.
    """

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    model: str | None = None
    cache: bool = True
    warm: bool = False
    max_cost_usd: float | None = None
    order: str | None = None
    run_key: str | None = None
    metadata: Mapping[str, str] | None = None
    idempotency_key: str | None = None


def create_batch(request: BatchRequest) -> HttpCall[BatchInfo]:
    """POST /v1/batches; repeatable, since its key finds the batch that a lost reply was about."""
    ours: dict[str, Any] = {}
    if request.model is not None:
        ours["model"] = request.model
    if request.warm or not request.cache:
        ours["cache"] = "warm" if request.warm else "off"
    if request.max_cost_usd is not None:
        ours["max_cost_usd"] = request.max_cost_usd
    if request.order is not None:
        ours["order"] = request.order
    if request.run_key is not None:
        ours["run_key"] = request.run_key
    body: dict[str, Any] = {
        "input_file_id": request.input_file_id,
        "endpoint": request.endpoint,
        "completion_window": request.completion_window,
    }
    if request.metadata is not None:
        body["metadata"] = dict(request.metadata)
    if ours:
        body["batchwright"] = ours
    key = request.idempotency_key
    headers = {"idempotency-key": key} if key else {}
    return HttpCall(
        "POST", "/v1/batches", models.batch_from, json=body, headers=headers, repeatable=key is not None
    )


def get_batch(batch_id: str) -> HttpCall[BatchInfo]:
    """GET /v1/batches/{id}."""
    return HttpCall("GET", f"/v1/batches/{quote(batch_id, safe='')}", models.batch_from)


def list_batches(*, limit: int, after: str | None, run_key: str | None) -> HttpCall[Page]:
    """GET /v1/batches, newest first."""
    params = {"limit": str(limit)}
    if after:
        params["after"] = after
    if run_key:
        params["run_key"] = run_key
    return HttpCall("GET", "/v1/batches", models.page_from, params=params)


def change_batch(batch_id: str, verb: str) -> HttpCall[BatchInfo]:
    """POST /v1/batches/{id}/{cancel, pause}."""
    return HttpCall("POST", f"/v1/batches/{quote(batch_id, safe='')}/{verb}", models.batch_from, json={})


def set_paused(
    kind: Literal["provider", "tenant"], name: str, *, paused: bool
) -> HttpCall[Mapping[str, Any]]:
    """POST /v1/{providers, tenants}/{name}/{pause, resume}."""
    path = f"/v1/{kind}s/{quote(name, safe='')}/{'pause' if paused else 'resume'}"
    return HttpCall("POST", path, lambda data: data, json={})


def resume_batch(batch_id: str, max_cost_usd: float | None) -> HttpCall[BatchInfo]:
    """POST /v1/batches/{id}/resume, with a new ceiling if one is given."""
    body = {} if max_cost_usd is None else {"batchwright": {"max_cost_usd": max_cost_usd}}
    return HttpCall("POST", f"/v1/batches/{quote(batch_id, safe='')}/resume", models.batch_from, json=body)


def why(batch_id: str) -> HttpCall[tuple[Waiting, ...]]:
    """GET /v1/batches/{id}/why."""
    return HttpCall("GET", f"/v1/batches/{quote(batch_id, safe='')}/why", models.waiting_from)


def cached(
    endpoint: str, requests: Sequence[Mapping[str, Any]], model: str | None
) -> HttpCall[tuple[bool, ...]]:
    """POST /v1/cache/lookup; not asked twice: who wants to know what is saved does not wait long for it."""
    body: dict[str, Any] = {"endpoint": endpoint, "requests": list(requests)}
    if model is not None:
        body["model"] = model
    return HttpCall(
        "POST",
        "/v1/cache/lookup",
        lambda data: tuple(bool(each) for each in data["data"]),
        json=body,
        repeatable=False,
    )


def cache_stats() -> HttpCall[Mapping[str, Any]]:
    """GET /v1/cache."""
    return HttpCall("GET", "/v1/cache", lambda data: data)


def clear_cache(prefix: str | None, tenant: str | None) -> HttpCall[Mapping[str, Any]]:
    """DELETE /v1/cache; a second one would only say that nothing was left, so a lost reply is not asked for again."""
    given = {"prefix": prefix, "tenant": tenant}
    params = {name: word for name, word in given.items() if word is not None}
    return HttpCall("DELETE", "/v1/cache", lambda data: data, params=params, repeatable=False)


def costs(days: int, by: str = "day") -> HttpCall[Mapping[str, Any]]:
    """GET /v1/costs, by day, provider or model."""
    return HttpCall("GET", "/v1/costs", lambda data: data, params={"days": str(days), "by": by})


def batch_costs(batch_id: str) -> HttpCall[Mapping[str, Any]]:
    """GET /v1/batches/{id}/costs."""
    return HttpCall("GET", f"/v1/batches/{quote(batch_id, safe='')}/costs", lambda data: data)


def get_file(file_id: str) -> HttpCall[FileInfo]:
    """GET /v1/files/{id}."""
    return HttpCall("GET", f"/v1/files/{quote(file_id, safe='')}", models.file_from)


def file_content_path(file_id: str) -> str:
    """Where the bytes of a file are."""
    return f"/v1/files/{quote(file_id, safe='')}/content"


def poll_delay_s(waited_s: float) -> float:
    """How long to wait before looking again: soon for what may be short, seldom for what is long."""
    return min(POLL_LAST_S, max(POLL_FIRST_S, waited_s / 20))
