"""A provider that fails, or is not there at all, and comes back: few calls meanwhile, and no item is lost to it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.load.crew import configure, load_site, of_small, show, small, started_workers
from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.small_provider import Asked, Say, free_port, running_provider
from tests.support.workers import Site, WorkerProcess

pytestmark = [pytest.mark.load, pytest.mark.slow, pytest.mark.integration]
ITEMS = 1_000
DOWN_S = 10.0
SLOTS = {"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "32"}
_TICKS = os.sysconf("SC_CLK_TCK")


def lines(name: str) -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}", model="small-1") for n in range(ITEMS)]


def cpu_s(workers: Sequence[WorkerProcess]) -> float:
    """Seconds of CPU that these processes have used so far."""
    fields = [
        Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split() for worker in workers
    ]
    return sum(int(field[11]) + int(field[12]) for field in fields) / _TICKS


def idle_for(workers: Sequence[WorkerProcess], seconds: float) -> float:
    """The CPU that these processes use in a stretch of time, as a share of one core."""
    since, used = time.monotonic(), cpu_s(workers)
    eventually(lambda: time.monotonic() >= since + seconds, seconds + 5)
    return (cpu_s(workers) - used) / (time.monotonic() - since)


def reasons(site: Site, batch_id: str) -> set[str | None]:
    return {doc["reason"] for doc in site.shards(batch_id) if doc["status"] == "queued"}


def test_a_provider_that_fails_for_ten_seconds_is_left_alone_and_costs_no_item(
    servers: TestServers, tmp_path: Path
) -> None:
    first: list[float] = []

    def broken_at_first(asked: Asked) -> Say:
        first[:] = first or [asked.at]
        return Say(503, after_s=0.05) if asked.at < first[0] + DOWN_S else Say(after_s=0.05)

    with load_site(servers, tmp_path) as site, running_provider(broken_at_first) as provider:
        with started_workers(site, {**configure(site, small(provider.base_url)), **SLOTS}):
            batch_id = site.submit(lines("broken"))
            batch = site.ended(batch_id, 120.0)
        calls = of_small(provider.calls)
        failed = [call for call in calls if call.status == 503]
        back = next(call.began for call in calls if call.status == 200)
        most_failed = max(len(doc.get("attempts") or ()) for doc in site.results(batch_id))
        show(
            f"503 for {DOWN_S:.0f} s",
            calls_that_failed=len(failed),
            of_these_after_a_second=sum(call.began > first[0] + 1 for call in failed),
            back_after_s=back - first[0],
            failures_of_an_item_at_most=most_failed,
            completed=batch["counts"]["completed"],
        )
        assert batch["counts"]["completed"] == ITEMS
        # The first wave of all processes, and then single calls that try, each after twice the time.
        assert len(failed) <= 4 * 32 + 10
        assert back - first[0] <= 3 * DOWN_S


def test_a_provider_that_nobody_listens_for_costs_no_item_and_no_cpu_and_is_found_again(
    servers: TestServers, tmp_path: Path
) -> None:
    port = free_port()
    with load_site(servers, tmp_path) as site:
        settings = {**configure(site, small(f"http://127.0.0.1:{port}/v1")), **SLOTS}
        with started_workers(site, settings) as workers:
            batch_id = site.submit(lines("unreachable"))
            eventually(lambda: "breaker" in reasons(site, batch_id), 30.0)
            used = idle_for(workers, DOWN_S)
            with running_provider(lambda _: Say(after_s=0.05), port=port) as provider:
                up = time.time()
                batch = site.ended(batch_id, 150.0)
        back = of_small(provider.calls)[0].began - up
    show("nobody listens", cpu_of_four_processes=f"{used:.1%}", found_again_after_s=back, **batch["counts"])
    assert batch["counts"]["completed"] == ITEMS and batch["counts"]["failed"] == 0
    assert len(provider.calls) == ITEMS
    assert used < 0.4


def test_a_provider_without_an_address_parks_its_shards_and_costs_no_cpu(
    servers: TestServers, tmp_path: Path
) -> None:
    with load_site(servers, tmp_path) as site:
        settings = {**configure(site, small("http://nowhere.invalid/v1")), **SLOTS}
        with started_workers(site, settings) as workers:
            batch_id = site.submit(lines("nowhere"))
            eventually(lambda: "breaker" in reasons(site, batch_id), 60.0)
            used = idle_for(workers, DOWN_S)
            show("no such name", cpu_of_four_processes=f"{used:.1%}", reasons=reasons(site, batch_id))
            assert site.recorded(batch_id) == 0
        assert used < 0.4
