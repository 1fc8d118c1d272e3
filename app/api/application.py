"""The application: routes, and one place where every failure gets its shape; watching.py gives every reply its id.

server.py serves what `create_app` gives. FastAPI's own errors (`{"detail": ...}`) break the SDKs.
"""

from __future__ import annotations

import logging
from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from app.api import (
    ai_status,
    analytics,
    batches,
    cached,
    costs,
    document,
    event_socket,
    events,
    failures,
    files,
    health,
    items,
    keys,
    merging,
    metrics,
    operations,
    pauses,
    reloading,
    retrying,
    schedules,
    tenants,
    top,
    webhook_endpoints,
    webhooks,
)
from app.api.auth import KeyCache
from app.api.counts import Counts
from app.api.door import complaint
from app.api.errors import SERVER_ERROR, ApiError, reply_to, store_down
from app.api.event_hub import EventHub
from app.api.methods import Asgi, WithMethods, methods_at, not_allowed
from app.api.running_costs import RunningCosts
from app.api.services import Services
from app.api.standing import WhatStands
from app.api.watching import Watched
from workers.core.errors import StoreUnavailable
from workers.store.batch_watch import BatchWatch
from workers.store.mongo import MONGO_DOWN, STORE_TROUBLE, refuses_writes

log = logging.getLogger("batchwright.api")


PARTS = (
    health,
    files,
    batches,
    operations,
    retrying,
    merging,
    failures,
    items,
    schedules,
    events,
    event_socket,
    webhooks,
    webhook_endpoints,
    costs,
    tenants,
    keys,
    pauses,
    reloading,
    cached,
    analytics,
    top,
    ai_status,
    metrics,
    document,
)


def create_app(services: Services) -> Asgi:
    """Everything the API answers."""
    app = routed()
    app.state.services = services
    app.state.keys = KeyCache(services)
    app.state.counts = Counts(services)
    app.state.running_costs = RunningCosts(services)
    app.state.top = top.TopLook(services)
    app.state.standing = WhatStands(services)
    app.state.hub = EventHub(services, app.state.counts, BatchWatch(services.db))
    app.state.watched = Watched(WithMethods(app, _routes(app)))
    services.own.requests = lambda: app.state.watched.in_progress
    services.own.streams = lambda: app.state.hub.open
    return cast("Asgi", app.state.watched)


def routed() -> FastAPI:
    """All routes and what becomes of their errors; nothing behind them yet."""
    # FastAPI's own document shows half of the truth, since bodies are read by hand: document.py makes ours.
    app = FastAPI(
        title="Batchwright",
        openapi_url=None,
        redirect_slashes=False,
        # No handler gives what FastAPI would make JSON of; a route says itself what it gives.
        default_response_class=Response,
        generate_unique_id_function=lambda route: route.name,
    )
    for part in PARTS:
        app.include_router(part.router)
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _not_routed)
    for down in (*MONGO_DOWN, StoreUnavailable):
        app.add_exception_handler(down, _store_down)
    for trouble in STORE_TROUBLE:
        app.add_exception_handler(trouble, _store_refused)
    app.add_exception_handler(Exception, _failed)
    return app


def _routes(app: FastAPI) -> list[BaseRoute]:
    """All of them; FastAPI keeps those of a router behind one that stands for it."""
    return [*app.routes, *(route for part in PARTS for route in part.router.routes)]


def _refused(_: Request, error: Exception) -> Response:
    return reply_to(error if isinstance(error, ApiError) else _server_error())


def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return _failed(request, error)
    return reply_to(complaint(error.errors()))


def _not_routed(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _failed(request, error)
    status, headers = error.status_code, error.headers or {}
    if status == 404:
        return reply_to(
            ApiError(404, f"Invalid URL ({request.method} {request.url.path})", code="unknown_url")
        )
    if status == 405:
        return reply_to(
            not_allowed(request.method, request.url.path, methods_at(_routes(request.app), request.scope))
        )
    kind = SERVER_ERROR if status >= 500 else "invalid_request_error"
    return reply_to(ApiError(status, str(error.detail), kind=kind, headers=headers))


def _store_down(request: Request, error: Exception) -> Response:
    log.warning("%s %s: the store does not answer: %s", request.method, request.url.path, error)
    return reply_to(store_down())


def _store_refused(request: Request, error: Exception) -> Response:
    """A full disk or a change of primary is no bug of ours; what else the database refuses is."""
    if isinstance(error, STORE_TROUBLE) and refuses_writes(error):
        return _store_down(request, error)
    raise error


def _failed(_: Request, __: Exception) -> Response:
    return reply_to(_server_error())


def _server_error() -> ApiError:
    text = "The server had an error while processing your request. Its log says more under the x-request-id."
    return ApiError(500, text, kind=SERVER_ERROR, code="internal_error")
