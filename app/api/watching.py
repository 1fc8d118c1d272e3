"""Every request under an id, with its time: counted for `/metrics` and analytics, and one line in the log.

The route's own form (`/v1/batches/{batch_id}`) stands for the path: ids would make a series each, and what nobody
serves is `unknown`, whatever a scanner asks for.
"""

from __future__ import annotations

import logging
import secrets
import time

from app.api.methods import Asgi, Message, Receive, Scope, Send
from workers import metrics
from workers.observed import OBSERVED

log = logging.getLogger("batchwright.api")
UNKNOWN = "unknown"
# What says nothing by being asked every few seconds.
_QUIET = frozenset({"/health", "/ready", "/metrics"})


class Watched:
    """Give each reply its `x-request-id`, count and time it, and log it; what fails is logged under the id."""

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        began_s = time.perf_counter()
        status, ended = 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)

        self.in_progress += 1
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("%s %s failed (%s)", scope["method"], scope["path"], request_id)
            if status and not ended:
                raise  # the server breaks the connection off: the client must not take it for the whole
        finally:
            self.in_progress -= 1
            _note(scope, request_id, status, time.perf_counter() - began_s)


def endpoint_of(scope: Scope) -> str:
    """The form of the route that took a request."""
    route = scope.get("route")
    return str(getattr(route, "path", UNKNOWN))


def _note(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    method, endpoint = scope["method"], endpoint_of(scope)
    OBSERVED.count(metrics.HTTP_REQUESTS, method, endpoint, str(status))
    OBSERVED.time(metrics.HTTP_SECONDS, method, endpoint, seconds=seconds)
    level = logging.DEBUG if endpoint in _QUIET else logging.INFO
    log.log(level, "%s %s %d %.1f ms (%s)", method, scope["path"], status, seconds * 1000, request_id)
