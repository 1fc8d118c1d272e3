"""Two hundred event streams at once on one API process: how late an entry comes, and what the streams cost."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import psutil
import pytest

from tests.load.crew import show
from tests.support.apart import apart
from tests.support.api import Api, running_api
from tests.support.eventually import eventually
from tests.support.servers import TestServers

pytestmark = pytest.mark.load
STREAMS, BATCHES, ENTRIES = 200, 20, 200
P95_S = 0.1
# A stream that waits: a task, a generator, a connection; 40 MB for all of them would be a leak.
MOST_MORE_BYTES = 40_000_000


@pytest.fixture(scope="module")
def api(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    directory: Path = tmp_path_factory.mktemp("api")
    with running_api(
        apart(servers, "streams"), directory, BATCHWRIGHT_API_MAX_STREAMS_PER_TENANT=str(STREAMS)
    ) as running:
        yield running


class Listener:
    """One stream, and when its entries came."""

    def __init__(self, batch_id: str) -> None:
        self.batch_id = batch_id
        self.came: dict[int, float] = {}
        self.began = asyncio.Event()
        self.ended = False

    async def listen(self, api: Api) -> None:
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"GET /v1/batches/{self.batch_id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api.key}\r\n\r\n"
        writer.write(head.encode())
        async for line in reader:
            if line.startswith(b"id: "):
                self.came[int(line[4:])] = time.monotonic()
            elif line.startswith(b"event: batch.progress"):
                self.began.set()
        self.ended = True
        writer.close()


def api_process() -> psutil.Process:
    return next(
        child for child in psutil.Process().children(recursive=True) if "app.api" in " ".join(child.cmdline())
    )


def write(api: Api, batch_ids: list[str]) -> dict[str, list[float]]:
    """Pause and resume batches one after the other, an entry each; when each was written."""
    at: dict[str, list[float]] = defaultdict(list)
    for number in range(ENTRIES):
        batch_id = batch_ids[number % BATCHES]
        at[batch_id].append(time.monotonic())
        paused = len(at[batch_id]) % 2 == 1
        assert api.work.batches.set_paused(batch_id, "default", paused=paused)
        time.sleep(0.02)  # 50 entries a second, each to ten streams
    return at


async def test_an_entry_reaches_two_hundred_streams_within_a_tenth_of_a_second(api: Api) -> None:
    batch_ids = [api.batch() for _ in range(BATCHES)]
    for batch_id in batch_ids:
        api.work.start(batch_id, 2)
    api.call("GET", f"/v1/batches/{batch_ids[0]}/events?follow=false")
    process = api_process()
    before = process.memory_info().rss
    listeners = [Listener(batch_ids[number % BATCHES]) for number in range(STREAMS)]
    tasks = [asyncio.ensure_future(each.listen(api)) for each in listeners]
    async with asyncio.timeout(30):
        await asyncio.gather(*(each.began.wait() for each in listeners))
    cpu_before, idle_from = sum(process.cpu_times()[:2]), time.monotonic()
    await asyncio.sleep(5)
    idle_cpu = (sum(process.cpu_times()[:2]) - cpu_before) / (time.monotonic() - idle_from)
    written = await asyncio.to_thread(write, api, batch_ids)
    last = 1 + ENTRIES // BATCHES
    for each in listeners:
        await asyncio.to_thread(eventually, lambda each=each: last in each.came, 30)
    late = [
        each.came[n] - at
        for each in listeners
        for n, at in enumerate(written[each.batch_id], start=2)  # the first entry was the start
    ]
    more_bytes = process.memory_info().rss - before
    p50, p95 = quantiles(late, n=20)[9], quantiles(late, n=20)[18]
    show(
        "An entry reaches every stream within a tenth of a second",
        streams=STREAMS,
        entries=len(late),
        p50_ms=p50 * 1000,
        p95_ms=p95 * 1000,
        max_ms=max(late) * 1000,
        more_mb=more_bytes / 1e6,
        cpu_at_rest_percent=idle_cpu * 100,
    )
    for task in tasks:
        task.cancel()
    assert p95 < P95_S
    assert more_bytes < MOST_MORE_BYTES
    assert [sorted(each.came) for each in listeners] == [list(range(last + 1))] * STREAMS
