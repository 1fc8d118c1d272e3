"""Every request under an id, with its time: counted for `/metrics` and analytics, and one line in the log.

Lines that are logged on its way carry the id as well, whatever thread they come from. The route's own form
(`/v1/batches/{batch_id}`) stands for the path: ids would make a series each, and what nobody serves is `unknown`,
whatever a scanner asks for.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

from structlog.contextvars import bind_contextvars, clear_contextvars

from app.api.auth import CALLER
from app.api.methods import Asgi, Message, Receive, Scope, Send
from workers import metrics
from workers.observed import OBSERVED, OTHER

log = logging.getLogger("batchwright.api")
UNKNOWN = "unknown"
# Anybody may send any word.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REFUSED, _FAILED, _NO_KEY = 400, 500, 401
_CLOSED = 1000
# What says nothing by being asked every few seconds.
_QUIET = frozenset({"/health", "/ready", "/metrics", "/v1/top"})


class Watched:
    """Give each reply its `x-request-id`, count and time it, and log it; what fails is logged under the id."""

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self._socket if scope["type"] == "websocket" else self._app)(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        began_s = time.perf_counter()
        status, sent, ended = 0, 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)
            if message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
                ended = not message.get("more_body", False)

        self.in_progress += 1
        # Whoever serves may let several requests of a connection share one context.
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("a request failed", extra={"method": scope["method"], "real_path": scope["path"]})
            if status and not ended:
                raise  # the server breaks the connection off: the client must not take it for the whole
        finally:
            self.in_progress -= 1
            _note(scope, status, sent, time.perf_counter() - began_s)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One line when it is over, with the code it was closed by; its length says nothing of how fast we are."""
        began_s, code, sent = time.perf_counter(), 0, 0

        async def received() -> Message:
            nonlocal code
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code = code or message.get("code") or 0
            return message

        async def send_and_count(message: Message) -> None:
            nonlocal code, sent
            if message["type"] == "websocket.close":
                code = code or message.get("code") or _CLOSED
            sent += len(message.get("text") or message.get("bytes") or "")
            await send(message)

        clear_contextvars()
        bind_contextvars(request_id=f"req_{secrets.token_hex(12)}")
        try:
            await self._app(scope, received, send_and_count)
        finally:
            _count_key(scope, refused=code == 4000 + _NO_KEY)
            seconds = time.perf_counter() - began_s
            log.info("socket", extra=_fields(scope, "WEBSOCKET", endpoint_of(scope), code, sent, seconds))


def endpoint_of(scope: Scope) -> str:
    """The form of the route that took a request."""
    route = scope.get("route")
    return str(getattr(route, "path", UNKNOWN))


def _note(scope: Scope, status: int, sent_bytes: int, seconds: float) -> None:
    method, endpoint = scope["method"], endpoint_of(scope)
    _count(scope, method if method in _METHODS else OTHER, endpoint, status, seconds)
    level = logging.DEBUG if endpoint in _QUIET else logging.INFO
    if log.isEnabledFor(level):
        log.log(level, "request", extra=_fields(scope, method, endpoint, status, sent_bytes, seconds))


def _count(scope: Scope, method: str, endpoint: str, status: int, seconds: float) -> None:
    OBSERVED.count(metrics.HTTP_REQUESTS, method, endpoint, str(status))
    OBSERVED.time(metrics.HTTP_SECONDS, method, endpoint, seconds=seconds)
    if not 0 < status < _REFUSED:
        kind = "client" if _REFUSED <= status < _FAILED else "server" if status else "broken_off"
        OBSERVED.count(metrics.ERRORS, kind, endpoint)
    _count_key(scope, refused=status == _NO_KEY)


def _count_key(scope: Scope, *, refused: bool) -> None:
    if CALLER in scope:
        OBSERVED.count(metrics.KEY_USES, "accepted")
    elif refused:
        OBSERVED.count(metrics.KEY_USES, "refused")


def _fields(
    scope: Scope, method: str, endpoint: str, status: int, sent_bytes: int, seconds: float
) -> dict[str, Any]:
    """What the line says; the request's id is on every line anyhow."""
    fields: dict[str, Any] = {"method": method, "path": endpoint}
    if scope["path"] != endpoint:
        fields["real_path"] = scope["path"]
    fields |= {"status": status, "ms": round(seconds * 1000, 2), "bytes": sent_bytes}
    caller = scope.get(CALLER)
    if caller is not None:
        fields |= {"tenant": caller.tenant, "key_id": caller.key_id}
    batch_id = scope.get("path_params", {}).get("batch_id")
    if batch_id is not None:
        fields["batch_id"] = batch_id
    return fields
