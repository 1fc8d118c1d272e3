"""A provider in a thread of the test process: it answers chat calls as a rule of the test says, and counts them.

    with running_provider(lambda asked: Say(429) if asked.under_way > 20 else Say(200, after_s=0.05)) as provider:
        ...  # a provider of kind `openai` at provider.base_url
    provider.calls

For what the simulator cannot do: rules by the number of calls under way or by time, and a signal when a call arrives.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

import orjson

_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that has arrived: the how manieth it is, and how many are under way with it."""

    number: int
    under_way: int
    at: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class Say:
    """What it is told, and how long that takes."""

    status: int = 200
    after_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """A call as the provider saw it; `ended` 0 while it is under way. Unix seconds."""

    began: float
    said: Say
    ended: float = 0.0


Rule = Callable[[Asked], Say]


@dataclass(slots=True)
class SmallProvider:
    """A running one."""

    rule: Rule
    calls: list[Seen] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    under_way: int = 0
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def running_provider(rule: Rule, *, port: int = 0) -> Iterator[SmallProvider]:
    """Start one on `port` (0: a free one), yield it once it listens, end it."""
    provider = SmallProvider(rule)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: _Connection(provider), "127.0.0.1", port))
    provider.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, name="small-provider", daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()


def free_port() -> int:
    """A port at which nobody listens now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class _Connection(asyncio.Protocol):
    """HTTP/1.1, one request after the other, bodies with a length."""

    def __init__(self, provider: SmallProvider) -> None:
        self._provider, self._read = provider, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, ended, body = self._read.partition(b"\r\n\r\n")
        if not ended or len(body) < (length := _length(head)):
            return
        self._read = body[length:]
        provider = self._provider
        provider.under_way += 1
        asked = Asked(len(provider.calls) + 1, provider.under_way, time.time())
        said = provider.rule(asked)
        seen = Seen(asked.at, said)
        provider.calls.append(seen)
        provider.arrived.set()
        asyncio.get_running_loop().call_later(said.after_s, self._answer, said, seen)

    def _answer(self, said: Say, seen: Seen) -> None:
        self._provider.under_way -= 1
        seen.ended = time.time()
        kind = "requests" if said.status == 429 else "server_error"
        error = {"error": {"message": f"status {said.status}", "type": kind, "param": None, "code": None}}
        body = orjson.dumps(_ANSWER if said.status < 400 else error)
        lines = [f"HTTP/1.1 {said.status} {HTTPStatus(said.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in said.headers.items()]
        lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
        if not self._transport.is_closing():
            self._transport.write("\r\n".join(lines).encode() + body)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
