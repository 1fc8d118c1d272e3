"""What the API holds while much goes through it: a large upload, a million lines, many pollers and streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import httpx
import psutil
import pytest

from tests.compat.conftest import line
from tests.load.crew import show
from tests.support.apart import apart
from tests.support.api import Api, running_api
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.workers import Site, open_site, started_worker

pytestmark = pytest.mark.load
UPLOAD_BYTES, LEAST_BYTES_PER_S, MOST_API_BYTES = 200_000_000, 40_000_000, 250_000_000
LINES, PLAN_S = 50_000, 3.0
MANY_LINES, MOST_WORKER_BYTES = 1_000_000, 400_000_000
POLLERS, STREAMS, ROUNDS, P95_S = 100, 20, 15, 0.05
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Stack:
    """A site with one worker and the API."""

    site: Site
    api: Api
    worker: psutil.Process


class Peak:
    """The most resident memory that a process had at any look, bytes."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.bytes = 0

    def look(self) -> None:
        self.bytes = max(self.bytes, self._process.memory_info().rss)


@pytest.fixture(scope="module")
def stack(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    own, directory = apart(servers, "load"), tmp_path_factory.mktemp("load")
    many = {"BATCHWRIGHT_API_MAX_REQUESTS": str(MANY_LINES), "BATCHWRIGHT_API_MAX_FILE_BYTES": "512000000"}
    with (
        open_site(own, directory, "--latency-ms", "50") as site,
        running_api(own, directory, **many) as running,
        started_worker(site, "load", **many) as worker,
    ):
        yield Stack(site, running, psutil.Process(worker.process.pid))


def api_process() -> psutil.Process:
    children = psutil.Process().children()
    return next(child for child in children if "app.api" in child.cmdline())


def written(path: Path, count: int, pad_bytes: int) -> Path:
    padding = "word " * (pad_bytes // 5)
    with path.open("wb") as file:
        for number in range(count):
            file.write(line(f"r{number}", f"{number} {padding}"))
    return path


def upload(stack: Stack, path: Path, peak: Peak) -> tuple[str, float]:
    """Its id and how long it took, seconds."""

    def looked_at() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block
                peak.look()
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b", "authorization": f"Bearer {stack.api.key}"}
    began = time.monotonic()
    reply = httpx.post(f"{stack.api.url}/v1/files", content=looked_at(), headers=headers, timeout=PATIENCE_S)
    took_s = time.monotonic() - began
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"]), took_s


def planned(stack: Stack, file_id: str, peak: Peak) -> tuple[str, float]:
    """The batch that is made of it, and how long it took until its items were accepted, seconds."""
    began = time.monotonic()
    wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made = stack.api.call("POST", "/v1/batches", json=wanted).json()

    def look() -> str:
        peak.look()
        status = stack.site.stores.state(made["id"])["status"]
        return "" if status == "validating" else str(status)

    assert eventually(look, PATIENCE_S) == "in_progress"
    return str(made["id"]), time.monotonic() - began


def cancelled(stack: Stack, batch_id: str) -> None:
    """The batch is over, and nothing of it is being written any more."""
    stack.api.call("POST", f"/v1/batches/{batch_id}/cancel")
    eventually(lambda: stack.site.stores.state(batch_id)["status"] == "cancelled", PATIENCE_S)


def test_a_file_of_200_mb_is_taken_in_and_planned_at_once_in_bounded_memory(
    stack: Stack, tmp_path: Path
) -> None:
    path = written(tmp_path / "large.jsonl", LINES, UPLOAD_BYTES // LINES - 155)
    api, worker = Peak(api_process()), Peak(stack.worker)
    file_id, upload_s = upload(stack, path, api)
    # Twice: the first one shares the disk with what MongoDB still writes of the upload.
    plans = []
    for _ in range(2):
        batch_id, took_s = planned(stack, file_id, worker)
        cancelled(stack, batch_id)
        plans.append(took_s)
    plan_s = min(plans)
    size = path.stat().st_size
    show(
        "a large file",
        upload_MB_per_s=size / upload_s / 1e6,
        API_MB=api.bytes / 1e6,
        plan_s=plan_s,
    )
    assert size / upload_s > LEAST_BYTES_PER_S
    assert api.bytes < MOST_API_BYTES
    assert plan_s < PLAN_S


async def test_a_hundred_pollers_and_twenty_streams_get_their_answers_while_a_batch_runs(
    stack: Stack, tmp_path: Path
) -> None:
    path = written(tmp_path / "running.jsonl", LINES, 20)
    file_id, _ = upload(stack, path, Peak(api_process()))
    batch_id, _ = planned(stack, file_id, Peak(stack.worker))
    auth = {"authorization": f"Bearer {stack.api.key}"}
    took_s: list[float] = []
    limits = httpx.Limits(max_connections=POLLERS + STREAMS)
    async with httpx.AsyncClient(base_url=stack.api.url, headers=auth, limits=limits, timeout=30) as http:

        async def poll(number: int) -> None:
            await asyncio.sleep(number / POLLERS)  # not all in the same instant, as clients are
            for _ in range(ROUNDS):
                began = time.monotonic()
                reply = await http.get(f"/v1/batches/{batch_id}")
                took_s.append(time.monotonic() - began)
                assert reply.status_code == 200
                await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - began)))

        async def listen() -> None:
            async with http.stream("GET", f"/v1/batches/{batch_id}/events") as stream:
                async for _ in stream.aiter_bytes():
                    pass

        streams = [asyncio.create_task(listen()) for _ in range(STREAMS)]
        before = stack.site.recorded(batch_id)
        began = time.monotonic()
        await asyncio.gather(*map(poll, range(POLLERS)))
        rate = (stack.site.recorded(batch_id) - before) / (time.monotonic() - began)
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    cancelled(stack, batch_id)
    cuts = quantiles(took_s, n=100)
    show(
        "100 pollers, 20 streams",
        polls=len(took_s),
        p50_ms=cuts[49] * 1e3,
        p95_ms=cuts[94] * 1e3,
        items_per_s=rate,
    )
    assert len(took_s) == POLLERS * ROUNDS and rate > 0
    assert cuts[94] < P95_S


def test_a_million_lines_are_planned_in_bounded_memory_where_the_setting_allows_them(
    stack: Stack, tmp_path: Path
) -> None:
    path = written(tmp_path / "many.jsonl", MANY_LINES, 20)
    api, worker = Peak(api_process()), Peak(stack.worker)
    file_id, upload_s = upload(stack, path, api)
    batch_id, plan_s = planned(stack, file_id, worker)
    cancelled(stack, batch_id)
    show(
        "a million lines",
        upload_s=upload_s,
        plan_s=plan_s,
        API_MB=api.bytes / 1e6,
        worker_MB=worker.bytes / 1e6,
    )
    assert stack.site.stores.state(batch_id)["total"] == MANY_LINES
    assert api.bytes < MOST_API_BYTES and worker.bytes < MOST_WORKER_BYTES
