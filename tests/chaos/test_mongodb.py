"""Fault 13: MongoDB, which holds the truth, is killed, votes, stays away, is slow, is full, or takes no results.

What is answered waits in the workers' buffers, no call starts that could not be announced, intake says 503, or 507
where the disk is full, and everything goes on by itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pymongo
import pytest
from pymongo.errors import PyMongoError

from app.embedded.errors import StackError
from tests.chaos.arena import Arena
from tests.chaos.oracle import Expected, Finding
from tests.chaos.outages import logged, outage
from tests.chaos.replicas import Replicas
from tests.chaos.rules import Rules
from tests.chaos.servers import MONGOD
from tests.support.eventually import eventually

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
SLOTS = 8
FEW_SLOTS = {"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": str(SLOTS)}
_DISK_MB = 700


def _under_way(arena: Arena, items: int) -> None:
    for tenant in arena.tenants.values():
        tenant.submit(items // 2)
    arena.recorded_reaches(items // 10)


def _calls_between(arena: Arena, begin: float, end: float) -> int:
    return sum(begin < call["time"] < end for call in arena.calls())


def _upload(arena: Arena) -> tuple[int, dict[str, str], str]:
    """One try to bring a file in: status, headers, and the code of the refusal."""
    file = ("in.jsonl", b"{}\n", "application/octet-stream")
    response = arena.tenants["one"].ask("POST", "/v1/files", data={"purpose": "batch"}, files={"file": file})
    code = "" if response.is_success else response.json()["error"]["code"]
    return response.status_code, dict(response.headers), code


@pytest.mark.quick
@pytest.mark.fault("13", "MongoDB killed and started again")
def test_a_killed_mongodb_costs_nothing(arena_of: Opens, verdict: Judges, seed: int, items: int) -> None:
    arena = arena_of(Rules(seed, latency_ms=100, environ=FEW_SLOTS))
    _under_way(arena, items)
    hit = arena.hit("kill -9 mongod", lambda: arena.servers.kill(MONGOD))
    arena.servers.start_again(MONGOD)
    eventually(lambda: _takes_writes(arena), 30)
    hit.healed_at = time.time()
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.mark.fault("13", "three mongods: primary steps down every two leases, then kill -9 of it")
def test_an_election_every_few_leases_costs_nothing(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(
        Rules(seed, latency_ms=200, members=3, environ={"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "4"})
    )
    servers = arena.servers
    assert isinstance(servers, Replicas)
    _under_way(arena, items)
    for _ in range(3):
        assert arena.recorded() < arena.accepted()
        with outage(arena, "step down", servers.step_down, lambda: None, leases=2):
            arena.tenants["two"].submit(items // 8)
    # When the primary dies, the other two go on; it comes back as a member among others.
    was = str(servers.primary())
    hit = arena.hit(f"kill -9 {was}", lambda: servers.kill(was))
    servers.new_primary(was)
    hit.healed_at = time.time()
    arena.tenants["one"].submit(items // 8)
    servers.start_again(was)
    arena.rest()
    verdict(arena, Expected())


@pytest.mark.fault("13", "MongoDB down for 5 leases")
def test_while_mongodb_is_away_calls_stop_and_intake_says_so(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, lease_s=2.0, latency_ms=100, environ=FEW_SLOTS))
    _under_way(arena, items)
    assert arena.recorded() < arena.accepted()
    with outage(
        arena,
        "kill -9 mongod",
        lambda: arena.servers.kill(MONGOD),
        lambda: arena.servers.start_again(MONGOD),
        leases=5,
    ) as hit:
        # Then a file is refused in the form that clients repeat, with the time after which they should.
        status, headers, code = _upload(arena)
        assert (status, code) == (503, "store_unavailable")
        assert int(headers["retry-after"]) > 0
    arena.rest()
    verdict(arena, Expected(max_excess=2 * SLOTS))
    # And only what had been announced before was called: one call for each slot of the two workers.
    assert _calls_between(arena, hit.at, hit.healed_at or 0) <= 2 * SLOTS
    assert "MongoDB does not take" in logged(arena, "worker-1") + logged(arena, "worker-2")


@pytest.mark.fault("13", "MongoDB takes no results: calls stop at the buffer's bound")
def test_calls_stop_when_the_buffer_of_results_is_full(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    # Given a buffer as scaled as the rest, and a database that takes everything but results
    bound = max(10, items // 10)
    constants = {"workers.engine.recorder:BUFFER_RESULTS": bound}
    arena = arena_of(Rules(seed, latency_ms=50, environ=FEW_SLOTS, constants=constants))
    _under_way(arena, items)
    results, everything = arena.db["batch_results"].name, {"never": {"$exists": True}}

    def refuse(validator: object) -> None:
        arena.db.command("collMod", results, validator=validator)

    before = arena.recorded()
    hit = arena.hit("results refused", lambda: refuse(everything))
    workers = arena.db["worker_processes"]
    full = {"stats.record_buffer_results": {"$gte": bound}}
    eventually(lambda: workers.count_documents(full) == 2, 30, what=arena.how_it_stands)
    arena.last(arena.rules.lease_s)
    eventually(lambda: _both_rest(arena), 20)
    refuse({})
    hit.healed_at = time.time()
    # Then each worker had stopped at its bound; what it had under way came on top.
    made = _calls_between(arena, hit.at, hit.healed_at)
    assert made <= 2 * (bound + 2 * SLOTS), (made, before)
    arena.rest()
    verdict(arena, Expected(max_excess=0))


def _both_rest(arena: Arena) -> bool:
    """Whether both workers have just been refused, and rest for half a second.

    Were the refusals to end between a result and the error that is tried in its place, the error would stand.
    """
    ages_s = []
    for name in ("worker-1", "worker-2"):
        refused = [line for line in logged(arena, name).splitlines() if "MongoDB does not take" in line]
        ages_s.append(time.time() - datetime.fromisoformat(refused[-1].split()[0]).timestamp())
    return min(ages_s) < 0.15 and max(ages_s) < 0.35


@pytest.mark.fault("13", "MongoDB at 1 s a command")
def test_a_slow_mongodb_costs_time_and_nothing_else(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    # Given a lease that outlives a few slow commands, as production's does
    arena = arena_of(Rules(seed, lease_s=6.0, latency_ms=100, via=(MONGOD,), environ=FEW_SLOTS))
    _under_way(arena, items)
    proxy = arena.proxies[MONGOD]
    with outage(arena, "1 s a command", lambda: proxy.delay(0.5), proxy.heal, leases=1):
        arena.tenants["one"].submit(items // 8)
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for mongod: fill it and nobody else is harmed."""
    place = tmp_path / "arena" / "mongodb"
    place.mkdir(parents=True)
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("a disk that can be filled needs root, to mount one")
    options = f"size={_DISK_MB}m,mode=0700"
    done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "chaos", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(f"a disk that can be filled cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.fault("13", "MongoDB's disk full")
def test_a_full_disk_stops_intake_then_calls_and_loses_nothing(
    small_disk: Path, arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    slow = {"BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "4", "BATCHWRIGHT_DISK_STOP_PERCENT": "95"}
    arena = arena_of(Rules(seed, latency_ms=300, environ=slow))
    _under_way(arena, items)
    filler = small_disk / "filler"
    # When the disk is nearly full, then nothing new is taken in, and what runs goes on.
    arena.hit("disk at 97 %", lambda: _fill(filler, leave=0.03))

    def refuses() -> bool:
        _fill(filler, leave=0.03)  # mongod may have given back some of its own meanwhile
        return _upload(arena)[0] == 507

    eventually(refuses, 20)
    arena.recorded_reaches(arena.recorded() + 1)

    # When it is full, mongod ends itself, and again as often as a supervisor starts it.
    def ends_itself() -> bool:
        _fill(filler, leave=0.0)
        _checkpoint(arena)
        return arena.servers.ended(MONGOD)

    with outage(arena, "disk full", lambda: _fill(filler, leave=0.0), filler.unlink, leases=3):
        eventually(ends_itself, 60)
        assert _upload(arena)[0] in (503, 507)
        _supervise(arena)

    # When there is room, it goes on from where it was.
    def is_back() -> bool:
        _supervise(arena)
        return _takes_writes(arena)

    eventually(is_back, 60, what=arena.how_it_stands)
    arena.hits[-1].healed_at = time.time()
    assert arena.recorded() < arena.accepted()
    arena.rest()
    verdict(arena, Expected(max_excess=0))


def _fill(path: Path, *, leave: float) -> None:
    """Take the room of a disk but for this share of it, as far as it is not taken yet."""
    disk = os.statvfs(path.parent)
    left = (disk.f_bavail - int(disk.f_blocks * leave)) * disk.f_frsize
    if left > 0:
        with path.open("ab") as filler, contextlib.suppress(OSError):  # somebody else may take it meanwhile
            os.posix_fallocate(filler.fileno(), filler.tell(), left)


def _checkpoint(arena: Arena) -> None:
    """What mongod does once a minute; until then its journal has room of its own, made beforehand."""
    with contextlib.suppress(PyMongoError), pymongo.timeout(1.0):
        arena.db.client.admin.command("fsync")


def _supervise(arena: Arena) -> None:
    """Start mongod again if it has ended."""
    if arena.servers.ended(MONGOD):
        with contextlib.suppress(StackError):
            arena.servers.start_again(MONGOD)


def _takes_writes(arena: Arena) -> bool:
    with contextlib.suppress(PyMongoError), pymongo.timeout(1.0):
        return bool(arena.db.client.admin.command("hello")["isWritablePrimary"])
    return False
