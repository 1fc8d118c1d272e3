"""What the log says of requests that do not end as most do: broken off, failed in the middle, WebSockets."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from structlog.contextvars import bind_contextvars, get_contextvars

from app.api.auth import CALLER, Caller
from app.api.methods import Asgi, Message
from app.api.watching import Watched

pytestmark = pytest.mark.fast


def run(app: Asgi, kind: str, *told: Message, **more: Any) -> list[Message]:
    """What is sent to a client that tells this."""
    sent: list[Message] = []
    coming = iter(told)

    async def receive() -> Message:
        return next(coming)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": kind, "method": "GET", "path": "/v1/x", **more}
    asyncio.run(Watched(app)(scope, receive, send))
    return sent


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.getMessage() == event]


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "batchwright.api")


def test_a_request_without_an_answer_has_a_line_with_status_0(caplog: pytest.LogCaptureFixture) -> None:
    async def nothing(_: Any, receive: Any, __: Any) -> None:
        await receive()

    run(nothing, "http", {"type": "http.disconnect"})
    (line,) = lines(caplog, "request")
    assert (line["status"], line["bytes"], line["real_path"]) == (0, 0, "/v1/x")


def test_an_answer_that_breaks_in_the_middle_is_broken_off_and_has_its_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def breaks(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run(breaks, "http")
    (line,) = lines(caplog, "request")
    assert (line["status"], line["bytes"]) == (200, 4)


@pytest.mark.parametrize(("by_us", "told"), [(4401, 1006), (None, 1001)])
def test_a_socket_has_one_line_with_who_it_was_and_how_it_was_closed(
    caplog: pytest.LogCaptureFixture, by_us: int | None, told: int
) -> None:
    async def talks(scope: Any, receive: Any, send: Any) -> None:
        bind_contextvars(seen=get_contextvars()["request_id"])
        scope[CALLER] = Caller("acme", "key_1", frozenset({"read"}), None)
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "four"})
        if by_us:
            await send({"type": "websocket.close", "code": by_us})
        await receive()

    run(talks, "websocket", {"type": "websocket.disconnect", "code": told})
    (line,) = lines(caplog, "socket")
    assert (line["status"], line["bytes"], line["tenant"], line["key_id"]) == (
        by_us or told,
        4,
        "acme",
        "key_1",
    )
    assert line["ms"] >= 0 and line["path"] == "unknown"


def test_a_socket_that_breaks_has_its_line_too(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(*_: Any) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run(breaks, "websocket")
    assert len(lines(caplog, "socket")) == 1
