"""Ten thousand copies of one question in several batches, before four worker processes: one call."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast

import pytest
import redis

from tests.load.crew import configure, load_site, show, small, started_workers
from tests.support.batches import chat_line
from tests.support.servers import TestServers
from tests.support.small_provider import Asked, Say, running_provider
from tests.support.workers import Site, WorkerProcess
from workers.core.messages import unpack_items

pytestmark = [pytest.mark.load, pytest.mark.slow, pytest.mark.integration]
BATCHES, COPIES = 5, 2_000
SHARDS = {"BATCHWRIGHT_SHARD_MAX_ITEMS": "250"}


def copies(model: str) -> list[bytes]:
    return [chat_line(f"c{n}", "the same question", model=model) for n in range(COPIES)]


def sources(site: Site, batch_ids: list[str]) -> Counter[str]:
    return Counter(doc["source"] for batch_id in batch_ids for doc in site.results(batch_id))


@pytest.mark.parametrize("late", [False, True], ids=["workers first", "batches first"])
def test_ten_thousand_copies_over_four_processes_cost_exactly_one_call(
    servers: TestServers, tmp_path: Path, late: bool
) -> None:
    with load_site(servers, tmp_path, "--latency-ms", "300") as site:
        batch_ids = [site.submit(copies("sim-small")) for _ in range(BATCHES)] if late else []
        with started_workers(site, SHARDS):
            batch_ids = batch_ids or [site.submit(copies("sim-small")) for _ in range(BATCHES)]
            ended = [site.ended(batch_id, 60.0) for batch_id in batch_ids]
        seen = sources(site, batch_ids)
        owners = {doc["owner"] for batch_id in batch_ids for doc in site.shards(batch_id)}
        show("identical prompts", calls=site.called(), sources=dict(seen), processes=len(owners))
        assert site.called() == 1
        assert [batch["counts"]["completed"] for batch in ended] == [COPIES] * BATCHES
        assert seen["call"] == 1 and seen["cache"] + seen["coalesced"] == BATCHES * COPIES - 1
        assert sum(batch["counts"]["excess"] + batch["counts"]["possibly_repeated"] for batch in ended) == 0


def test_with_the_owner_killed_during_its_call_they_cost_two(servers: TestServers, tmp_path: Path) -> None:
    def slow(_: Asked) -> Say:
        return Say(after_s=1.0)

    with load_site(servers, tmp_path) as site, running_provider(slow) as provider:
        settings = {**configure(site, small(provider.base_url)), **SHARDS, "BATCHWRIGHT_LEASE_S": "3"}
        with started_workers(site, settings) as workers:
            batch_ids = [site.submit(copies("small-1")) for _ in range(BATCHES)]
            assert provider.arrived.wait(20.0)
            owner_of_the_flight(site, workers).kill()
            assert len(provider.calls) == 1, "it was killed during its call"
            ended = [site.ended(batch_id, 90.0) for batch_id in batch_ids]
        seen = sources(site, batch_ids)
        show("identical prompts, the owner killed", calls=len(provider.calls), sources=dict(seen))
        assert len(provider.calls) == 2
        assert [batch["counts"]["completed"] for batch in ended] == [COPIES] * BATCHES
        assert seen["call"] == 1 and seen["cache"] + seen["coalesced"] == BATCHES * COPIES - 1


def owner_of_the_flight(site: Site, workers: list[WorkerProcess]) -> WorkerProcess:
    """The process whose call it is: a flight names its item, the item's shard its holder."""
    with redis.Redis.from_url(site.servers.redis_url) as control:
        (key,) = control.scan_iter("flight:*")
        batch_id, line = cast(bytes, control.hget(key, "token")).decode().rsplit(":", 1)
    (shard,) = [
        doc
        for doc in site.shards(batch_id)
        if int(line) in {item.line for item in unpack_items(doc["items"])}
    ]
    pid = int(str(shard["owner"]).rpartition(":")[2])
    (owner,) = [worker for worker in workers if worker.process.pid == pid]
    return owner
