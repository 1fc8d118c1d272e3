"""Calls at once over four worker processes: never more than the limit, and all of it used, a dead one's share too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load.crew import (
    configure,
    limits_of,
    load_site,
    mean_overlap,
    of_simulator,
    overlaps,
    show,
    started_workers,
    until_called_at,
)
from tests.support.batches import chat_line
from tests.support.servers import TestServers

pytestmark = [pytest.mark.load, pytest.mark.slow, pytest.mark.integration]
CONCURRENCY = 10
LATENCY_S = 1.0
WARM_S, STEADY_S = 5.0, 20.0
DEAD_S = 20.0  # a process that is killed counts for 15 s


def test_no_more_than_ten_calls_are_under_way_and_a_dead_processs_share_is_used_again(
    servers: TestServers, tmp_path: Path
) -> None:
    with load_site(servers, tmp_path, "--latency-ms", f"{LATENCY_S * 1000:.0f}") as site:
        settings = configure(site, limits_of("sim", concurrency=CONCURRENCY))
        with started_workers(site, settings) as workers:
            batch_ids = [site.submit([chat_line(f"c{n}", f"{b} {n}") for n in range(1000)]) for b in range(2)]
            first = until_called_at(site, 1.0, 20.0)
            killed_at = until_called_at(site, first + WARM_S + STEADY_S, 60.0)
            workers[0].kill()
            end = until_called_at(site, killed_at + DEAD_S + STEADY_S, 60.0)
            left = [site.stores.state(batch_id)["status"] for batch_id in batch_ids]
        calls = of_simulator(site.simulator.calls())
    assert "in_progress" in left, "work remained"
    steps = overlaps(calls)
    before = mean_overlap(steps, first + WARM_S, killed_at - 1)
    meanwhile = mean_overlap(steps, killed_at, killed_at + DEAD_S)
    after = mean_overlap(steps, killed_at + DEAD_S, end - 1)
    show(
        f"concurrency: {CONCURRENCY} calls of {LATENCY_S} s",
        calls=len(calls),
        most_at_once=max(held for _, held in steps),
        mean_of_four_processes=before,
        mean_for_20_s_after_a_kill=meanwhile,
        mean_of_three_processes_then=after,
    )
    over = [(round(at - first, 2), held) for at, held in steps if held > CONCURRENCY]
    assert not over, over[:20]
    assert before >= 0.95 * CONCURRENCY
    assert after >= 0.95 * CONCURRENCY
