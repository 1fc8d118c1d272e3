"""Fault 25: all of it at random, for as long as there is work. The schedule follows from the seed.

The short form takes 10,000 items; `make soak` 1,000,000, with a kill -9 of a random process every 20 s.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest
from pymongo.errors import PyMongoError

from tests.chaos.arena import Arena
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.chaos.servers import SERVERS

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
_WORKERS = 4
_MAX_EXCESS_SHARE = 0.005
_SMALL = 100_000
_FLAT_MB = 260.0


@pytest.mark.quick
@pytest.mark.soak
@pytest.mark.fault("25", "all of it at random")
def test_a_long_run_with_random_faults_loses_nothing(
    arena_of: Opens, verdict: Judges, seed: int, request: pytest.FixtureRequest
) -> None:
    total = int(request.config.getoption("--soak-items"))
    every_s = float(request.config.getoption("--soak-every"))
    small = total < _SMALL
    # A short run is slowed down, so that faults meet it.
    environ = {"BATCHWRIGHT_SHARD_MAX_ITEMS": "100" if small else "500"}
    if small:
        environ["BATCHWRIGHT_WORKER_MAX_CALL_SLOTS"] = "16"
    rules = Rules(
        seed,
        workers=_WORKERS,
        tenants=("one", "two", "three"),
        latency_ms=100 if small else 50,
        environ=environ,
    )
    arena = arena_of(rules)
    submitter = threading.Thread(target=_submit, args=(arena, total, seed), name="submit", daemon=True)
    submitter.start()
    _break_things(arena, random.Random(seed), total, every_s, kills_only=not small)
    submitter.join(120)
    arena.rest(within_s=120 if small else 600)
    found = verdict(arena, Expected())
    assert found.accepted == total
    if not small:
        assert found.excess_seen <= _MAX_EXCESS_SHARE * total
        assert found.peak_mb < _FLAT_MB


def _submit(arena: Arena, total: int, seed: int) -> None:
    """Batches of many sizes from all tenants, until the number is reached."""
    draw, left = random.Random(seed + 1), total
    tenants = list(arena.tenants.values())
    while left:
        size = min(
            left, draw.choice((50, 500, 2_000)) if total < _SMALL else draw.choice((1_000, 20_000, 50_000))
        )
        draw.choice(tenants).submit(size, batchwright={"priority": draw.randint(0, 9)})
        left -= size


def _break_things(arena: Arena, draw: random.Random, total: int, every_s: float, *, kills_only: bool) -> None:
    """One fault after the other until everything has ended."""
    faults: dict[str, Callable[[], object]] = {f"kill {name}": _killing(arena, name) for name in _ours()}
    faults |= {f"kill {name}": _restarting(arena, name) for name in SERVERS}
    if not kills_only:
        faults["FLUSHALL"] = lambda: _flush(arena)
        faults["stop a worker for two leases"] = lambda: _stop(arena, f"worker-{draw.randint(1, _WORKERS)}")
        faults["SIGTERM a worker"] = lambda: arena.kill(f"worker-{draw.randint(1, _WORKERS)}", signal.SIGTERM)
    # The last of it may be recorded, and its batch about to end: then there is nothing left to break.
    while not _all_ended(arena, total, every_s) and arena.recorded() < total:
        name = draw.choice(sorted(faults))
        hit = arena.hit(name, faults[name])
        hit.healed_at = time.time()


def _all_ended(arena: Arena, total: int, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        arena.last(min(0.25, within_s))
        with contextlib.suppress(PyMongoError):  # the database is one of those that are broken
            if arena.ended() >= total:
                return True
    return False


def _ours() -> tuple[str, ...]:
    return ("api", *(f"worker-{number}" for number in range(1, _WORKERS + 1)))


def _killing(arena: Arena, name: str) -> Callable[[], object]:
    return lambda: arena.kill(name)


def _restarting(arena: Arena, name: str) -> Callable[[], object]:
    def restart() -> None:
        arena.servers.kill(name)
        arena.servers.start_again(name)

    return restart


def _flush(arena: Arena) -> None:
    with arena.control() as control:
        control.flushall()


def _stop(arena: Arena, name: str) -> None:
    pid = arena.kill(name, signal.SIGSTOP)
    arena.last(2 * arena.rules.lease_s)
    if arena.pid(name) == pid:
        arena.kill(name, signal.SIGCONT)
