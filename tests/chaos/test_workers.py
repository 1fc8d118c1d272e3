"""Faults 3 to 6: worker processes that die, end and sleep."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.chaos.servers import SERVERS
from tests.chaos.victim import Death
from tests.support.eventually import eventually
from workers.core import faultpoints

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
# The call at which a worker dies, and how many it makes at once: some have ended by then, and all others are under way.
_NTH, _SLOTS = 60, 32


@pytest.mark.fault("3", "kill -9 a worker")
@pytest.mark.parametrize(
    ("point", "nth", "max_excess"),
    [
        pytest.param(faultpoints.BEFORE_CLAIM, 1, 0, id="before claim"),
        pytest.param(faultpoints.CLAIMED, 1, 0, id="after claim"),
        pytest.param(faultpoints.CALLING, _NTH, _NTH, id="during calls", marks=pytest.mark.quick),
        pytest.param(faultpoints.ANSWERED, _NTH, _NTH + _SLOTS, id="between answer and record"),
        pytest.param(
            faultpoints.SHARD_RECORDED, 1, 0, id="between record and shard done", marks=pytest.mark.quick
        ),
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
    max_excess: int,
) -> None:
    # Given one shard, so that nothing else is in flight in the process that dies
    death = Death(point, nth, once=str(tmp_path / "died"))
    rules = Rules(
        seed,
        latency_ms=100,
        deaths={"worker-1": death, "worker-2": death},
        tenants=("one",),
        environ={"BATCHWRIGHT_SHARD_MAX_ITEMS": "500", "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": str(_SLOTS)},
    )
    arena = arena_of(rules)
    arena.tenants["one"].submit(min(items, 500))
    # When its worker dies there
    eventually((tmp_path / "died").exists, 30, what=arena.how_it_stands)
    arena.hit("died", lambda: None)
    # Then every item is recorded, in time, and nothing is paid twice that was not in flight.
    arena.rest(rules.recovery_s)
    found = verdict(arena, Expected(max_excess=max_excess, recovers=nth > 1))
    assert bool(found.excess_seen) == bool(max_excess), "it died at another moment"


@pytest.mark.quick
@pytest.mark.fault("4", "kill -9 every process at once")
def test_a_cold_start_finishes_alone(arena_of: Opens, verdict: Judges, seed: int, items: int) -> None:
    arena = arena_of(Rules(seed, latency_ms=150, environ={"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "8"}))
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    arena.recorded_reaches(items // 10)

    def kill_everything() -> None:
        for name in ("worker-1", "worker-2", "api"):
            arena.kill(name)
        for name in SERVERS:
            arena.servers.kill(name)

    hit = arena.hit("kill everything", kill_everything)
    for name in SERVERS:
        arena.servers.start_again(name)
    hit.healed_at = time.time()
    arena.rest()
    verdict(arena, Expected())


@pytest.mark.quick
@pytest.mark.fault("5", "SIGTERM under load")
def test_a_worker_that_is_stopped_leaves_no_lease_and_repeats_nothing(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    # Given calls that end well inside the grace
    arena = arena_of(Rules(seed, latency_ms=150, environ={"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "8"}))
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    arena.recorded_reaches(items // 10)
    # When one of two workers is stopped
    pid = arena.pid("worker-1")
    arena.hit("SIGTERM", lambda: arena.kill("worker-1", signal.SIGTERM))
    arena.restarted("worker-1", pid)
    # Then it has nothing left, and the other one has not lost a second.
    left = arena.db["batch_shards"].find_one({"status": "leased", "owner": {"$regex": f":{pid}$"}})
    arena.rest()
    verdict(arena, Expected(max_excess=0))
    assert left is None
    assert arena.longest_gap_s(arena.hits[0].at) < 1.0


@pytest.mark.fault("6", "SIGSTOP a worker for two leases, then SIGCONT")
def test_a_worker_that_sleeps_does_no_harm_when_it_wakes(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=150, environ={"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "8"}))
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    arena.recorded_reaches(items // 10)
    pid = arena.pid("worker-1")
    arena.hit("stop", lambda: arena.kill("worker-1", signal.SIGSTOP))
    shards = arena.db["batch_shards"]
    eventually(lambda: shards.count_documents({"takeovers": {"$gt": 0}}) > 0, 30, what=arena.how_it_stands)
    arena.last(arena.rules.lease_s)
    arena.kill("worker-1", signal.SIGCONT)
    # What it still holds is written now, or given up: the next sign of life comes after that.
    woken_at = datetime.now(UTC)
    where = {"owner": {"$regex": f":{pid}$"}, "seen_at": {"$gt": woken_at}}
    eventually(lambda: arena.db["worker_processes"].find_one(where), 20)
    arena.rest()
    verdict(arena, Expected())


@pytest.mark.quick
@pytest.mark.fault("6b", "a laptop that sleeps for two leases in mid-batch")
def test_when_everything_sleeps_and_wakes_nothing_is_repeated(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=150, environ={"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "8"}))
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    arena.recorded_reaches(items // 10)
    everything = ("worker-1", "worker-2", "api", "sim", *SERVERS)

    def send_all(what: signal.Signals) -> None:
        for name in everything:
            arena.kill(name, what)

    hit = arena.hit("sleep", lambda: send_all(signal.SIGSTOP))
    arena.last(2 * arena.rules.lease_s)
    send_all(signal.SIGCONT)
    hit.healed_at = time.time()
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.mark.fault("7", "an item that kills its worker")
def test_an_item_that_kills_its_worker_ends_alone(arena_of: Opens, verdict: Judges, seed: int) -> None:
    # Given one prompt at which every worker dies, in a shard of eight
    death = Death(faultpoints.CALLING, containing="deadly")
    workers = 3
    rules = Rules(
        seed,
        workers=workers,
        lease_s=2.0,
        tenants=("one",),
        deaths={f"worker-{number}": death for number in range(1, workers + 1)},
        environ={"BATCHWRIGHT_SHARD_MAX_ITEMS": "8"},
    )
    arena = arena_of(rules)
    batch = arena.tenants["one"].submit(
        24, prompt=lambda number: f"Say {'something deadly' if number == 11 else 'a word'} about {number}."
    )
    # Then all others are answered, it alone ends as an error, and halving found it.
    arena.rest(150)
    shown = arena.tenants["one"].batch(batch.id)
    bad = arena.tenants["one"].rows(shown["error_file_id"])
    verdict(arena, Expected(errors=frozenset({"worker_crash"})))
    assert [row["custom_id"] for row in bad] == [f"one-1-{11}"]
    family = arena.db["batch_shards"].count_documents({"batch_id": batch.id, "moved.0": {"$exists": True}})
    # Each shard that was in its process may be halved, too.
    assert family <= workers * (math.log2(8) + 3)
