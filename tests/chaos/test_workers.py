"""Faults 3 to 6: worker processes that die, end and sleep."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.arena import Arena, Rules
from tests.chaos.oracle import Expected, Finding
from tests.chaos.victim import Death
from tests.support.eventually import eventually
from workers.core import faultpoints

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]


@pytest.mark.quick
@pytest.mark.fault("3", "kill -9 a worker")
@pytest.mark.parametrize(
    ("point", "nth", "max_excess"),
    [
        pytest.param(faultpoints.BEFORE_CLAIM, 1, 0, id="before claim"),
        pytest.param(faultpoints.CLAIMED, 1, 0, id="after claim"),
        pytest.param(faultpoints.CALLING, 30, None, id="during calls"),
        pytest.param(faultpoints.ANSWERED, 30, None, id="between answer and record"),
        pytest.param(faultpoints.SHARD_RECORDED, 1, 0, id="between record and shard done"),
        pytest.param(faultpoints.SHARD_DONE, 1, 0, id="after shard done"),
    ],
)
def test_a_killed_worker_costs_no_item(
    arena_of: Opens,
    verdict: Judges,
    seed: int,
    items: int,
    tmp_path: Path,
    point: str,
    nth: int,
    max_excess: int | None,
) -> None:
    # Given one shard, so that nothing else is in flight in the process that dies
    death = Death(point, nth, once=str(tmp_path / "died"))
    rules = Rules(
        seed,
        deaths={"worker-1": death, "worker-2": death},
        tenants=("one",),
        environ={"BATCHWRIGHT_SHARD_MAX_ITEMS": "500"},
    )
    arena = arena_of(rules)
    arena.tenants["one"].submit(min(items, 500))
    # When its worker dies there
    eventually((tmp_path / "died").exists, 30, what=arena.how_it_stands)
    arena.hit("died", lambda: None)
    # Then every item is recorded, and nothing is paid twice that was not in flight.
    arena.rest()
    verdict(arena, Expected(max_excess=max_excess))


@pytest.mark.fault("6", "SIGSTOP a worker for two leases, then SIGCONT")
def test_a_worker_that_sleeps_does_no_harm_when_it_wakes(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=100))
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    arena.recorded_reaches(items // 10)
    hit = arena.hit("stop", lambda: arena.kill("worker-1", signal.SIGSTOP))
    shards = arena.db["batch_shards"]
    eventually(lambda: shards.count_documents({"takeovers": {"$gt": 0}}) > 0, 30)
    arena.rest()
    arena.kill("worker-1", signal.SIGCONT)
    assert hit.at
    verdict(arena, Expected(max_excess=512))
