"""Faults 14 to 16: providers that hang, break connections and refuse. What they answer: test_nonsense.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.odd_provider import ODD_MODEL, OddCall, OddProvider, Rule, odd_provider
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.support.eventually import eventually
from tests.support.hostile_h2 import Headers
from workers.store import keys
from workers.store.mongo import NEVER

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
both_clients = pytest.mark.parametrize("client", ["httpx", "pyreqwest"])
_STREAMS = 50
# "The client recovers within a second", and what a call needs on a busy machine.
_RECOVERY_S = 1.0
_REPEATS_AFTER_S = 0.4
_BUSY_S = 0.5
# What a refusal needs to be read, told to Redis and heard by the other process.
_HEARD_S = 0.3
_LONGEST_S = 900.0


def _said(client: str) -> dict[str, str]:
    return {"BATCHWRIGHT_HTTP_TRANSPORT": client}


def _opened(arena_of: Opens, rules: Rules) -> Arena:
    arena = arena_of(rules)
    for tenant in arena.tenants.values():
        tenant.model = ODD_MODEL
    return arena


@pytest.mark.fault("14", "a provider that hangs on one request")
@both_clients
def test_a_call_that_hangs_ends_by_its_deadline_and_its_neighbours_on_the_connection_by_their_answer(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path, client: str
) -> None:
    read_s = 6.0
    names = {3: "[once]", 7: "[always]"}
    with odd_provider(tmp_path / "arena", seed) as odd:

        def rule(call: OddCall) -> None:
            hangs = "[always]" in call.prompt or ("[once]" in call.prompt and call.times == 1)
            call.hang() if hangs else call.answer()

        odd.rule = rule
        settings = {**odd.environ(read_s=read_s), **_said(client)}
        arena = _opened(arena_of, Rules(seed, workers=1, tenants=("one",), environ=settings))
        # When two of a batch's calls hang
        count = min(items, 200)
        arena.tenants["one"].submit(count, prompt=lambda n: f"Summarise {names.get(n, '')} remark {n}.")
        eventually(lambda: len(odd.said("hang")) == 2, 30, what=arena.how_it_stands)
        arena.hit("hang", lambda: None)
        # Then all others are recorded while they do, over the same connections, and asked for once
        arena.recorded_reaches(count - 2, within_s=30)
        hung = odd.said("hang")[:2]
        assert time.time() < hung[0].at + read_s
        for call in hung:
            assert [one for one in odd.said("200") if one.on == call.on and one.at > call.at]
        # and those two end by their deadline: one repeat each, which one of them has an answer to.
        arena.rest()
        verdict(arena, Expected(max_excess=2, errors=frozenset({"timeout"})))
        assert sorted(call.prompt for call in odd.calls if call.times > 1) == sorted(
            call.prompt for call in hung
        )


def _after_fifty(what: str) -> Rule:
    """Each connection breaks at its fiftieth call, until the first repeats come: no item is hit twice."""
    began: list[float] = []

    def rule(call: OddCall) -> None:
        breaks = call.nth_on == _STREAMS and (not began or call.at < began[0] + _REPEATS_AFTER_S)
        if breaks:
            began.append(call.at)
        (getattr(call, what) if breaks else call.answer)()

    return rule


@pytest.mark.fault("15", "a provider that breaks connections after 50 streams")
@both_clients
@pytest.mark.parametrize("what", ["close", "reset", "goaway"])
def test_a_connection_that_the_provider_breaks_is_replaced_within_a_second(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path, client: str, what: str
) -> None:
    with odd_provider(tmp_path / "arena", seed) as odd:
        odd.rule = _after_fifty(what)
        # At twenty calls at once: all that a connection loses is in flight at its fiftieth.
        settings = {**odd.environ(more="limits = { concurrency = 20 }\n"), **_said(client)}
        arena = _opened(arena_of, Rules(seed, workers=1, tenants=("one",), environ=settings))
        arena.tenants["one"].submit(items)
        eventually(lambda: odd.said(what), 30, what=arena.how_it_stands)
        hit = arena.hit(what, lambda: None)
        arena.rest()
        # What had come on the connection by then is read after its end.
        hit.healed_at = odd.said(what)[-1].ended_at + _BUSY_S
        verdict(arena, Expected(max_excess=0 if what == "goaway" else None))
        waits = _waits_after(odd, odd.said(what))
        assert max(waits) < _RECOVERY_S + _BUSY_S


def _waits_after(odd: OddProvider, broken: Sequence[OddCall]) -> list[float]:
    """Seconds from each break to the next call that arrives; none where nothing was left to call."""
    arrived = sorted(call.at for call in odd.calls)
    later = [[at for at in arrived if at > call.ended_at] for call in broken]
    return [after[0] - call.ended_at for call, after in zip(broken, later, strict=True) if after]


@pytest.mark.fault("15", "100 cancelled streams")
@both_clients
def test_after_a_hundred_cancelled_streams_the_others_go_on(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path, client: str
) -> None:
    read_s, stuck, each_s = 3.0, 100, 0.5
    with odd_provider(tmp_path / "arena", seed) as odd:

        def rule(call: OddCall) -> None:
            hangs = "[stuck]" in call.prompt and call.times == 1
            call.hang() if hangs else call.answer(each_s)

        odd.rule = rule
        limits = "limits = { concurrency = 150 }\n"
        # The breaker rests a provider after ten failures in a row; here it is the client that is looked at.
        settings = {
            **odd.environ(read_s=read_s, more=limits),
            **_said(client),
            "BATCHWRIGHT_BREAKER_FAILURES": "1000",
        }
        arena = _opened(arena_of, Rules(seed, workers=1, tenants=("one",), environ=settings))
        # Given more to do than the time until the deadline, at 50 calls at once beside those that hang
        others = max(items, 400)
        arena.tenants["one"].submit(
            others + stuck, prompt=lambda n: f"Summarise {'[stuck]' if n < stuck else ''} remark {n}."
        )
        eventually(lambda: len(odd.said("hang")) == stuck, 30, what=arena.how_it_stands)
        arena.hit("cancelled", lambda: None)
        arena.rest()
        found = verdict(arena, Expected(max_excess=stuck))
        assert found.excess_seen == stuck
        # When they are cancelled, then no call of others is late or repeated.
        first = min(call.at for call in odd.said("hang"))
        arrived = sorted(call.at for call in odd.calls)
        gaps = [after - at for at, after in pairwise(arrived) if at > first]
        assert max(gaps) < _RECOVERY_S + each_s + _BUSY_S
        assert {call.prompt for call in odd.calls if call.times > 1} == {c.prompt for c in odd.said("hang")}


def _storm(headers: Sequence[Headers], lasts_s: float) -> Rule:
    """After the fiftieth call nothing but 429 for so long, with each of these headers in turn."""
    began: list[float] = []

    def rule(call: OddCall) -> None:
        if call.number > _STREAMS and (not began or call.at < began[0] + lasts_s):
            began.append(call.at)
            call.refuse(429, headers[len(began) % len(headers)])
        else:
            call.answer()

    return rule


@pytest.mark.fault("16", "a storm of 429 for 3 s, with Retry-After")
def test_nobody_calls_before_the_time_that_a_refusal_named(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    wait_s = 2.0
    with odd_provider(tmp_path / "arena", seed) as odd:
        odd.rule = _storm([[("retry-after", f"{wait_s:g}")]], 3.0)
        # At twenty calls at once: hundreds would still be arriving when the refusal of the first has been heard.
        arena = _opened(arena_of, Rules(seed, environ=odd.environ(more="limits = { concurrency = 20 }\n")))
        for tenant in arena.tenants.values():
            tenant.submit(items // 2)
        eventually(lambda: odd.said("429"), 30, what=arena.how_it_stands)
        arena.hit("storm", lambda: None)
        arena.rest()
        verdict(arena, Expected(max_excess=0))
        early = [
            (call.at - refused.ended_at, call.said)
            for refused in odd.said("429")
            for call in odd.calls
            if _HEARD_S < call.at - refused.ended_at < wait_s
        ]
        assert not early


@pytest.mark.fault("16", "a storm of 429 for 3 s, without Retry-After and with -1, 0 and garbage in it")
def test_a_storm_without_a_time_is_waited_out(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    words = ["-1", "0", "soon", "NaN", "inf", "1e999", "Thu, 01 Jan 1970 00:00:00 GMT", ""]
    with odd_provider(tmp_path / "arena", seed) as odd:
        odd.rule = _storm([[], *([("retry-after", word)] for word in words)], 3.0)
        arena = _opened(arena_of, Rules(seed, environ=odd.environ()))
        for tenant in arena.tenants.values():
            tenant.submit(items // 2)
        first = eventually(lambda: odd.said("429"), 30, what=arena.how_it_stands)[0]
        hit = arena.hit("storm", lambda: None)
        # When it is over, then every item has its answer soon: no sleep of ours was longer than the storm asked for.
        hit.healed_at = first.at + 3.0
        arena.rest(60)
        verdict(arena, Expected(max_excess=0))


@pytest.mark.fault("16", "a Retry-After of a day")
def test_nobody_sleeps_longer_than_a_quarter_of_an_hour_on_a_provider_s_word(
    arena_of: Opens, verdict: Judges, seed: int, tmp_path: Path
) -> None:
    with odd_provider(tmp_path / "arena", seed) as odd:
        odd.rule = _storm([[("retry-after", "86400")]], 3600.0)
        arena = _opened(arena_of, Rules(seed, tenants=("one",), environ=odd.environ()))
        batch = arena.tenants["one"].submit(200)
        shards = arena.db["batch_shards"]
        soon = datetime.now(UTC) + timedelta(seconds=30)
        waiting = {"status": "queued", "next_at": {"$gt": soon, "$lt": NEVER}}
        eventually(lambda: shards.count_documents(waiting) > 0, 40, what=arena.how_it_stands)
        arena.hit("a day", lambda: None)
        # Then neither a shard nor the provider's own pause lasts longer
        until = max(doc["next_at"] for doc in shards.find(waiting))
        assert until <= datetime.now(UTC) + timedelta(seconds=_LONGEST_S)
        with arena.control() as control:
            paused_ms = float(control.hget(keys.limit("odd"), "paused"))
        assert time.time() + 30 < paused_ms / 1000 <= time.time() + _LONGEST_S
        # and whoever does not want to wait that long is not kept.
        arena.tenants["one"].insist("POST", f"/v1/batches/{batch.id}/cancel")
        arena.rest(20)
        verdict(arena, Expected(max_excess=0, errors=frozenset({"batch_cancelled"}), recovers=False))
