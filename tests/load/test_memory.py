"""Hundreds of thousands of items through one worker process: its memory stays where the first hundred thousand left it.

BATCHWRIGHT_LOAD_ITEMS=1000000 makes the second batch as large as that.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.load.crew import load_site, show, started_workers
from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.workers import Site, WorkerProcess

pytestmark = [pytest.mark.load, pytest.mark.slow, pytest.mark.integration]
FIRST = 100_000
MORE = int(os.environ.get("BATCHWRIGHT_LOAD_ITEMS", "300000"))
LOOK_EVERY = 10_000
CONTROL_BYTES = 64_000_000
SETTINGS = {
    "BATCHWRIGHT_API_MAX_REQUESTS": "5000000",
    "BATCHWRIGHT_LOG_LEVEL": "warning",
}


def resident_mb(worker: WorkerProcess) -> float:
    """The memory that a process holds, in MB."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024 / 1_000_000


def used_bytes(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        info: Any = client.info("memory")
        return int(info["used_memory"])


def answered(site: Site, worker: WorkerProcess, name: str, items: int) -> tuple[list[float], int]:
    """The worker's memory at each ten thousand of a batch's items, in MB; the control Redis's highest, in bytes."""
    batch_id = site.submit([chat_line(f"c{n}", f"{name} {n}: what follows?") for n in range(items)])
    seen, control = [], 0
    for wanted in range(LOOK_EVERY, items + 1, LOOK_EVERY):
        eventually(partial(has_done, site, batch_id, wanted), 300.0)
        seen.append(resident_mb(worker))
        control = max(control, used_bytes(site.servers.redis_url))
    assert site.ended(batch_id, 60.0)["counts"]["completed"] == items
    return seen, control


def has_done(site: Site, batch_id: str, items: int) -> bool:
    """Whether so many are recorded, as their shards say."""
    recorded = site.stores.db["batch_shards"].aggregate(
        [{"$match": {"batch_id": batch_id}}, {"$group": {"_id": None, "sum": {"$sum": "$counts.recorded"}}}]
    )
    return sum(int(row["sum"]) for row in recorded) >= items


def test_memory_stays_flat_after_the_first_hundred_thousand_items(
    servers: TestServers, tmp_path: Path
) -> None:
    with load_site(servers, tmp_path) as site, started_workers(site, SETTINGS, 1) as (worker,):
        idle = resident_mb(worker)
        cache_before = used_bytes(site.servers.cache_redis_url)
        first, control_first = answered(site, worker, "first", FIRST)
        more, control_more = answered(site, worker, "more", MORE)
        cache = used_bytes(site.servers.cache_redis_url) - cache_before
        site.stores.db.client.admin.command("fsync")
        results: Any = site.stores.db.command("collStats", "batch_results")
    plateau = sum(first[-3:]) / 3
    show(
        f"memory: {FIRST:,} items, then {MORE:,}",
        worker_idle_MB=idle,
        worker_at_each_10_000_MB=" ".join(f"{mb:.0f}" for mb in first),
        and_then_MB=" ".join(f"{mb:.0f}" for mb in more),
        last_over_plateau=f"{sum(more[-3:]) / 3 / plateau:.1%}",
        control_redis_MB=f"{control_first / 1e6:.1f}, {control_more / 1e6:.1f}",
        cache_redis_bytes_an_item=cache // (FIRST + MORE),
        mongodb_bytes_an_item=results["storageSize"] // (FIRST + MORE),
        mongodb_document_bytes=results["avgObjSize"],
        mongodb_index_bytes_an_item=results["totalIndexSize"] // (FIRST + MORE),
    )
    assert max(control_first, control_more) < CONTROL_BYTES
    assert max(more) <= plateau * 1.1
