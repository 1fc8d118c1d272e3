"""What watching costs a request of the API, without a server: `make benchmark` times it for docs/performance.md.

The middleware with its counts, its id and its line in the log, less the same application without it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from app.api.methods import Asgi, Message, Receive, Scope, Send
from app.api.watching import Watched
from workers.telemetry import set_up_logging

pytestmark = pytest.mark.benchmark
AT_ONCE = 100
# 0.2 ms a request.
MOST_S = 0.0002 * AT_ONCE
PATH = "/v1/batches/{batch_id}"
BODY = b'{"object":"batch"}'


@pytest.fixture
def lines_written(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lines as a process of ours writes them, as JSON, to nowhere."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        monkeypatch.setattr("sys.stderr", nowhere)
        set_up_logging("info", as_json=True)
        yield
    root.handlers[:] = handlers
    root.setLevel(level)


async def answers(_: Scope, __: Receive, send: Send) -> None:
    """An application that has nothing to do."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": BODY})


def scope_of(number: int) -> dict[str, Any]:
    """A request as the application has left it: its route is known."""
    batch_id = f"batch_{number:024x}"
    return {
        "type": "http",
        "method": "GET",
        "path": f"/v1/batches/{batch_id}",
        "path_params": {"batch_id": batch_id},
        "route": SimpleNamespace(path=PATH),
        "headers": [],
    }


async def nothing_comes() -> Message:
    """No body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def hundred(app: Asgi) -> int:
    """Ask so often; gives how many bodies came."""
    bodies: list[Message] = []

    async def taken(message: Message) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message)

    for number in range(AT_ONCE):
        await app(scope_of(number), nothing_comes, taken)
    return len(bodies)


# CPU time: how long a request takes on a busy machine says nothing of what it costs.
@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.usefixtures("lines_written")
@pytest.mark.parametrize("watched", [False, True], ids=["not watched", "watched"])
def test_answer_a_hundred_requests(benchmark: BenchmarkFixture, watched: bool) -> None:
    app = Watched(answers) if watched else answers
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert benchmark(lambda: runner.run(hundred(app))) == AT_ONCE
    if benchmark.stats:
        assert benchmark.stats.stats.median < MOST_S
