"""Faults 8 to 12: the two Redis servers lose everything, go away, are slow, are full, or say nothing.

Control Redis has the messages, limits and flights, all of which MongoDB or a provider can make good; cache Redis has
answers that cost a call to make again.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
import redis

from tests.chaos.arena import Arena
from tests.chaos.oracle import Expected, Finding
from tests.chaos.outages import CONSUMING_WITHIN_S, consuming_again, logged, outage
from tests.chaos.rules import Rules
from tests.chaos.servers import CACHE, CONTROL
from tests.support.eventually import eventually
from workers.celery_config import batch_queue

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
OURS = ("api", "worker-1", "worker-2")
COMMAND_S = 3.0
# Two shards at once in each process, so that most of the work stands in the queue when the fault comes.
FEW_THREADS = {"BATCHWRIGHT_WORKER_THREADS": "2"}


def _under_way(arena: Arena, items: int) -> None:
    """Both tenants have work, a part of it is done and most of it is still to be sent off."""
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    arena.recorded_reaches(items // 10)


def _pids(arena: Arena) -> dict[str, int]:
    return {name: arena.pid(name) for name in OURS}


@pytest.mark.quick
@pytest.mark.fault("8", "FLUSHALL on control Redis mid-run")
def test_a_control_redis_that_forgets_everything_is_told_again(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=1000, environ=FEW_THREADS))
    items = max(items, 400)  # more shards than the other worker has threads
    # Given messages that nobody has taken: they are for a worker that is stopped, and holds nothing yet
    arena.kill("worker-2", signal.SIGSTOP)
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    with arena.control() as control:
        eventually(lambda: control.llen(batch_queue("sim")), 20, what=arena.how_it_stands)
        # When Redis forgets them, and all it knew again and again while tenants go on to submit
        arena.hit("FLUSHALL", control.flushall)
        arena.kill("worker-2", signal.SIGCONT)
        for tenant in arena.tenants.values():
            tenant.submit(items // 4)
            arena.hit("FLUSHALL", control.flushall)
    # Then what its queues had held is published again, and no call is made twice for it.
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.mark.fault("9", "control Redis killed for 3 leases, nothing persisted")
def test_workers_come_back_by_themselves_after_a_lost_control_redis(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=150, environ=FEW_THREADS))
    _under_way(arena, items)
    before = _pids(arena)
    with outage(
        arena,
        "kill -9 control-redis",
        lambda: arena.servers.kill(CONTROL),
        lambda: arena.servers.start_again(CONTROL, forgetful=True),
        leases=3,
    ) as hit:
        # While it is away files and batches are taken, and wait.
        for tenant in arena.tenants.values():
            tenant.submit(items // 4)
    arena.rest()
    verdict(arena, Expected(max_excess=0))
    # Then every worker takes messages again, and none was started again for it.
    assert consuming_again(arena, hit.healed_at or 0) < arena.rules.recovery_s
    assert _pids(arena) == before
    assert "cannot dispatch" in logged(arena, "worker-1") + logged(arena, "worker-2")


@pytest.mark.quick
@pytest.mark.fault("10", "cache Redis gone for good")
def test_without_the_cache_everything_works(arena_of: Opens, verdict: Judges, seed: int, items: int) -> None:
    arena = arena_of(Rules(seed, latency_ms=50))
    _under_way(arena, items)
    arena.hit("kill -9 cache-redis", lambda: arena.servers.kill(CACHE))
    # Prompts that were answered before are called for again; equal ones in flight are still shared.
    for tenant in arena.tenants.values():
        tenant.submit(items // 4)
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.mark.fault("10b", "cache Redis at 3 s a command")
def test_a_slow_cache_costs_time_and_nothing_else(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=50, via=(CACHE,)))
    _under_way(arena, items)
    arena.hit("3 s a command", lambda: arena.proxies[CACHE].delay(COMMAND_S / 2))
    arena.tenants["one"].submit(items // 4)
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.mark.fault("10c", "cache Redis full, evicting nothing")
def test_a_full_cache_keeps_nothing_and_fails_nothing(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=50))
    _under_way(arena, items)

    def fill() -> None:
        # As a server of one's own may be set up: the stack's evicts.
        with redis.Redis.from_url(arena.servers.urls[CACHE]) as cache:
            cache.config_set("maxmemory-policy", "noeviction")
            cache.config_set("maxmemory", "1mb")

    arena.hit("maxmemory", fill)
    arena.tenants["one"].submit(items // 4)
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.mark.fault("11", "control Redis unreachable without a word")
@pytest.mark.parametrize(
    ("how", "leases"),
    [
        pytest.param("drop", 3, id="packets dropped for 3 leases"),
        # Whoever is connected waits for an answer that never comes; new connections work at once.
        pytest.param("forget", 0, id="connections forgotten"),
        pytest.param("delay", 3, id="3 s a command for 3 leases"),
    ],
)
def test_workers_take_messages_again_after_a_control_redis_that_says_nothing(
    arena_of: Opens, verdict: Judges, seed: int, items: int, how: str, leases: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=150, via=(CONTROL,), environ=FEW_THREADS))
    _under_way(arena, items)
    before, proxy = _pids(arena), arena.proxies[CONTROL]
    breaks = {"drop": proxy.drop, "forget": proxy.forget, "delay": lambda: proxy.delay(COMMAND_S / 2)}
    with outage(arena, how, breaks[how], proxy.heal, leases=leases) as hit:
        arena.tenants["one"].submit(items // 4)
    # Then every worker consumes again within a minute, nothing was charged twice, none had to be started again.
    took_s = consuming_again(arena, hit.healed_at or 0)
    arena.rest()
    verdict(arena, Expected(max_excess=0, recovery_s=CONSUMING_WITHIN_S))
    assert took_s < CONSUMING_WITHIN_S
    assert _pids(arena) == before


@pytest.mark.fault("12", "control Redis at maxmemory")
def test_a_full_control_redis_refuses_loudly_and_evicts_nothing(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, latency_ms=150, environ=FEW_THREADS))
    _under_way(arena, items)
    with arena.control() as control:
        room = control.config_get("maxmemory")["maxmemory"]
        hit = arena.hit("maxmemory", lambda: control.config_set("maxmemory", "1"))
        # A batch is taken, for MongoDB has it; that nothing can be published is said where operators look.
        batch = arena.tenants["one"].submit(items // 4)
        eventually(lambda: "does not take messages" in logged(arena, "api"), 10, what=arena.how_it_stands)
        assert arena.tenants["one"].batch(batch.id)["status"] == "validating"
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            control.set("one", "more")
        # When there is room again, it goes on.
        control.config_set("maxmemory", room)
        hit.healed_at = time.time()
        arena.rest()
        assert control.info("stats")["evicted_keys"] == 0
    verdict(arena, Expected(max_excess=0))
