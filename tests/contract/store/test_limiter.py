"""A provider's limits in a real control Redis: shared, exact over processes, taken once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.timed_redis import BUSY, NOW, RULES, Timed, asks, goes, seen
from workers.core.lanes import Go, LaneSeen, NotNow, Rates, Seen
from workers.store import keys
from workers.store.limiter import Limiter
from workers.store.redis import connect

pytestmark = pytest.mark.integration


@pytest.fixture
def timed(control: Redis) -> Timed:
    return Timed(control)


async def tokens_full_ms(timed: Timed) -> float:
    return float(await timed.redis.hget(keys.limit("p"), "tokens") or 0)


# --- requests and tokens a minute


async def test_after_redis_has_forgotten_there_is_no_burst(timed: Timed) -> None:
    limiter, rates = timed.limiter("a"), Rates(600)
    fresh = await limiter.reserve("p", rates, asks(60), in_flight={})
    assert goes(fresh) == 21, "one now, then one each tenth of a second for two seconds"
    timed.now_ms += 100_000
    rested = await limiter.reserve("p", rates, asks(100), in_flight={})
    assert rested[:60] == [NOW] * 60 and rested[60] == Go(0.1)
    await timed.redis.flushdb()
    assert (await limiter.reserve("p", rates, asks(2), in_flight={}))[1] == Go(0.1)


async def test_a_wait_is_true_and_holds_for_all_that_follow(timed: Timed) -> None:
    limiter, rates = timed.limiter("a"), Rates(20)
    first = await limiter.reserve("p", rates, asks(3), in_flight={})
    assert first == [NOW, NotNow("limit", 3.0), NotNow("limit", 3.0)]
    timed.now_ms += 999
    assert goes(await limiter.reserve("p", rates, asks(1), in_flight={})) == 0
    timed.now_ms += 2001
    assert await limiter.reserve("p", rates, asks(1), in_flight={}) == [NOW]


async def test_a_repeated_script_takes_nothing_twice(timed: Timed) -> None:
    timed.repeats, rates = 4, Rates(60, 6000)
    limiter = timed.limiter("a")
    await limiter.reserve("p", rates, asks(1), in_flight={})
    timed.now_ms += 100_000
    assert await limiter.reserve("p", rates, asks(6, tokens=10), in_flight={}) == [NOW] * 6
    assert (await limiter.reserve("p", rates, asks(1), in_flight={}))[0] == Go(1.0)
    before = await tokens_full_ms(timed)
    await limiter.report("p", rates, Seen(reserved_tokens=60, used_tokens=110))
    assert await tokens_full_ms(timed) - before == pytest.approx(500, abs=0.01)


async def test_a_reservation_that_was_given_up_takes_nothing_when_it_comes_late(timed: Timed) -> None:
    limiter, rates = timed.limiter("a"), Rates(None, None, 2)
    calls: list[tuple[Any, ...]] = []
    run = timed.execute_command

    async def recording(*words: Any) -> Any:
        calls.append(words)
        return await run(*words)

    timed.execute_command = recording  # type: ignore[assignment, method-assign]
    await limiter.reserve("p", rates, asks(1), in_flight={})
    await limiter.report("p", rates, Seen(in_flight={"m": 2}))
    assert await run(*calls[0]) == b""
    assert await timed.limiter("b").reserve("p", rates, asks(1), in_flight={}) == [BUSY]


async def test_true_usage_settles_an_estimate(timed: Timed) -> None:
    limiter, rates = timed.limiter("a"), Rates(None, 60)  # a token a second, burst 6
    await limiter.reserve("p", rates, asks(1), in_flight={})
    timed.now_ms += 100_000
    assert await limiter.reserve("p", rates, asks(2, tokens=6), in_flight={}) == [NOW, NotNow("limit", 6.0)]
    await limiter.report("p", rates, Seen(reserved_tokens=6, used_tokens=1))
    assert await limiter.reserve("p", rates, asks(1, tokens=5), in_flight={}) == [NOW]


async def test_a_request_larger_than_the_burst_goes_from_a_full_bucket_into_debt(timed: Timed) -> None:
    limiter, rates = timed.limiter("a"), Rates(None, 60_000)
    await limiter.reserve("p", rates, asks(1), in_flight={})
    timed.now_ms += 100_000
    verdicts = await limiter.reserve("p", rates, asks(1, tokens=30_000) + asks(1), in_flight={})
    assert verdicts == [NOW, NotNow("limit", 24.001)]


# --- a pause


async def test_a_pause_holds_for_everyone_and_a_shorter_one_does_not_end_it(timed: Timed) -> None:
    one, other = timed.limiter("a"), timed.limiter("b")
    await one.report("p", Rates(), seen(answered=1, retry_after_s=30.0))
    await other.report("p", Rates(), seen(answered=1, retry_after_s=1.0))
    timed.now_ms += 2_000
    for rates in (Rates(), Rates(600), Rates(None, 60_000)):
        assert await other.reserve("p", rates, asks(2), in_flight={}) == [NotNow("paused", 28.0)] * 2
    assert other.paused_s("p") == pytest.approx(28), "and it is known without Redis from now on"
    assert await other.reserve("q", Rates(), asks(1), in_flight={}) == [NOW], "only that provider"
    timed.now_ms += 27_999
    assert goes(await one.reserve("p", Rates(), asks(1), in_flight={})) == 0
    timed.now_ms += 1
    assert await other.reserve("p", Rates(), asks(3), in_flight={}) == [NOW] * 3


async def test_nobody_is_paused_for_longer_than_a_quarter_of_an_hour(timed: Timed) -> None:
    await timed.limiter("a").report("p", Rates(), seen(throttled=1, retry_after_s=86_400.0))
    verdicts = await timed.limiter("b").reserve("p", Rates(), asks(1), in_flight={})
    assert verdicts == [NotNow("paused", 900.0)]


# --- concurrency


async def test_concurrency_holds_over_processes_and_a_dead_one_counts_no_more(timed: Timed) -> None:
    rates, (one, other) = Rates(concurrency=10), (timed.limiter("a"), timed.limiter("b"))
    assert await one.reserve("p", rates, asks(6), in_flight={}) == [NOW] * 6
    verdicts = await other.reserve("p", rates, asks(2, "m") + asks(5, "n"), in_flight={})
    assert verdicts == [NOW] * 4 + [BUSY] * 3
    await one.report("p", rates, seen(under_way=5, answered=1))
    assert goes(await other.reserve("p", rates, asks(3), in_flight={"m": 2, "n": 2})) == 1
    timed.now_ms += 14_000
    await other.report("p", rates, seen(under_way=5))
    timed.now_ms += 2_000  # `a` has said nothing for 16 s, `b` for 2
    assert goes(await other.reserve("p", rates, asks(9), in_flight={"m": 5})) == 5


async def test_questions_asked_at_once_by_one_process_do_not_forget_each_other(timed: Timed) -> None:
    limiter, rates = timed.limiter("a"), Rates(concurrency=10)
    under_way: Counter[str] = Counter()

    async def ask_for(count: int) -> int:
        granted = goes(await limiter.reserve("p", rates, asks(count), in_flight=under_way))
        under_way["m"] += granted
        return granted

    reports = [limiter.report("p", rates, Seen(in_flight=under_way.copy())) for _ in range(2)]
    first, _, second, _, third = await asyncio.gather(
        ask_for(4), reports[0], ask_for(4), reports[1], ask_for(4)
    )
    assert (first, second, third) == (4, 4, 2)
    assert not limiter._own("p").granted, "models come from users: what nobody waits to hear of is forgotten"


# --- lanes


async def test_a_refusal_halves_what_was_under_way_in_all_processes_once(timed: Timed) -> None:
    one, other, rates = timed.limiter("a"), timed.limiter("b"), Rates()
    await one.reserve("p", rates, asks(30), in_flight={})
    await other.reserve("p", rates, asks(70) + asks(5, "n"), in_flight={})
    await one.report("p", rates, seen(under_way=26, answered=3, throttled=1))
    for _ in range(3):
        await other.report("p", rates, seen(under_way=60, throttled=3))
    lane = (await one.state("p", rates)).lanes[0]
    assert (lane.model, lane.concurrency) == ("m", 50)
    verdicts = await one.reserve("p", rates, asks(4) + asks(4, "n"), in_flight={"m": 26})
    assert goes(verdicts[:4]) == 0 and verdicts[4:] == [NOW] * 4, "the other model goes on"


async def test_a_dead_process_is_not_counted_in_a_cut(timed: Timed) -> None:
    one, other, rates = timed.limiter("a"), timed.limiter("b"), Rates()
    await one.reserve("p", rates, asks(100), in_flight={})
    timed.now_ms += 16_000
    await other.reserve("p", rates, asks(10), in_flight={})
    await other.report("p", rates, seen(under_way=9, throttled=1))
    assert (await one.state("p", rates)).lanes[0].concurrency == 5


async def test_what_provider_headers_leave_is_shared_and_calls_under_way_are_taken_off(timed: Timed) -> None:
    one, other, rates = timed.limiter("a"), timed.limiter("b"), Rates()
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "10",
        "x-ratelimit-reset-requests": "50s",
    }
    await other.reserve("p", rates, asks(3), in_flight={})
    await one.report("p", rates, Seen(in_flight={"m": 2}, headers=headers))
    verdicts = await other.reserve("p", rates, asks(8), in_flight={"m": 3})
    assert verdicts == [NOW] * 5 + [Go(1.0), Go(2.0), NotNow("limit", 3.0)]
    await one.report("p", rates, Seen(headers={**headers, "x-ratelimit-remaining-requests": "0"}))
    verdicts = await other.reserve("p", Rates(6000), asks(1), in_flight={})
    assert goes(verdicts) == 1 and verdicts[0].wait_s == pytest.approx(50 / 60, abs=0.001), "when one is back"
    timed.now_ms += 61_000
    assert goes(await other.reserve("p", rates, asks(99), in_flight={})) == 99, "and it is forgotten"


async def test_tokens_of_calls_under_way_in_all_processes_are_taken_off_what_headers_leave(
    timed: Timed,
) -> None:
    one, other, rates = timed.limiter("a"), timed.limiter("b"), Rates()
    headers = {
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "700",
        "x-ratelimit-reset-tokens": "300s",
    }
    await one.reserve("p", rates, asks(3, tokens=50), in_flight={})
    await other.reserve("p", rates, asks(4, tokens=100), in_flight={})
    await one.report("p", rates, Seen(reserved_tokens=50, in_flight={"m": 2}, headers=headers))
    verdicts = await one.reserve("p", rates, asks(2, tokens=200), in_flight={"m": 2})
    assert verdicts == [NOW, NotNow("limit", 200.0)]


async def test_headers_never_loosen_a_configured_limit(timed: Timed) -> None:
    limiter, rates = timed.limiter("a"), Rates(60)
    headers = {
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
        "anthropic-ratelimit-requests-reset": "2030-01-01T00:00:00Z",
    }
    await limiter.report("p", rates, Seen(headers=headers))
    assert goes(await limiter.reserve("p", rates, asks(99), in_flight={})) == 3


async def test_a_breaker_opens_over_processes_and_lets_one_call_try(timed: Timed) -> None:
    one, other, rates = timed.limiter("a"), timed.limiter("b"), Rates()
    await one.report("p", rates, seen(failed=2))
    assert await one.reserve("p", rates, asks(1), in_flight={}) == [NOW]
    await other.report("p", rates, seen(failed=1))
    for opened_s in (5.0, 10.0, 20.0, 20.0):
        assert (
            await one.reserve("p", rates, asks(2), in_flight={})
            == [NotNow("breaker", opened_s, lane=True)] * 2
        )
        assert await one.reserve("p", rates, asks(1, "n"), in_flight={}) == [NOW], "only that model"
        timed.now_ms += opened_s * 1000
        assert await one.reserve("p", rates, asks(2), in_flight={}) == [
            NOW,
            NotNow("breaker", 1.0, lane=True),
        ]
        assert await other.reserve("p", rates, asks(1), in_flight={}) == [NotNow("breaker", 1.0, lane=True)]
        await one.report("p", rates, seen(failed=1))
    timed.now_ms += 20_000
    assert await other.reserve("p", rates, asks(1), in_flight={}) == [NOW]
    await other.report("p", rates, seen(answered=1))
    assert await one.reserve("p", rates, asks(9), in_flight={}) == [NOW] * 9
    assert not await timed.redis.exists(keys.lanes("p")), "nothing is kept of a lane that is well"


async def test_the_place_of_a_call_that_tried_and_was_lost_is_free_again(timed: Timed) -> None:
    one, other, rates = timed.limiter("a"), timed.limiter("b"), Rates()
    await one.report("p", rates, seen(failed=3))
    timed.now_ms += 5_000
    assert await one.reserve("p", rates, asks(1), in_flight={}) == [NOW]
    timed.now_ms += 14_000
    assert goes(await other.reserve("p", rates, asks(1), in_flight={})) == 0
    timed.now_ms += 2_000  # its process is dead
    assert await other.reserve("p", rates, asks(1), in_flight={}) == [NOW]
    await other.report("p", rates, Seen(in_flight={}))  # it was cancelled: nothing came of it
    assert await one.reserve("p", rates, asks(1), in_flight={}) == [NOW]


# --- without Redis, and for people


async def test_without_redis_half_of_a_processs_part_is_kept_and_no_limit_means_at_once() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout_s=0.1) as nowhere:
        limiter = Limiter(nowhere, holder="a", processes=2, breaker=RULES, clock=lambda: 50.0)
        assert await limiter.reserve("p", Rates(), asks(9), in_flight={}) == [NOW] * 9
        verdicts = await limiter.reserve("q", Rates(240), asks(9), in_flight={})
        assert verdicts == [NOW, Go(1.0), Go(2.0)] + [NotNow("limit", 3.0)] * 6
        verdicts = await limiter.reserve("r", Rates(concurrency=9), asks(3), in_flight={"m": 1})
        assert verdicts == [NOW, BUSY, BUSY]
        assert goes(await limiter.reserve("s", Rates(concurrency=3), asks(3), in_flight={})) == 0
        limiter.processes = 1  # the other one has ended
        assert goes(await limiter.reserve("s", Rates(concurrency=3), asks(3), in_flight={})) == 1
        await limiter.report("p", Rates(), seen(throttled=1, retry_after_s=30.0))
        assert await limiter.reserve("p", Rates(), asks(1), in_flight={}) == [NotNow("paused", 30.0)]
        state = await limiter.state("p", Rates())
        assert not state.redis and state.paused_s == 30.0


async def test_a_state_says_why_nothing_moves_and_changes_nothing(control: Redis) -> None:
    limiter, rates = Limiter(control, holder="a", processes=1, breaker=RULES), Rates(60, 6000, 8)
    headers = {
        "x-ratelimit-limit-tokens": "10",  # one comes back in six seconds
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m",
    }
    await limiter.reserve("p", rates, asks(9), in_flight={})
    what = seen(under_way=2, throttled=2, failed=0)
    what.headers, what.lanes["n"] = headers, LaneSeen(failed=3, retry_after_s=40.0)
    await limiter.report("p", rates, what)
    before = [await control.hgetall(name) for name in sorted(await control.keys("[lc]*"))]
    state = await limiter.state("p", rates)
    throttled, broken = state.lanes
    assert 30 < state.paused_s <= 40 and state.request_wait_s > 0 and state.token_wait_s > 0
    assert (state.in_flight, state.concurrency, state.processes, state.redis) == (2, 8, 1, True)
    assert (throttled.model, throttled.in_flight, throttled.concurrency, throttled.refusals) == ("m", 2, 2, 1)
    assert (broken.breaker, broken.failures) == ("open", 3) and 0 < broken.opens_in_s <= 5
    allowance = state.allowances[0]
    assert (allowance.kind, allowance.limit, allowance.left) == ("tokens", 10, 0)
    assert before == [await control.hgetall(name) for name in sorted(await control.keys("[lc]*"))]
    for name in await control.keys("*"):
        assert 0 < await control.pttl(name) <= 3_700_000, "what nobody uses is forgotten"
