"""Faults 21, 23 and 23b: who must not suffer from others, a large tenant, a sick provider, a wrong clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import orjson
import pytest
from blake3 import blake3

from app.simulator.dialect import json_object
from tests.chaos.arena import Arena
from tests.chaos.client import Submitted, Tenant
from tests.chaos.odd_provider import ODD_MODEL, OddCall, odd_provider
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.support.eventually import eventually

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
_FIRST_CALL_S = 5.0
_LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
_HOUR_S = 3600
# A fair share of two tenants is a half of the calls.
_HALF_A_SHARE = 0.25
_ENOUGH_CALLS = 40
# A batch's shards do not start in the same moment.
_STARTS_S = 1.0
# What two equal runs differ by on two cores, and how soon threads come free that a sick provider's shards keep.
_NOISE = 1.5
_ROOM_S = 5.0
_LEASED = {"status": "leased"}


def _hash_of(tenant: Tenant, prompt: str) -> str:
    """The prompt's name in the log of calls."""
    _, canonical = json_object(orjson.dumps(tenant.request(prompt)))
    return blake3(canonical).hexdigest()


def _share(times: Sequence[float], all_times: Sequence[float]) -> float:
    """Which part of all calls were these, from the first of them to the last."""
    first, last = min(times), max(times)
    return len(times) / sum(first <= at <= last for at in all_times)


@pytest.mark.fault("23", "20,000 items (for 1,000,000) beside a tenant with 100, at full rate")
def test_a_small_tenant_has_its_share_beside_a_large_one(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, tenants=("large", "small")))
    large, small = arena.tenants["large"], arena.tenants["small"]
    large.submit(items * 50)
    arena.recorded_reaches(items)
    # When a small batch comes while the large one is under way
    created = arena.hit("small batch", lambda: small.submit(100)).at
    arena.rest()
    verdict(arena, Expected(max_excess=0, recovers=False))
    calls = {call["prompt_hash"]: call["time"] for call in arena.calls()}
    own = [calls[_hash_of(small, prompt)] for prompt in small.submitted[0].prompts.values()]
    assert max(calls.values()) > max(own), "the large one was still under way"
    # Then it is served at once, with half of its fair share at least.
    assert min(own) - created < _FIRST_CALL_S
    rate = len(calls) / (max(calls.values()) - min(calls.values()))
    assert max(own) - min(own) < len(own) / (rate * _HALF_A_SHARE) + _STARTS_S


@pytest.mark.fault("23", "4,000 items (for 1,000,000) beside a tenant with 100, at 600 a minute")
def test_a_small_tenant_has_its_share_of_a_slow_limit(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    per_minute = 600
    with odd_provider(tmp_path / "arena", seed) as odd:
        limits = f"limits = {{ requests_per_minute = {per_minute} }}\n"
        arena = arena_of(Rules(seed, tenants=("large", "small"), environ=odd.environ(more=limits)))
        large, small = arena.tenants["large"], arena.tenants["small"]
        large.model = small.model = ODD_MODEL
        large.submit(items * 10)
        eventually(lambda: len(odd.calls) > per_minute / 10 + 10, 30, what=arena.how_it_stands)
        # When a small batch comes behind the large one
        created = arena.hit("small batch", lambda: small.submit(100)).at
        prompts = frozenset(small.submitted[0].prompts.values())
        within_s = _FIRST_CALL_S + _ENOUGH_CALLS / (per_minute / 60 * _HALF_A_SHARE)
        own = eventually(
            lambda: _enough(odd.calls, prompts),
            within_s,
            what=lambda: (len(odd.calls), arena.how_it_stands()),
        )
        # Then it is served at once, with half of its fair share at least.
        assert min(own) - created < _FIRST_CALL_S
        assert _share(own, [call.at for call in odd.calls]) >= _HALF_A_SHARE
        for tenant in (large, small):
            tenant.insist("POST", f"/v1/batches/{tenant.submitted[0].id}/cancel")
        arena.rest()
        cancelled = frozenset({"batch_cancelled"})
        verdict(
            arena,
            Expected(max_excess=0, errors=cancelled, requests_per_minute=per_minute, recovers=False),
        )


def _enough(calls: Sequence[OddCall], prompts: Collection[str]) -> list[float]:
    own = [call.at for call in list(calls) if call.prompt in prompts]
    return own if len(own) >= _ENOUGH_CALLS else []


@pytest.mark.fault("23b", "one provider beside a healthy one")
@pytest.mark.parametrize("sickness", ["stalled", "limited"])
def test_a_healthy_provider_keeps_its_rate_beside_a_sick_one(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path, sickness: str
) -> None:
    with odd_provider(tmp_path / "arena", seed) as odd:
        if sickness == "stalled":
            odd.rule = lambda call: call.hold()
        limits = "limits = { requests_per_minute = 60 }\n" if sickness == "limited" else ""
        # Given a rate that follows from the provider's latency and the slots, not from this machine
        rules = Rules(
            seed,
            latency_ms=200,
            environ={**odd.environ(more=limits, read_s=300), "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "20"},
        )
        arena = arena_of(rules)
        healthy, sick = arena.tenants["one"], arena.tenants["two"]
        sick.model = ODD_MODEL
        _, alone_s = _first_and_rest(arena, healthy.submit(items * 4))
        # When another provider has more shards than there are threads, and does not answer
        sick_batch = sick.submit(items * 5)
        eventually(lambda: len(odd.calls) >= 6, 30, what=arena.how_it_stands)
        arena.hit(sickness, lambda: None)
        began = time.time()
        first_at, beside_s = _first_and_rest(arena, healthy.submit(items * 4))
        # Then the healthy one soon has its threads, and is no slower than without it.
        odd.rule = lambda call: call.answer()
        odd.release()
        if sickness == "limited":
            sick.insist("POST", f"/v1/batches/{sick_batch.id}/cancel")
        arena.rest()
        cancelled = frozenset({"batch_cancelled"}) if sickness == "limited" else frozenset[str]()
        verdict(arena, Expected(max_excess=0, errors=cancelled, recovers=False))
        assert first_at - began < _ROOM_S
        assert beside_s < alone_s * _NOISE, f"{beside_s:.1f} s beside, {alone_s:.1f} s alone"


def _first_and_rest(arena: Arena, batch: Submitted) -> tuple[float, float]:
    """When a batch's first result was made (Unix seconds), and how long its last three quarters took."""
    job = {"_id": batch.id, "status": "completed"}
    eventually(lambda: arena.db["batch_jobs"].count_documents(job), 60, what=arena.how_it_stands)
    rows = arena.db["batch_results"].find({"_id": {"$regex": f"^{batch.id}"}}, {"at": 1})
    times = sorted(row["at"] for row in rows)
    assert len(times) == len(batch)
    return times[0], times[-1] - times[len(times) // 4]


@pytest.mark.skipif(not _LIBFAKETIME.exists(), reason="needs Debian's libfaketime")
@pytest.mark.fault("21", "one worker's clock an hour ahead, the other's an hour behind")
def test_leases_hold_and_end_whatever_clock_a_worker_has(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    # Given calls that last longer than a lease
    rules = Rules(
        seed,
        tenants=("one",),
        latency_ms=4_500,
        environ_of={"worker-1": _clock_off(_HOUR_S), "worker-2": _clock_off(-_HOUR_S)},
    )
    arena = arena_of(rules)
    shards = arena.db["batch_shards"]
    arena.tenants["one"].submit(items)
    owners = eventually(lambda: len(found := shards.distinct("owner", _LEASED)) == 2 and found, 20)
    arena.rest()
    # Then nobody takes them over, and their clocks are off indeed
    assert shards.count_documents({"takeovers": {"$gt": 0}}) == 0, owners
    now, off_s = time.time(), _HOUR_S - 300
    for ahead in (True, False):
        at = {"$gt": now + off_s} if ahead else {"$lt": now - off_s}
        assert arena.db["batch_results"].count_documents({"at": at}) > 0
    # and what a dead one of them held goes on after its lease, not after an hour.
    arena.tenants["one"].submit(items)
    calling = {**_LEASED, "owner": {"$regex": "^worker-1@"}, "started": {"$gt": 0}}
    eventually(lambda: shards.count_documents(calling), 20)
    hit = arena.hit("kill -9", lambda: arena.kill("worker-1"))
    hit.healed_at = time.time()  # it dies while its calls go out: some are younger than the order to die
    took_s = arena.rest(rules.recovery_s + 2 * rules.latency_ms / 1000)
    assert took_s < rules.recovery_s + 2 * rules.latency_ms / 1000
    assert shards.count_documents({"takeovers": {"$gt": 0}}) > 0
    # Results carry their worker's time, so that the time back to work is the one above.
    verdict(arena, Expected(max_excess=items, recovers=False))


def _clock_off(by_s: int) -> dict[str, str]:
    return {"LD_PRELOAD": str(_LIBFAKETIME), "FAKETIME": f"{by_s:+d}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
