"""Calls by which one tenant could learn of another: every route, with the other's ids wherever an id may stand.

What names an object is in tables here. A path, a query parameter or a field of a body that no table knows is an error
that names it: whoever adds one says whether it names something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.api.spec import BODIES
from tests.support.estates import Estate, Ground, create_body, lookup_body
from tests.support.every_route import SOCKET, Route, every_route, fields_of
from workers.store.mongo import Doc

# Segments of paths behind which stands something that is nobody's, and an example of it.
NOBODYS = {"items": "1", "providers": "sim", "docs": "swagger-ui.css"}
# Query parameters by what they name; `after` names a member of the list that it narrows.
QUERY: Mapping[str, str | None] = {
    "run_key": "run_keys",
    "tenant": "tenants",
    "event": "events",
    "custom_id": "custom_ids",
    **dict.fromkeys(("limit", "order", "purpose", "partial", "which", "merge", "status", "code", "cursor")),
    **dict.fromkeys(("last_event_id", "follow", "days", "by", "prefix", "window", "state", "kind")),
}
# Fields of bodies that name something, and what; all others are the words of whoever sends them.
FIELDS = {
    "CreateBatch.input_file_id": "files",
    "CreateBatch.idempotency_key": "idempotency_keys",
    "CreateBatch.batchwright.run_key": "run_keys",
    "RetryBatch.idempotency_key": "idempotency_keys",
    "RetryBatch.batchwright.run_key": "run_keys",
    "RetryBatch.filter.custom_ids": "custom_ids",
    "CreateKey.tenant": "tenants",
    "CreateTenant.id": "tenants",
    "CreateSchedule.batch.input_file_id": "files",
    "CreateSchedule.batch.batchwright.run_key": "run_keys",
}
_WORDS = {
    *("endpoint", "completion_window", "metadata", "anchor", "seconds", "model", "cache", "order"),
    *(
        "invalid_lines",
        "priority",
        "max_cost_usd",
        "url",
        "secret",
        "events",
        "enabled",
        "grace_s",
        "requests",
    ),
    *(
        "codes",
        "status_codes",
        "never_ran",
        "lines",
        "name",
        "scopes",
        "expires_in_s",
        "display_name",
        "weight",
    ),
    *("retention_days", "requests_per_minute", "tokens_per_minute", "max_concurrency", "max_queued_items"),
    *("max_storage_bytes", "max_cost_usd_per_month"),
    *("event_types", "event_type", "keep_old_secret_active_for_24_hours"),
    *("kind", "cron", "timezone", "every_s", "missed"),
}
_LONG_HEX = re.compile(r"[0-9a-f]{20,}")
# What two replies to the same call may differ in: ids that it made, secrets, and the time.
_NEW = re.compile(r"(?<=[_-])[0-9a-f]{30,32}|(?<=whsec_)[\w+/=]+|(?<=bw_)[\w-]+|\b1[0-9]{9}(\.\d+)?\b")


@dataclass(frozen=True)
class Call:
    """One call, and the id in it that is of interest."""

    route: Route
    path: str
    about: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Doc | None = None

    def __str__(self) -> str:
        return f"{self.route.method} {self.path} {dict(self.query)} {dict(self.headers)} {self.body}"

    def sent(self, on: Ground, key: str | None) -> httpx.Response:
        """Its reply."""
        options: dict[str, Any] = {"params": self.query, "headers": self.headers}
        if self.route.path == "/v1/files" and self.route.method == "POST":
            options |= {"data": {"purpose": "batch"}, "files": {"file": ("x.jsonl", b'{"x":1}')}}
        elif self.body is not None:
            options["json"] = self.body
        return on.call(self.route.method, self.path, key, **options)


def http_routes() -> list[Route]:
    """All routes of HTTP."""
    return [route for route in every_route() if route.method != SOCKET]


def never(id_: str) -> str:
    """An id beside this one, which never was."""
    found = _LONG_HEX.search(id_)
    at = (found.end() if found else len(id_)) - 1
    return id_[:at] + ("0" if id_[at] != "0" else "1") + id_[at + 1 :]


def seen(reply: httpx.Response, about: str) -> tuple[int, list[tuple[str, str]], str]:
    """A reply without the id it is about, and without what differs between two replies to one call."""
    headers = [
        (name, value)
        for name, value in reply.headers.items()
        if name not in ("x-request-id", "content-length")
    ]
    text = reply.text.replace(about, "<id>") if about else reply.text
    return reply.status_code, headers, _NEW.sub("<new>", text)


def attacks(own: Estate, named: Callable[[str], list[str]]) -> Iterator[Call]:
    """Every way to name something that `named` gives for a collection, by a tenant that owns `own`.

    Each way comes as often as there are names; `named` is asked in the same order for all.
    """
    for route in http_routes():
        for parameter, collection in route.in_path.items():
            if collection not in NOBODYS:
                for id_ in named(collection):
                    yield _about(route, own, id_, parameter)
        for parameter in route.in_query:
            for id_ in _in_query(route, parameter, named):
                yield Call(route, path_of(route, own), id_, {parameter: id_}, body=body_of(route, own))
        yield from _in_body(route, own, named)


def path_of(route: Route, own: Estate, **ids: str) -> str:
    """The route's path with these ids, and the caller's own for the others."""
    path = route.path
    for name, collection in route.in_path.items():
        its_own = NOBODYS[collection] if collection in NOBODYS else own.ids[collection][0]
        path = path.replace(f"{{{name}}}", ids.get(name, its_own))
    return path


def body_of(route: Route, own: Estate) -> Doc | None:
    """A body that the route takes."""
    if route.method not in ("POST", "PATCH"):
        return None
    bodies = {
        "/v1/batches": create_body(own.ids["files"][0]),
        "/v1/webhooks": {"url": "http://127.0.0.1:1025/", "events": ["batch.failed"]},
        "/v1/webhook_endpoints": {
            "name": "n",
            "url": "http://127.0.0.1:1025/",
            "event_types": ["batch.failed"],
        },
        "/v1/webhook_endpoints/{webhook_endpoint_id}/test": {"event_type": "batch.failed"},
        "/v1/cache/lookup": lookup_body(own.mark),
        "/v1/tenants": {"id": "charlie"},
        "/v1/schedules": {"batch": create_body(own.ids["files"][0]), "every_s": 3600},
    }
    return bodies.get(route.path, {})


def model_of(route: Route) -> str | None:
    """The name of the model that the document gives for the route's body."""
    found = (route.extra or {}).get("requestBody", {}).get("content", {}).get("application/json")
    return found["schema"]["$ref"].rpartition("/")[2] if found else None


def unknown_fields() -> list[str]:
    """Fields of bodies of which nobody has said whether they name something."""
    fields = [f"{name}.{each}" for name, model in BODIES.items() for each in fields_of(model)]
    return [each for each in fields if each not in FIELDS and each.rpartition(".")[2] not in _WORDS]


def _about(route: Route, own: Estate, id_: str, parameter: str) -> Call:
    return Call(route, path_of(route, own, **{parameter: id_}), id_, body=body_of(route, own))


def _in_query(route: Route, parameter: str, named: Callable[[str], list[str]]) -> list[str]:
    if parameter == "after":
        return [] if route.collection == "items" else named(route.collection)
    collection = QUERY[parameter]
    return [] if collection is None else named(collection)


def _with(body: Doc, value: Doc) -> Doc:
    """The body with this in it, at whatever depth."""
    new = {k: _with(body[k], v) if isinstance(v, dict) and k in body else v for k, v in value.items()}
    return body | new


def _in_body(route: Route, own: Estate, named: Callable[[str], list[str]]) -> Iterator[Call]:
    model = model_of(route)
    for path, collection in FIELDS.items():
        name, _, field_path = path.partition(".")
        if name != model:
            continue
        for id_ in named(collection):
            value: Any = [id_] if collection == "custom_ids" else id_
            for part in reversed(field_path.split(".")):
                value = {part: value}
            yield Call(route, path_of(route, own), id_, body=_with(body_of(route, own) or {}, value))
        if field_path == "idempotency_key":
            for id_ in named(collection):
                headers = {"idempotency-key": id_}
                yield Call(route, path_of(route, own), id_, headers=headers, body=body_of(route, own))
