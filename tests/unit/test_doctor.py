"""What each check of `doctor` concludes, on servers that are well and on those that are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import ResponseError

from app.doctor import machine, redis_check
from app.doctor.findings import Finding, run_checks
from app.doctor.machine import of_memory
from app.doctor.measures import (
    RoundTrip,
    Timing,
    address,
    clock_finding,
    clock_offset_s,
    ping_often,
    with_round_trips,
)
from app.doctor.mongo_check import check_mongodb, mongodb_timing, no_primary, replica_set
from app.doctor.redis_check import CACHE, CONTROL, Role, check_redis, persistence, redis_timing
from config.settings import Settings
from tests.support.servers import TestServers

KEY = "sk-never-shown"
NOBODY = "127.0.0.1:1"


# --- how checks run


def test_a_check_that_hangs_and_one_that_breaks_hide_nothing_of_the_others() -> None:
    release = threading.Event()

    def hangs() -> list[Finding]:
        release.wait(10)
        return []

    def breaks() -> list[Finding]:
        raise KeyError(KEY)

    began = time.monotonic()
    found = run_checks({"slow": hangs, "broken": breaks, "good": lambda: [Finding("good", "ok", "")]}, 0.1)
    release.set()
    assert [(each.name, each.state) for each in found] == [
        ("slow", "problem"),
        ("broken", "problem"),
        ("good", "ok"),
    ]
    assert time.monotonic() - began < 2
    assert "KeyError in breaks" in found[1].text and KEY not in str(found)


# --- round trips and clocks


@given(st.lists(st.floats(0, 10), min_size=1, max_size=120))
def test_a_round_trips_figures_are_in_order_and_among_the_times(seconds: list[float]) -> None:
    trip = RoundTrip.of(seconds)
    assert trip.min_ms <= trip.median_ms <= trip.p99_ms
    assert {trip.min_ms, trip.median_ms, trip.p99_ms} <= {round(each * 1000, 3) for each in seconds}


def test_the_99th_of_a_hundred_pings_leaves_out_the_one_worst() -> None:
    trip = RoundTrip.of([0.001] * 98 + [0.005, 9.0])
    assert (trip.pings, trip.min_ms, trip.median_ms, trip.p99_ms) == (100, 1.0, 1.0, 5.0)


def test_pings_to_a_far_server_end_after_a_while_and_those_to_a_near_one_after_a_hundred() -> None:
    now_s = 0.0

    def ping_for(seconds: float) -> int:
        def ping() -> None:
            nonlocal now_s
            now_s += seconds

        return ping_often(ping, lambda: now_s).pings

    assert ping_for(0.001) == 100 and ping_for(0.4) == 3 and ping_for(30.0) == 1


def test_a_server_that_is_far_away_is_a_warning_and_one_that_is_gone_again_a_problem() -> None:
    def gone() -> RoundTrip:
        raise ConnectionError

    near, far = RoundTrip.of([0.001]), RoundTrip.of([0.2])
    timings = {"near": Timing(lambda: near, 5), "far": Timing(lambda: far, 5), "gone": Timing(gone, 5)}
    found = [Finding(name, "ok", "it answers") for name in timings] + [Finding("far", "problem", "old")]
    timed = with_round_trips(found, timings)
    assert [each.state for each in timed] == ["ok", "warning", "problem", "problem"]
    assert timed[0].text == "it answers, round trip 1.00 ms (min 1.00, p99 1.00)"
    assert timed[1].fix and timed[3] is found[3]


def test_a_clock_is_compared_with_the_middle_of_the_round_trip() -> None:
    ours = iter((100.0, 104.0))
    assert clock_offset_s(lambda: 105.0, lambda: next(ours)) == 3.0


def test_clocks_are_judged_by_the_one_that_is_furthest_off() -> None:
    near = Finding("mongodb", "ok", "", data={"clock_offset_s": 0.002})
    (fine,) = clock_finding([near, Finding("disk", "ok", "")])
    (late,) = clock_finding([near, Finding("control redis", "ok", "", data={"clock_offset_s": -90.5})])
    assert (fine.state, fine.text) == ("ok", "this machine and its servers agree within 2 ms")
    assert late.state == "warning" and "control redis is 90.5 s behind ours" in late.text and late.fix
    assert clock_finding([Finding("disk", "ok", "")]) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:pw@cache.example:6379/0?password=pw", "redis://cache.example:6379"),
        ("mongodb://me:pw@a.example,b.example/?replicaSet=rs0", "mongodb://a.example,b.example"),
        ("unix://:pw@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_an_address_is_shown_without_what_is_secret_in_it(url: str, shown: str) -> None:
    assert address(url) == shown


# --- servers


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock shows another hour than UTC's."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_away")
def test_running_servers_are_found_well(servers: TestServers) -> None:
    control = check_redis(CONTROL, servers.redis_url)
    cache = check_redis(CACHE, servers.cache_redis_url)
    mongodb = check_mongodb(servers.mongodb_url)
    found = [*control, *cache, *mongodb]
    assert [(each.state, each.fix) for each in found] == [("ok", "")] * 8
    timings = {CONTROL.name: redis_timing(servers.redis_url), "mongodb": mongodb_timing(servers.mongodb_url)}
    timed = {each.name: each for each in with_round_trips(found, timings)}
    for name in timings:
        assert timed[name].data["round_trip"]["pings"] > 1 and timed[name].data["version"]
        assert abs(timed[name].data["clock_offset_s"]) < 1
    assert timed[CACHE.name] == cache[0]
    assert control[1].data["policy"] == "noeviction"
    assert mongodb[1].data["writable"] is True


def test_a_server_that_is_away_or_refuses_us_is_a_problem_and_its_password_stays_secret(
    servers: TestServers,
) -> None:
    wrong = f"redis://:{KEY}@{servers.redis_url.rpartition('@')[2]}"
    found = [
        *check_redis(CONTROL, f"redis://me:{KEY}@{NOBODY}/0"),
        *check_redis(CONTROL, wrong),
        *check_redis(CONTROL, "redis://[nonsense"),
        *check_mongodb(f"mongodb://me:{KEY}@host,,:x/"),
    ]
    assert {each.state for each in found} == {"problem"} and len(found) == 4
    assert "does not answer" in found[0].text and "refuses the password" in found[1].text
    assert all(each.fix for each in found) and KEY not in str(found)


def test_a_redis_that_cannot_write_to_its_disk_is_not_called_away(
    servers: TestServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Redis) -> None:
        raise ResponseError(said)

    monkeypatch.setattr(Redis, "ping", refuse)
    said = "MISCONF Errors writing to the AOF file: No space left on device"
    answers, *_ = check_redis(CONTROL, servers.redis_url)
    (timed,) = with_round_trips([answers], {CONTROL.name: redis_timing(servers.redis_url)})
    assert (answers.state, timed.state) == ("ok", "ok")
    said = "LOADING Redis is loading the dataset in memory"
    (found,) = check_redis(CONTROL, servers.redis_url)
    assert found.state == "problem" and "does not answer" in found.text


@pytest.mark.parametrize(
    ("role", "info", "state", "said"),
    [
        (
            CONTROL,
            {"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 50},
            "ok",
            "noeviction",
        ),
        (CONTROL, {"maxmemory_policy": "allkeys-lru", "maxmemory": 100}, "problem", "forgets messages"),
        (CONTROL, {"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 95}, "warning", "used"),
        (
            CACHE,
            {"maxmemory_policy": "allkeys-lfu", "maxmemory": 100, "used_memory": 95},
            "ok",
            "allkeys-lfu",
        ),
        (CACHE, {"maxmemory_policy": "noeviction", "maxmemory": 100}, "warning", "keeps no new answers"),
        (CACHE, {"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "warning", "never forgets"),
    ],
)
def test_a_memory_policy_is_held_against_what_the_server_is_for(
    role: redis_check.Role, info: dict[str, Any], state: str, said: str
) -> None:
    found = redis_check.memory(role, info)
    assert found.state == state and said in found.text and bool(found.fix) == (state != "ok")


@pytest.mark.parametrize(
    ("hello", "state"),
    [
        ({"setName": "rs0", "isWritablePrimary": True, "hosts": ["a"]}, "ok"),
        ({"msg": "isdbgrid", "isWritablePrimary": True}, "ok"),
        ({"isWritablePrimary": True}, "problem"),
        ({"setName": "rs0", "isWritablePrimary": False, "hosts": ["a", "b"]}, "problem"),
    ],
)
def test_mongodb_must_be_a_replica_set_and_the_member_asked_its_primary(hello: Any, state: str) -> None:
    assert replica_set(hello).state == state


@pytest.mark.parametrize(
    ("known", "said"), [([], "is not of the replica set"), ([True, False], "has no primary"), ([False], None)]
)
def test_a_mongodb_of_another_set_is_told_from_one_without_a_primary_and_one_that_is_away(
    known: list[bool], said: str | None
) -> None:
    found = no_primary("db:27017", known)
    assert (found is None) if said is None else (found is not None and said in found.text and found.fix)


# --- this machine


@pytest.mark.parametrize(
    ("role", "info", "state", "said"),
    [
        (CONTROL, {"aof_enabled": 1}, "ok", "AOF is on"),
        (CONTROL, {"aof_enabled": 0}, "warning", "no AOF"),
        (CACHE, {"aof_enabled": 0}, "ok", "no AOF"),
        (CONTROL, {"aof_enabled": 1, "aof_last_write_status": "err"}, "problem", "of the AOF failed"),
        (CACHE, {"aof_enabled": 1, "rdb_last_bgsave_status": "err"}, "problem", "of the RDB failed"),
    ],
)
def test_what_a_restart_would_forget_is_held_against_what_the_server_is_for(
    role: Role, info: dict[str, Any], state: str, said: str
) -> None:
    found = persistence(role, info)
    assert found.state == state and said in found.text and bool(found.fix) == (state != "ok")


def test_a_machine_that_is_short_of_memory_is_a_warning() -> None:
    assert of_memory(4_000_000_000, 8_000_000_000).state == "ok"
    found = of_memory(200_000_000, 8_000_000_000)
    assert found.state == "warning" and "0.2 of 8.0 GB free" in found.text and found.fix


def test_a_disk_is_measured_above_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    found = machine.disk(tmp_path / "not" / "yet")
    assert found.data["path"] == str(tmp_path) and found.data["free_bytes"] > 0
    (tmp_path / "file").touch()
    assert machine.disk(tmp_path / "file").state == "problem"


def test_more_connections_than_open_files_are_a_warning() -> None:
    plain = Settings()
    assert machine.open_files(plain).data["needed"] == machine.needed_files(plain)
    greedy = replace(plain, http=replace(plain.http, max_connections=10**9))
    assert machine.open_files(greedy).state == "warning"


def test_the_transport_is_named_with_the_reason_for_it() -> None:
    chosen, demanded = machine.transport("auto"), machine.transport("httpx")
    assert chosen.state == "ok" and chosen.data["used"] in ("httpx", "pyreqwest")
    assert chosen.text.startswith(chosen.data["used"])
    assert demanded.text == "httpx: as the setting http.transport says"
