"""`GET /health`, that this process lives, and `GET /ready`, that it can work. No key is asked for; no secret is told.

Whoever restarts processes asks the first: it needs nobody, so a MongoDB that is away restarts no API. Whoever sends
requests asks the second.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import Field

from app.api.dependencies import readiness
from app.api.json_reply import json_reply
from app.api.services import Behind
from app.api.shapes import Shape
from app.api.spec import gives
from app.version import VERSION

router = APIRouter(tags=["server"])
_STARTED = time.monotonic()


class Dependency(Shape):
    """A server that this process needs, as it was last seen: `ms` its round trip, null without an answer."""

    state: Literal["up", "down", "unknown"]
    ms: Annotated[float, Field(ge=0)] | None
    age_seconds: Annotated[float, Field(ge=0)] | None


class Health(Shape):
    """That the process answers; `services` as it has seen them last."""

    status: Literal["ok"]
    version: str
    uptime_seconds: Annotated[float, Field(ge=0)]
    services: dict[str, Dependency]


class Ready(Shape):
    """Whether the process can work: `degraded` without what it can do without."""

    status: Literal["ready", "degraded", "not_ready"]
    stopping: bool
    services: dict[str, Dependency]


@router.get("/health", responses=gives(Health))
async def health(behind: Behind) -> Response:
    """That this process answers; it asks no other, and tells what it has seen of them lately."""
    now = time.monotonic()
    seen = {name: each.as_dict(now) for name, each in behind.dependencies.known().items()}
    uptime_s = round(now - _STARTED, 3)
    return json_reply({"status": "ok", "version": VERSION, "uptime_seconds": uptime_s, "services": seen})


@router.get(
    "/ready", responses=gives(Ready) | {503: gives(Ready)[200] | {"description": "It cannot work now."}}
)
async def ready(behind: Behind) -> Response:
    """Whether it can work: asks what it needs, all at the same time, for two seconds at most.

    200 where it can, also without the cache (`degraded`); 503 where it cannot, and while it stops.
    """
    seen, stopping = await behind.dependencies.look(), behind.stopping.is_set()
    state, now = readiness(seen, stopping=stopping), time.monotonic()
    shown = {name: each.as_dict(now) for name, each in seen.items()}
    body = orjson.dumps({"status": state, "stopping": stopping, "services": shown})
    status = 503 if state == "not_ready" else 200
    return Response(body, status, headers={"cache-control": "no-store"}, media_type="application/json")
