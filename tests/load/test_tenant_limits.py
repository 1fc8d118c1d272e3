"""A tenant's own minute over four worker processes and two batches, beside a tenant that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load.crew import (
    began_within,
    busiest,
    load_site,
    of_simulator,
    overlaps,
    show,
    started_workers,
    until_called_at,
)
from tests.support.batches import chat_line
from tests.support.servers import TestServers
from workers.core.rate import BURST_SHARE

pytestmark = [pytest.mark.load, pytest.mark.slow, pytest.mark.integration]
REQUESTS, AT_ONCE = 300, 20
WINDOW_S = 60.0
ITEMS = 800
FREE_ITEMS = 4_000
FREE_WITHIN_S = 60.0


def test_a_tenant_keeps_to_its_minute_and_slows_nobody_else(servers: TestServers, tmp_path: Path) -> None:
    limited = [chat_line(f"c{n}", f"limited {n}", max_tokens=5) for n in range(2 * ITEMS)]
    free = [chat_line(f"f{n}", f"free {n}", model="sim-large") for n in range(FREE_ITEMS)]
    with load_site(servers, tmp_path, "--latency-ms", "50") as site:
        stores = site.stores
        for tenant in ("limited", "free"):
            stores.tenants.ensure(tenant)
        limits = {"requests_per_minute": REQUESTS, "max_concurrency": AT_ONCE}
        stores.db["tenants"].update_one({"_id": "limited"}, {"$set": {"limits": limits}})
        with started_workers(site):
            theirs = [
                site.submit(part, tenant="limited", input_file_id=stores.file(part, tenant="limited"))
                for part in (limited[:ITEMS], limited[ITEMS:])
            ]
            since = until_called_at(site, 1.0, 20.0)
            file_id = stores.file(free, tenant="free")
            others = site.submit(free, tenant="free", input_file_id=file_id)
            ended = site.ended(others, FREE_WITHIN_S)
            until = since + 3 * WINDOW_S
            until_called_at(site, until, 4 * WINDOW_S)
            left = [stores.state(batch_id)["status"] for batch_id in theirs]
        calls = of_simulator(line for line in site.simulator.calls() if line["model"] == "sim-small")
        steady = began_within(calls, since + WINDOW_S, until)
        most, used = busiest(calls, WINDOW_S), len(steady) / 2 / REQUESTS
        at_once = max(held for _, held in overlaps(calls))
        show(
            "a tenant's limit",
            most_requests_in_60_s=f"{most} of {REQUESTS} + {REQUESTS * BURST_SHARE:.0f}",
            requests_used=f"{used:.1%}",
            calls_at_once=f"{at_once} of {AT_ONCE}",
            another_tenants_batch_s=ended["completed_at"] - ended["created_at"],
        )
        assert "in_progress" in left, "work remained"
        assert most <= REQUESTS * (1 + BURST_SHARE) and at_once <= AT_ONCE
        assert used >= 0.9
        assert ended["counts"]["completed"] == FREE_ITEMS
