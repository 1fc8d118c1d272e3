"""One question in the shards of four worker runtimes at once: one of them calls, all have the answer.

The same with ten thousand copies and killed processes: tests/load.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.identity import shard_id
from workers.core.messages import HttpResponse
from workers.runtime import Runtime

pytestmark = pytest.mark.integration
RUNTIMES, COPIES = 4, 50


@pytest.fixture
def engine(servers: TestServers, tmp_path: Path) -> Iterator[Engine]:
    with open_engine(servers, tmp_path, BATCHWRIGHT_SHARD_MAX_ITEMS=str(COPIES)) as opened:
        yield opened


def beside(engine: Engine, stack: ExitStack, name: str) -> Runtime:
    """Another worker's runtime on the same servers, with the same provider."""
    other = Runtime(engine.runtime.settings, name=name)
    other.start()
    stack.callback(other.stop)
    for provider, link in list(other.links.items()):
        other.links[provider] = replace(link, transport=engine.provider)
    return other


def leased(engine: Engine, batch_id: str) -> int:
    """Shards of the batch that somebody works on."""
    return engine.stores.db["batch_shards"].count_documents({"batch_id": batch_id, "status": "leased"})


def test_equal_prompts_in_four_runtimes_cost_one_call(engine: Engine) -> None:
    go_on = threading.Event()

    async def slow(_: int) -> HttpResponse:
        await asyncio.to_thread(go_on.wait, 5.0)
        return reply()

    engine.play(slow)
    with ExitStack() as stack:
        runtimes = [engine.runtime, *(beside(engine, stack, f"other-{n}") for n in range(1, RUNTIMES))]
        # given a shard of the same question in each of them, while the first call is under way
        batch_id, _ = engine.plan([chat_line(f"c{n}", "the same") for n in range(RUNTIMES * COPIES)])
        runs = [
            asyncio.run_coroutine_threadsafe(
                runtime.steward.run_shard(shard_id(batch_id, number)), runtime.loop
            )
            for number, runtime in enumerate(runtimes, start=1)
        ]
        eventually(lambda: leased(engine, batch_id) == RUNTIMES, 5.0)
        eventually(lambda: engine.provider.seen, 5.0)
        # when it is answered
        go_on.set()
        assert [run.result(10.0) for run in runs] == ["done"] * RUNTIMES
    # then nobody has called again
    sources = Counter(row["source"] for row in engine.rows(batch_id))
    assert engine.provider.seen == 1
    assert sources["call"] == 1 and sources["coalesced"] + sources["cache"] == RUNTIMES * COPIES - 1
