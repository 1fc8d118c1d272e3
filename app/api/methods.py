"""HTTP methods beside those of the handlers (RFC 9110): HEAD is a GET without its body, OPTIONS says what a path takes.

application.py puts it around the routes. What no route takes is a 405 with `Allow`; a path that is named in full
(`/v1/webhooks/deliveries`) never counts as somebody's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from app.api.errors import ApiError, reply_to

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class WithMethods:
    """The application with HEAD, OPTIONS and true 405s."""

    def __init__(self, app: Asgi, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = list(routes)
        self._named: dict[str, set[str]] = {}
        for route in self._routes:
            if isinstance(route, Route) and not route.param_convertors:
                self._named.setdefault(route.path, set()).update(route.methods or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, named = scope["method"], self._named.get(scope["path"])
        if method in ("HEAD", "OPTIONS"):
            allowed = _with_implied(named or methods_at(self._routes, scope))
            if method == "OPTIONS" and allowed:
                await Response(status_code=204, headers=_allow(allowed))(scope, receive, send)
                return
            if "HEAD" in allowed:
                await _without_body(self._app, scope, send)
                return
        if named is not None and method not in named:
            refusal = not_allowed(method, scope["path"], named)
            await reply_to(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def methods_at(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """What the scope's path takes, of all routes; nothing where nobody serves it."""
    fitting = [
        route for route in routes if isinstance(route, Route) and route.matches(scope)[0] != Match.NONE
    ]
    return {method for route in fitting for method in route.methods or ()}


def not_allowed(method: str, path: str, methods: set[str]) -> ApiError:
    """405 for a path that takes only these."""
    text = f"Not allowed to {method} on {path}."
    return ApiError(405, text, code="method_not_supported", headers=_allow(_with_implied(methods)))


def _with_implied(methods: set[str]) -> set[str]:
    implied = {"HEAD", "OPTIONS"} if "GET" in methods else {"OPTIONS"}
    return methods | implied if methods else methods


def _allow(methods: set[str]) -> dict[str, str]:
    return {"allow": ", ".join(sorted(methods))}


async def _without_body(app: Asgi, scope: Scope, send: Send) -> None:
    """What a GET would answer, but for its body; a stream is told that its reader has gone."""
    ended = asyncio.Event()

    async def gone() -> Message:
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
        elif not ended.is_set():
            ended.set()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    await app({**scope, "method": "GET"}, gone, send_head)
