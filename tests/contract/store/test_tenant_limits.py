"""A tenant's own limits in a real control Redis: over all providers and processes, and nobody else's matter."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from itertools import accumulate

import pytest
from redis.asyncio import Redis

from tests.support.timed_redis import BUSY, NOW, RULES, Timed, asks, goes, seen
from workers.core.lanes import Ask, Go, NotNow, Owner, OwnerSeen, Rates, Seen, Verdict
from workers.store import keys
from workers.store.limiter import Limiter
from workers.store.redis import connect

pytestmark = pytest.mark.integration
FREE = Rates()
CROWDED = NotNow("tenant_concurrency", 0.25)


@pytest.fixture
def timed(control: Redis) -> Timed:
    return Timed(control)


def owner(rates: Rates, in_flight: int = 0, tenant: str = "t") -> Owner:
    return Owner(tenant, rates, in_flight, in_flight)


async def ask(
    limiter: Limiter, provider: str, of: Owner | None, count: int, rates: Rates = FREE, tokens: int = 1
) -> list[Verdict]:
    under_way = {"m": of.in_flight} if of and of.in_flight else {}
    return await limiter.reserve(provider, rates, asks(count, tokens=tokens), in_flight=under_way, owner=of)


async def rested(timed: Timed, of: Owner, rates: Rates = FREE) -> None:
    """Its buckets, and the provider's, are known and full."""
    await ask(timed.limiter("first"), "p", of, 1, rates)
    await timed.limiter("first").report("p", rates, Seen())
    timed.now_ms += 120_000


# --- one limit for all


async def test_a_tenants_requests_are_counted_over_providers_and_processes(timed: Timed) -> None:
    of, (one, other) = owner(Rates(600)), (timed.limiter("a"), timed.limiter("b"))
    await rested(timed, of)
    assert await ask(one, "p", of, 40) == [NOW] * 40
    verdicts = await ask(other, "q", of, 50)
    assert verdicts[:20] == [NOW] * 20 and verdicts[20] == Go(0.1) and verdicts[39] == Go(2.0)
    assert verdicts[40:] == [NotNow("tenant_requests", 2.1)] * 10
    # and nobody else waits
    assert await ask(other, "q", owner(Rates(600), tenant="u"), 1) == [NOW]
    assert await ask(other, "q", None, 500) == [NOW] * 500


async def test_tokens_are_counted_by_what_calls_truly_took(timed: Timed) -> None:
    of, limiter = owner(Rates(None, 60)), timed.limiter("a")  # a token a second, burst 6
    await rested(timed, of)
    assert await ask(limiter, "p", of, 2, tokens=6) == [NOW, NotNow("tenant_tokens", 6.0)]
    told = OwnerSeen(of.rates, reserved_tokens=6, used_tokens=1)
    await limiter.report("p", FREE, Seen(owners={"t": told}))
    assert await ask(limiter, "q", of, 1, tokens=5) == [NOW]


async def test_a_request_beyond_its_tenants_minute_takes_a_minute_of_it(timed: Timed) -> None:
    of, limiter = owner(Rates(None, 60)), timed.limiter("a")
    await rested(timed, of)
    assert await ask(limiter, "p", of, 1, tokens=10**9) == [NOW]
    assert await ask(limiter, "p", of, 1) == [NotNow("tenant_tokens", 55.0)]


async def test_calls_at_once_are_counted_over_providers_and_a_dead_process_counts_no_more(
    timed: Timed,
) -> None:
    rates, (one, other) = Rates(concurrency=5), (timed.limiter("a"), timed.limiter("b"))
    assert await ask(one, "p", owner(rates), 2) == [NOW] * 2
    assert await ask(one, "q", owner(rates), 2) == [NOW] * 2
    assert await ask(other, "p", owner(rates), 3) == [NOW, CROWDED, CROWDED]
    # when a call of the first process at `q` ends
    await one.report("q", FREE, Seen(owners={"t": OwnerSeen(rates, in_flight=1)}))
    assert await ask(other, "p", owner(rates, 1), 2) == [NOW, CROWDED]
    # and when the first one falls silent
    timed.now_ms += 14_000
    await other.report("p", FREE, Seen(owners={"t": OwnerSeen(rates, in_flight=2)}))
    timed.now_ms += 2_000
    assert await ask(other, "p", owner(rates, 2), 9) == [NOW] * 3 + [CROWDED] * 6
    await other.report("p", FREE, Seen(owners={"t": OwnerSeen(rates)}))
    assert not await timed.redis.exists(keys.tenant_calls("t"))


# --- neither pays for what the other refuses


async def test_what_the_provider_refuses_its_tenant_does_not_pay(timed: Timed) -> None:
    of, limiter, rates = owner(Rates(600, 6_000)), timed.limiter("a"), Rates(60)
    await rested(timed, of, rates)
    assert goes(await ask(limiter, "p", of, 100, rates)) == 8
    # 80 within two seconds, but none of them before the last that waits its turn at `p`
    assert goes(await ask(limiter, "q", of, 100)) == 59
    paused = Seen(lanes=seen(throttled=1, retry_after_s=30.0).lanes)
    await timed.limiter("b").report("r", FREE, paused)
    timed.now_ms += 2_000
    before = await timed.redis.hgetall(keys.tenant_limit("t"))
    assert await ask(limiter, "r", of, 5) == [NotNow("paused", 28.0)] * 5
    assert await timed.redis.hgetall(keys.tenant_limit("t")) == before


async def test_what_its_tenant_refuses_the_provider_does_not_pay(timed: Timed) -> None:
    of, limiter, rates = owner(Rates(60)), timed.limiter("a"), Rates(600, None, 100)
    await rested(timed, of, rates)
    verdicts = await ask(limiter, "p", of, 200, rates)
    assert verdicts[8:] == [NotNow("tenant_requests", 3.0)] * 192 and goes(verdicts[:8]) == 8
    await limiter.report("p", rates, Seen())
    # 60 at once, but none of them before the last of the tenant that waits its turn
    assert (await ask(limiter, "p", None, 52, rates))[:40] == [NOW] * 39 + [Go(0.1)]


async def test_a_repeated_script_takes_nothing_twice(timed: Timed) -> None:
    of, limiter = owner(Rates(60, 6_000, 50)), timed.limiter("a")
    await rested(timed, of)
    timed.repeats = 3
    assert await ask(limiter, "p", of, 6, tokens=10) == [NOW] * 6
    told = OwnerSeen(of.rates, in_flight=3, reserved_tokens=60, used_tokens=60, unmade=3)
    await limiter.report("p", FREE, Seen(owners={"t": told}))
    assert goes(await ask(limiter, "p", owner(of.rates, 3), 9)) == 5, "three were given back once"


async def test_a_limit_that_is_changed_holds_from_the_next_question_on(timed: Timed) -> None:
    limiter = timed.limiter("a")
    await rested(timed, owner(Rates(1)))
    assert goes(await ask(limiter, "p", owner(Rates(1)), 2)) == 1
    assert goes(await ask(limiter, "p", owner(Rates(6_000)), 500)) == 201, (
        "what was used up stands in no one's way"
    )
    assert goes(await ask(limiter, "p", owner(Rates(30)), 500)) == 2


async def test_no_tenants_limit_leaves_nothing_behind(timed: Timed) -> None:
    limiter = timed.limiter("a")
    await ask(limiter, "p", None, 5, Rates(600))
    await limiter.report("p", Rates(600), Seen())
    assert await timed.redis.keys("tenant_*") == []
    await rested(timed, owner(Rates(600, 600, 5)))
    for name in await timed.redis.keys("*"):
        assert 0 < await timed.redis.pttl(name) <= 3_700_000, "what nobody uses is forgotten"


async def test_without_redis_half_of_a_processs_part_of_the_tenant_is_kept() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout_s=0.1) as nowhere:
        limiter = Limiter(nowhere, holder="a", processes=2, breaker=RULES, clock=lambda: 50.0)
        of = owner(Rates(240))
        assert await ask(limiter, "p", of, 4) == [NOW, Go(1.0), Go(2.0), NotNow("tenant_requests", 3.0)]
        assert await ask(limiter, "q", of, 1) == [NotNow("tenant_requests", 3.0)], "over all providers"
        assert await ask(limiter, "q", None, 9) == [NOW] * 9
        told = OwnerSeen(of.rates, unmade=1)
        await limiter.report("p", FREE, Seen(owners={"t": told}))
        assert await ask(limiter, "q", of, 1) == [Go(2.0)]
        tokens = owner(Rates(None, 240), tenant="u")
        verdicts = await ask(limiter, "p", tokens, 1, tokens=10**9)
        assert verdicts == [NotNow("tenant_tokens", 6.0)], (
            "until a burst has come together, and not for years"
        )
        crowded = owner(Rates(concurrency=9), 1, tenant="v")
        assert await ask(limiter, "p", crowded, 2) == [NOW, CROWDED]
        assert await ask(limiter, "p", owner(Rates(concurrency=9), tenant="w"), 3, Rates(concurrency=4)) == [
            NOW,
            BUSY,
            BUSY,
        ]


async def test_without_redis_a_call_beyond_its_tenants_minute_takes_all_its_tokens_of_the_provider() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout_s=0.1) as nowhere:
        now_s = [50.0]
        limiter = Limiter(nowhere, holder="a", processes=1, breaker=RULES, clock=lambda: now_s[0])
        of, rates = owner(Rates(None, 100)), Rates(None, 240_000)
        await ask(limiter, "p", of, 1, rates)
        now_s[0] += 600.0
        assert await ask(limiter, "p", of, 1, rates, tokens=100_000) == [NOW]
        (refused,) = await ask(limiter, "p", None, 1, rates)
        assert isinstance(refused, NotNow) and refused.why == "limit"
        assert refused.wait_s == pytest.approx(44.0, abs=0.1)


# --- the law


@pytest.mark.parametrize("per_minute", [30, 600])
async def test_no_minute_holds_more_than_a_tenants_limit_and_burst_and_nothing_is_paid_for_calls_not_made(
    control: Redis, per_minute: int
) -> None:
    """Random histories of three processes at two providers, which refuse, pause, and let calls go unmade."""
    timed, draw = Timed(control), random.Random(per_minute)
    limiters = [timed.limiter(name) for name in "abc"]
    of, started = owner(Rates(per_minute)), list[float]()
    other_refused = 0
    for _ in range(120):
        timed.now_ms += draw.choice([0, 50, 400, 1_500]) if draw.random() < 0.98 else 70_000
        limiter, provider = draw.choice(limiters), draw.choice("pq")
        rates = Rates(per_minute * 2) if provider == "p" else FREE
        wanted = [Ask(draw.choice("mn"), 1)] * draw.choice([1, 5, per_minute // 4])
        verdicts = await limiter.reserve(provider, rates, wanted, in_flight={}, owner=of)
        granted = [verdict for verdict in verdicts if isinstance(verdict, Go)]
        granted_ms = timed.now_ms
        unmade = draw.randint(0, len(granted)) if draw.random() < 0.4 else 0
        made = granted[: len(granted) - unmade]
        started += [granted_ms + verdict.wait_s * 1000 for verdict in made]
        if unmade:
            timed.now_ms += draw.choice([0, 1, 30, 2_000])
            told = OwnerSeen(of.rates, unmade=unmade, unmade_age_s=(timed.now_ms - granted_ms) / 1000)
            await limiter.report(provider, rates, Seen(owners={"t": told}))
        verdicts = await limiter.reserve("q", FREE, wanted, in_flight={})
        other_refused += len(wanted) - goes(verdicts)
    started.sort()
    most = max(at + 1 - bisect_right(started, start - 60_000) for at, start in enumerate(started))
    assert per_minute * 0.6 < most <= per_minute * 1.1
    assert other_refused == 0, "another tenant is not slowed"


async def test_a_tenant_whose_calls_are_never_made_has_all_of_its_limit_left(timed: Timed) -> None:
    of, limiter = owner(Rates(600)), timed.limiter("a")
    await rested(timed, of)
    for _ in range(50):
        granted = goes(await ask(limiter, "p", of, 60))
        assert granted == 60
        await limiter.report("p", FREE, Seen(owners={"t": OwnerSeen(of.rates, unmade=granted)}))
    assert await ask(limiter, "p", of, 60) == [NOW] * 60


async def test_questions_asked_at_once_by_one_process_do_not_forget_each_other(timed: Timed) -> None:
    limiter, rates, under_way = timed.limiter("a"), Rates(concurrency=10), Counter[str]()

    async def ask_for(count: int) -> int:
        of = owner(rates, under_way["t"])
        granted = goes(await limiter.reserve("p", FREE, asks(count), in_flight={}, owner=of))
        under_way["t"] += granted
        return granted

    counted = await asyncio.gather(*map(ask_for, (4, 4, 4)))
    assert list(accumulate(counted)) == [4, 8, 10]
    assert not limiter._own("p").granted_to, "what nobody waits to hear of is forgotten"
