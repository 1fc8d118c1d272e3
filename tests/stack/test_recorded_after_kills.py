"""A worker is killed in the middle of its calls: the sums for `/metrics` never fall, and end as the batch's own."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.workers import Site, started_worker
from workers.core.recorded import Row
from workers.core.tally import tally_from
from workers.store.mongo import Doc
from workers.store.recorded_totals import RecordedTotals

pytestmark = [pytest.mark.integration, pytest.mark.stack]
ITEMS, REFUSED = 80, 5
SETTINGS = {
    "BATCHWRIGHT_LEASE_S": "2",
    "BATCHWRIGHT_LEASE_CALL_MARGIN_S": "0.5",
    "BATCHWRIGHT_LEASE_SWEEP_S": "0.2",
    "BATCHWRIGHT_SHARD_MAX_ITEMS": "20",
    "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "8",
}


def test_after_a_kill_the_sums_of_all_batches_are_those_of_the_batch_and_never_fell(site: Site) -> None:
    totals, called, seen = RecordedTotals(site.stores.db), site.called(), []
    before = totals.read().get("sim", {})

    def look() -> Row:
        seen.append(
            {name: value - before.get(name, 0) for name, value in totals.read().get("sim", {}).items()}
        )
        return seen[-1]

    lines = [chat_line(f"c{n}", f"killed {n} [[sim:latency-ms=80]]") for n in range(ITEMS)]
    lines += [chat_line(f"r{n}", f"killed no {n} [[sim:status=400]]") for n in range(REFUSED)]
    batch_id = site.submit(lines)
    with started_worker(site, "worker-1", **SETTINGS) as worker:
        eventually(lambda: look().get("items", 0) >= 20, 20.0)
        worker.kill()
    look()
    with started_worker(site, "worker-2", **SETTINGS):

        def ended() -> Doc | None:
            look()
            doc = site.stores.state(batch_id)
            return doc if doc["status"] == "completed" else None

        batch = eventually(ended, 30.0)
    assert batch is not None
    sums, counts = look(), tally_from(batch["counts"])
    assert (sums["items"], sums["failed"]) == (counts.recorded, counts.failed) == (ITEMS + REFUSED, REFUSED)
    assert sums["calls"] == counts.calls and sums["output_tokens"] == counts.output_tokens
    excess = sums["excess"] + sums["possibly_repeated"]
    assert excess == counts.excess + batch["counts"]["possibly_repeated"] > 0, "some calls were under way"
    assert sums["calls"] <= site.called() - called <= sums["calls"] + excess
    names = ("items", "failed", "calls", "excess", "possibly_repeated", "input_tokens", "output_tokens")
    for earlier, later in pairwise(seen):
        assert all(later.get(name, 0) >= earlier.get(name, 0) for name in names)
