"""A WebSocket whose client does not read, or goes in the middle of an answer: how the talk ends, and what is logged."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import WebSocket, WebSocketDisconnect

from app.api import event_socket
from app.api.door import check
from app.api.event_topic import Kind, Watcher

pytestmark = pytest.mark.fast


class Hub:
    """Lets everybody in."""

    def join(self, tenant: str, check: Any, kind: Kind) -> Watcher:
        return Watcher(tenant, check, kind)

    def leave(self, watcher: Watcher) -> None:
        watcher.end("left")


class Socket:
    """Takes the first message it is sent; then nobody reads, or the client is gone. It asks for a pong, once."""

    def __init__(self, *, gone: bool) -> None:
        api = SimpleNamespace(messages_per_minute=9)
        services = SimpleNamespace(settings=SimpleNamespace(api=api))
        self.app = SimpleNamespace(state=SimpleNamespace(services=services, hub=Hub(), keys=None))
        self.scope: dict[str, Any] = {"subprotocols": ["batchwright", "bearer.key"]}
        self.headers: dict[str, str] = {}
        self.gone = gone
        self.read = asyncio.Event()
        self.closed: list[int] = []
        self.asked = 0

    async def accept(self, subprotocol: str | None) -> None:
        assert subprotocol == "batchwright"

    async def receive(self) -> dict[str, Any]:
        await self.read.wait()
        self.asked += 1
        if self.asked > 1:
            await asyncio.Event().wait()
        return {"type": "websocket.receive", "text": '{"type": "ping"}'}

    async def send(self, message: dict[str, Any]) -> None:
        if not self.read.is_set():
            self.read.set()
        elif self.gone:
            raise WebSocketDisconnect(1006)
        else:
            await asyncio.Event().wait()

    async def close(self, code: int, reason: str) -> None:
        self.closed.append(code)


@pytest.mark.parametrize(("gone", "codes"), [(False, [1013]), (True, [])], ids=["does not read", "is gone"])
async def test_an_answer_that_nobody_takes_ends_the_talk_as_an_event_does_and_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, gone: bool, codes: list[int]
) -> None:
    async def caller(*_: Any) -> Any:
        return SimpleNamespace(tenant="a", scopes={"read"})

    monkeypatch.setattr(event_socket, "caller_of", caller)
    monkeypatch.setattr(event_socket, "STALL_S", 0.02)
    socket = Socket(gone=gone)
    async with asyncio.timeout(5):
        await event_socket.batch_events_socket(cast("WebSocket", socket))
    assert socket.closed == codes
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_a_thousand_batches_are_subscribed_to_by_ten_looks() -> None:
    ids, looks = [f"batch_{n}" for n in range(1_000)], []

    class Batches:
        def get_many(self, some: list[str], tenant: str) -> dict[str, dict[str, Any]]:
            looks.append(len(some))
            return {batch_id: {"status": "in_progress", "created_at": 0} for batch_id in some}

    async def run(call: Any, *args: Any) -> Any:
        return call(*args)

    async def yes() -> bool:
        return True

    socket = Socket(gone=False)
    state = socket.app.state
    state.services.run, state.services.batches = run, Batches()
    followed: list[str] = []
    state.hub.follow = lambda _, batch_id, __: followed.append(batch_id)
    wanted = check(event_socket.Subscribe, {"type": "subscribe", "batches": ids})
    await event_socket._Talk(cast("WebSocket", socket))._subscribe(Watcher("a", yes), wanted)
    assert (looks, followed) == ([100] * 10, ids)
