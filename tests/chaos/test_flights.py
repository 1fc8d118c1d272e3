"""Faults 22 and 23c: one call for all who want its answer, and what becomes of them without its owner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.odd_provider import ODD_MODEL, OddProvider, odd_provider
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.support.eventually import eventually

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
_TWINS = 20
_DONE_WITHIN_S = 2.0
# One shard at a time in each process: the batch and its twin cannot meet in one.
_ONE_SHARD_EACH = {"BATCHWRIGHT_WORKER_THREADS": "1"}


def _prompt(number: int) -> str:
    return f"Summarise remark {number} that two batches share."


def _with_twins(arena_of: Opens, odd: OddProvider, seed: int) -> tuple[Arena, str, str]:
    """An arena in which one process owns all calls and the other waits for them; gives both names."""
    odd.rule = lambda call: call.hold()
    arena = arena_of(Rules(seed, tenants=("one",), environ={**odd.environ(), **_ONE_SHARD_EACH}))
    tenant = arena.tenants["one"]
    tenant.model = ODD_MODEL
    first = tenant.submit(_TWINS, prompt=_prompt)
    eventually(lambda: len(odd.held) == _TWINS, 30, what=arena.how_it_stands)
    second = tenant.submit(_TWINS, prompt=_prompt)
    owner, waiter = (_holder(arena, batch.id) for batch in (first, second))
    assert owner != waiter
    eventually(lambda: _flights_with_waiters(arena) == _TWINS, 20, what=arena.how_it_stands)
    return arena, owner, waiter


def _holder(arena: Arena, batch_id: str) -> str:
    shards = arena.db["batch_shards"]
    found = eventually(lambda: shards.find_one({"batch_id": batch_id, "status": "leased"}), 20)
    return str(found["owner"]).partition("@")[0]


def _flights_with_waiters(arena: Arena) -> int:
    with arena.control() as control:
        return sum(bool(control.hexists(key, "waited")) for key in control.scan_iter("flight:*"))


def _recorded_after(arena: Arena, moment: float) -> float:
    """Seconds from a moment to the last result."""
    last = arena.db["batch_results"].find_one({}, {"at": 1}, sort=[("at", -1)])
    assert last is not None
    return float(last["at"]) - moment


@pytest.mark.quick
@pytest.mark.fault("22", "kill -9 the owner of a coalesced call")
def test_when_an_owner_dies_one_waiter_takes_over_and_all_have_its_answer(
    arena_of: Opens, verdict: Judges, seed: int, tmp_path: Path
) -> None:
    with odd_provider(tmp_path / "arena", seed) as odd:
        arena, owner, _ = _with_twins(arena_of, odd, seed)
        # When the owner dies, then somebody asks again, once for all
        arena.hit(f"kill -9 {owner}", lambda: arena.kill(owner))
        within_s = arena.rules.recovery_s
        eventually(lambda: len(odd.held) == 2 * _TWINS, within_s, what=arena.how_it_stands)
        # and everybody has the answer soon after it has come.
        answered_at = time.time()
        odd.release()
        arena.rest()
        assert _recorded_after(arena, answered_at) < _DONE_WITHIN_S
        verdict(arena, Expected(max_excess=_TWINS))
        assert {len(calls) for calls in odd.of([_prompt(n) for n in range(_TWINS)]).values()} == {2}


@pytest.mark.quick
@pytest.mark.fault("22", "the wake-up of a coalesced call's waiters is lost")
def test_waiters_whom_nobody_wakes_have_the_answer_within_two_seconds(
    arena_of: Opens, verdict: Judges, seed: int, tmp_path: Path
) -> None:
    with odd_provider(tmp_path / "arena", seed) as odd:
        arena, _, waiter = _with_twins(arena_of, odd, seed)
        # When nobody hears that the flights have ended
        with _deaf(arena):
            answered_at = time.time()
            arena.hit(f"no wake-up for {waiter}", odd.release)
            eventually(lambda: arena.recorded() >= _TWINS and not _flights_with_waiters(arena), 20)
        # Then those who wait look for themselves, and nobody asks again.
        arena.rest()
        assert _recorded_after(arena, answered_at) < _DONE_WITHIN_S + 0.5
        verdict(arena, Expected(max_excess=0))
        assert len(odd.calls) == _TWINS


@contextmanager
def _deaf(arena: Arena) -> Iterator[None]:
    """Redis cuts every connection that listens, again and again."""
    ended = threading.Event()

    def run() -> None:
        with arena.control() as control:
            while not ended.wait(0.002):
                control.client_kill_filter(_type="pubsub")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        eventually(lambda: _listeners(arena) == 0, 5)
        yield
    finally:
        ended.set()
        thread.join(5)


def _listeners(arena: Arena) -> int:
    with arena.control() as control:
        return len(control.client_list(_type="pubsub"))


@pytest.mark.fault("23c", "two batches of the same prompts in crossed order")
def test_crossed_batches_end_and_every_prompt_is_paid_once(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    # Given calls that are long enough for the batches to meet in the middle
    arena = arena_of(Rules(seed, tenants=("one",), latency_ms=300))
    tenant = arena.tenants["one"]
    tenant.submit(items, prompt=_prompt)
    tenant.submit(items, prompt=lambda number: _prompt(items - 1 - number))
    arena.hit("crossed", lambda: None)
    arena.rest(60)
    verdict(arena, Expected(max_excess=0, recovers=False))
    assert len({call["prompt_hash"] for call in arena.calls()}) == len(list(arena.calls())) == items


@pytest.mark.fault("23c", "an interactive twin of an item that is parked")
def test_a_live_request_does_not_wait_for_the_batch_that_asks_the_same() -> None:
    pytest.skip("the API has no route for interactive requests yet")
