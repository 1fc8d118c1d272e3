"""Faults 20 and 24: what works beside the workers: beat, and the sweeper with much in front of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.arena import Arena
from tests.chaos.client import ENDPOINT
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.chaos.servers import CACHE, CONTROL, MONGOD
from tests.support.eventually import eventually

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
ROOT = Path(__file__).resolve().parents[2]
_IN_FRONT = 10_000
_ASKERS = 8
_DAY_MS = 86_400_000


@pytest.mark.fault("20", "two beats; beat dead")
def test_beat_may_be_there_twice_or_not_at_all(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    arena = arena_of(Rules(seed, beat=True))
    with _second_beat(arena, tmp_path):
        arena.tenants["one"].submit(items // 2)
        arena.rest()
    # And then none at all
    arena.hit("kill beat", lambda: arena.kill("beat"))
    arena.tenants["two"].submit(items // 2)
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.mark.fault("20b", "one run per due time under two beats")
def test_a_schedule_runs_once_per_due_time(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    arena = arena_of(Rules(seed, beat=True))
    tenant = arena.tenants["one"]
    # Given a schedule, and two beats
    with _second_beat(arena, tmp_path):
        first = tenant.submit(items // 4)
        batch = {name: tenant.batch(first.id)[name] for name in ("input_file_id", "endpoint")}
        wanted = {"batch": batch | {"completion_window": "24h"}, "every_s": 5, "missed": "all"}
        path = f"/v1/schedules/{tenant.insist('POST', '/v1/schedules', json=wanted)['id']}"

        def runs() -> list[Any]:
            return list(tenant.insist("GET", f"{path}/runs?limit=100")["data"])[::-1]

        eventually(lambda: len(runs()) >= 2, 30)
        # When a beat dies, control Redis forgets everything, and a worker dies
        arena.hit("kill a beat", lambda: arena.kill("beat"))
        with arena.control() as control:
            arena.hit("FLUSHALL", control.flushall)
        arena.hit("kill a worker", lambda: arena.kill("worker-1"))
        before = len(runs())
        eventually(lambda: len(runs()) >= before + 3, 60, what=arena.how_it_stands)
        tenant.insist("PATCH", path, json={"enabled": False})
    # Then there is one run for each due time from the first to the last, and one batch for each run.
    found = runs()
    due = [run["due"] for run in found]
    assert due == list(range(due[0], due[-1] + 1, 5))
    assert {run["state"] for run in found} == {"started"}
    made = {doc["_id"] for doc in arena.db["batch_jobs"].find({"schedule": {"$exists": True}}, {"_id": 1})}
    assert sorted(made) == sorted(run["batch_id"] for run in found)
    tenant.submitted += [replace(first, id=batch_id) for batch_id in sorted(made)]
    arena.rest()
    verdict(arena, Expected(recovers=False))


def test_a_prompt_that_beat_keeps_warm_is_paid_once_a_life_however_many_ask(
    arena_of: Opens, seed: int
) -> None:
    arena = arena_of(Rules(seed, beat=True, latency_ms=300))
    tenant = arena.tenants["one"]
    prompts = {"c1": "What is asked every morning?"}
    file_id = tenant.upload(prompts)
    batch = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"}
    # Given eight schedules that warm the same prompt, over two workers
    wanted = {"batch": batch, "kind": "warm", "every_s": 5}
    ids = [tenant.insist("POST", "/v1/schedules", json=wanted)["id"] for _ in range(_ASKERS)]

    def fired_since(moment: float) -> bool:
        runs = [tenant.insist("GET", f"/v1/schedules/{each}/runs")["data"] for each in ids]
        return all(
            any(run["begun_at"] > moment and run["batch_status"] == "completed" for run in of_one)
            for of_one in runs
        )

    # When they have fired, then one of them has paid, and whoever asks has the answer from the cache.
    eventually(lambda: fired_since(0), 30, what=arena.how_it_stands)
    assert len(list(arena.calls())) == 1
    asked = tenant.submit(1, prompt=lambda _: prompts["c1"])
    arena.rest()
    assert tenant.batch(asked.id)["batchwright"]["cached"] == len(list(arena.calls())) == 1
    # And when the answer is near its end, the next firing renews it, for one call.
    with redis.Redis.from_url(arena.servers.urls[CACHE]) as cache:
        (key,) = list(cache.scan_iter(match="ai:*"))
        cache.pexpire(key, 60_000)
        near_its_end = time.time()
        eventually(lambda: fired_since(near_its_end), 30, what=arena.how_it_stands)
        assert len(list(arena.calls())) == 2
        assert cache.pttl(key) > 6 * _DAY_MS


@contextmanager
def _second_beat(arena: Arena, directory: Path) -> Iterator[None]:
    """Another beat beside the stack's, which has sent a tick; it is killed at the end."""
    urls, ready = arena.servers.urls, directory / "second-beat.ready"
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "BATCHWRIGHT_REDIS_URL": urls[CONTROL],
        "BATCHWRIGHT_CACHE_REDIS_URL": urls[CACHE],
        "BATCHWRIGHT_MONGODB_URL": urls[MONGOD],
        "BATCHWRIGHT_READY_FILE": str(ready),
    }
    command = [sys.executable, "-m", "celery", "-A", "workers.celery_app", "beat", "--pidfile="]
    second = subprocess.Popen(command, env=environ, cwd=directory, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: second.poll() is not None or ready.exists(), 20)
        assert second.poll() is None
        yield
    finally:
        second.kill()
        second.wait()


@pytest.mark.quick
@pytest.mark.fault("24", "10,000 ineligible shards in front of the sweeper")
def test_what_cannot_be_swept_does_not_hide_what_can(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    # Given shards that nobody may touch, all of which come first: leased, sent off a moment ago, or at rest
    arena = arena_of(Rules(seed, latency_ms=150, environ={"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "8"}))
    later = datetime.now(UTC) + timedelta(hours=1)
    states = (
        {"status": "leased", "lease_until": later, "owner": "somebody@else:1"},
        {"status": "dispatched", "dispatch": {"token": "t", "at": later}},
        {"status": "queued", "next_at": later, "reason": "retry"},
    )
    shape = {"provider": "elsewhere", "tenant": "none", "priority": 0, "est_tokens": 1, "size": 1, "seq": 1}
    shape |= {"fence": 1, "started": 0, "moved": [], "batch_id": "batch_000000000000"}
    arena.db["batch_shards"].insert_many(
        shape | states[number % 3] | {"_id": f"batch_000000000000.{number:05d}"}
        for number in range(_IN_FRONT)
    )
    # When a worker dies
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    arena.recorded_reaches(items // 10)
    arena.hit("kill a worker", lambda: arena.kill("worker-1"))
    # Then its shards are taken over in time all the same.
    arena.rest(arena.rules.recovery_s)
    arena.db["batch_shards"].delete_many({"batch_id": "batch_000000000000"})
    verdict(arena, Expected())
