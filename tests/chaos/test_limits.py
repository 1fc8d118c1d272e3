"""Fault 8 under a limit: what Redis forgets was never granted twice (I6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.odd_provider import ODD_MODEL, odd_provider
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.support.eventually import eventually

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
_PER_MINUTE = 120
# So many bursts of a tenth of a minute would be more than the limit.
_TIMES = 14


@pytest.mark.fault(
    "8b", "FLUSHALL on control Redis every second under a limit of 120 a minute; kill -9 a worker"
)
def test_a_limit_holds_though_redis_forgets_it_again_and_again(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    with odd_provider(tmp_path / "arena", seed) as odd:
        limits = f"limits = {{ requests_per_minute = {_PER_MINUTE} }}\n"
        arena = arena_of(Rules(seed, environ=odd.environ(more=limits)))
        # Given far more to do than the limit lets through
        for tenant in arena.tenants.values():
            tenant.model = ODD_MODEL
            tenant.submit(items)
        eventually(lambda: len(odd.calls) > _PER_MINUTE / 10, 30, what=arena.how_it_stands)
        # When its buckets are forgotten, and one of those who know what was granted dies
        with arena.control() as control:
            for number in range(_TIMES):
                before = len(odd.calls)
                arena.hit("FLUSHALL", control.flushall)
                if number == _TIMES // 2:
                    arena.hit("kill -9 worker-1", lambda: arena.kill("worker-1"))
                arena.last(1.0)
        # Then calls go on, at no other rate.
        eventually(lambda: len(odd.calls) > before, arena.rules.recovery_s, what=arena.how_it_stands)
        for tenant in arena.tenants.values():
            tenant.insist("POST", f"/v1/batches/{tenant.submitted[0].id}/cancel")
        arena.rest()
        cancelled = frozenset({"batch_cancelled"})
        verdict(arena, Expected(errors=cancelled, requests_per_minute=_PER_MINUTE, recovers=False))
