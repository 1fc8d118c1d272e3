"""A provider's limits in a real control Redis, held by its own clock.

That clock cannot be set, so `Clock` moves the stored times back instead: to the script it is the same as if
that much time had passed. Times below are on this clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from workers.core.rate import burst_of
from workers.store import keys
from workers.store.limits import BLIND_WAIT_S, Grant, Limits, Rates
from workers.store.redis import connect, run_script

pytestmark = pytest.mark.integration
SLACK_S = 0.002  # waits are whole milliseconds, rounded up


@dataclass
class Clock:
    """Redis's clock plus what we pretended to pass."""

    redis: Redis
    ahead_s: float = 0.0

    async def now_s(self) -> float:
        seconds, micros = await self.redis.time()
        return seconds + micros / 1e6 + self.ahead_s

    async def stored_ms(self, name: str) -> float:
        return float(await self.redis.hget(keys.limit("p"), name) or 0)

    async def pass_s(self, seconds: float) -> None:
        name = keys.limit("p")
        stored = await self.redis.hgetall(name)
        for clock in (b"requests", b"tokens", b"paused"):
            if clock in stored:
                await self.redis.hset(name, clock.decode(), repr(float(stored[clock]) - seconds * 1000))
        self.ahead_s += seconds


@dataclass
class Granted:
    """Times at which requests may go, with their tokens."""

    at: list[tuple[float, int]] = field(default_factory=list)

    def most_in(self, window_s: float, *, tokens: bool) -> float:
        """The most requests or tokens in any window of that length."""
        times = sorted(self.at)
        most, start, held = 0, 0, 0
        for end, (time_s, cost) in enumerate(times):
            held += cost if tokens else 1
            while times[start][0] < time_s - window_s:
                held -= times[start][1] if tokens else 1
                start += 1
            most = max(most, held)
            assert end >= start
        return most


async def reserve(clock: Clock, limits: Limits, rates: Rates, costs: list[int], granted: Granted) -> Grant:
    before = await clock.now_s()
    grant = await limits.reserve("p", rates, costs)
    for wait_s, cost in zip(grant.waits_s, costs, strict=False):
        assert 0 <= wait_s <= 2.0 + SLACK_S, "nothing is granted over two seconds ahead"
        granted.at.append((before + wait_s, cost))
    return grant


@pytest.mark.parametrize(("rpm", "tpm"), [(60, None), (6000, None), (None, 60_000), (600, 60_000)], ids=str)
async def test_no_window_of_a_minute_holds_more_than_the_limit_and_its_burst(
    control: Redis, rpm: int | None, tpm: int | None
) -> None:
    clock, limits, rates, granted = Clock(control), Limits(control), Rates(rpm, tpm), Granted()
    draw, first_s = random.Random(5), await clock.now_s()
    while await clock.now_s() - first_s < 200:
        costs = [draw.randint(1, 2000) for _ in range(draw.choice([1, 3, 40, 1000]))]
        grant = await reserve(clock, limits, rates, costs, granted)
        await clock.pass_s(draw.choice([0.0, 0.1, grant.next_wait_s, draw.uniform(0, 25)]))
    # What one command's time adds: the grant is dated from before it was asked for.
    blur_s = 0.05
    if rpm:
        assert granted.most_in(60 - blur_s, tokens=False) <= rpm + burst_of(rpm)
    if tpm:
        # The last one of a burst may be any size up to what is left of it.
        assert granted.most_in(60 - blur_s, tokens=True) <= tpm + burst_of(tpm)
    used = [rpm and len(granted.at) / rpm, tpm and sum(cost for _, cost in granted.at) / tpm]
    assert max(share for share in used if share) > 1, "and the limit was not idle"


async def test_who_asks_steadily_gets_the_whole_rate(control: Redis) -> None:
    clock, limits, rates, granted = Clock(control), Limits(control), Rates(600), Granted()
    first_s = await clock.now_s()
    while await clock.now_s() - first_s < 120:
        await reserve(clock, limits, rates, [1] * 50, granted)
        await clock.pass_s(1.0)
    assert len(granted.at) >= 1200


async def test_after_redis_has_forgotten_there_is_no_burst(control: Redis) -> None:
    limits, rates = Limits(control), Rates(600)
    fresh = await limits.reserve("p", rates, [1] * 60)
    assert len(fresh.waits_s) == 21, "one now, then one each tenth of a second for two seconds"
    clock = Clock(control)
    await clock.pass_s(100)
    rested = await limits.reserve("p", rates, [1] * 100)
    assert rested.waits_s[:60] == (0.0,) * 60 and rested.waits_s[60] > 0
    await control.flushdb()
    assert (await limits.reserve("p", rates, [1] * 2)).waits_s[1] > 0


async def test_a_repeated_reservation_takes_nothing_twice(control: Redis) -> None:
    names = [keys.limit("p"), keys.grant("p", "same")]
    args: list[str | bytes | float] = [60, 6, 60_000, 6000, 2000, 10, 10, 10]
    replies = [await run_script(control, "reserve", keys=names, args=args) for _ in range(5)]
    assert replies == [replies[0]] * 5
    other = await run_script(control, "reserve", keys=[keys.limit("p"), keys.grant("p", "other")], args=args)
    assert other[0] > replies[0][0] or len(other) < len(replies[0]), "another one does take"


async def test_a_wait_of_the_next_one_is_true(control: Redis) -> None:
    clock, limits, rates = Clock(control), Limits(control), Rates(20)
    assert len((await limits.reserve("p", rates, [1] * 5)).waits_s) == 1
    refused = await limits.reserve("p", rates, [1])
    assert refused.waits_s == () and 2.0 < refused.next_wait_s <= 3.0
    await clock.pass_s(refused.next_wait_s)
    assert (await limits.reserve("p", rates, [1])).waits_s == (0.0,)


async def test_true_usage_settles_an_estimate_once(control: Redis) -> None:
    limits, rates = Limits(control), Rates(None, 60)  # a token a second, burst 6
    clock = Clock(control)
    await limits.reserve("p", rates, [1])
    await clock.pass_s(100)
    await limits.reserve("p", rates, [6])
    wait_s = (await limits.reserve("p", rates, [1])).waits_s[0]
    await limits.settle("p", rates, reserved=6, used=1)
    assert wait_s > 0 and (await limits.reserve("p", rates, [1])).waits_s == (0.0,)
    before = await clock.stored_ms("tokens")
    for _ in range(3):
        args: list[str | bytes | float] = [60_000, 500]
        await run_script(control, "settle", keys=[keys.limit("p"), keys.grant("p", "s")], args=args)
    assert await clock.stored_ms("tokens") - before == pytest.approx(500, abs=0.01)


async def test_a_request_larger_than_the_burst_goes_from_a_full_bucket_into_debt(control: Redis) -> None:
    clock, limits, rates = Clock(control), Limits(control), Rates(None, 60_000)
    await limits.reserve("p", rates, [1])
    await clock.pass_s(100)
    assert (await limits.reserve("p", rates, [30_000])).waits_s == (0.0,)
    refused = await limits.reserve("p", rates, [1])
    assert refused.waits_s == () and refused.next_wait_s == pytest.approx(24, abs=0.5)


async def test_a_pause_holds_for_everyone_and_a_shorter_one_does_not_end_it(control: Redis) -> None:
    limits, other = Limits(control), Limits(control)
    await limits.pause("p", 30.0)
    await other.pause("p", 1.0)
    for rates in (Rates(), Rates(600), Rates(None, 60_000)):
        grant = await other.reserve("p", rates, [1])
        assert grant.waits_s == () and 29 < grant.next_wait_s <= 30
    assert (await other.reserve("q", Rates(), [1])).waits_s == (0.0,), "only that provider"
    await Clock(control).pass_s(31)
    assert (await other.reserve("p", Rates(), [1] * 3)).waits_s == (0.0,) * 3


async def test_without_redis_a_limited_provider_waits_and_an_unlimited_one_goes_on() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout_s=0.1) as nowhere:
        limits = Limits(nowhere)
        assert await limits.reserve("p", Rates(60), [1, 1]) == Grant((), BLIND_WAIT_S)
        assert await limits.reserve("p", Rates(), [1, 1]) == Grant((0.0, 0.0), 0.0)
        await limits.settle("p", Rates(None, 60), reserved=1, used=2)
        await limits.pause("p", 1.0)


async def test_what_nobody_uses_is_forgotten(control: Redis) -> None:
    await Limits(control).reserve("p", Rates(60), [1])
    await Limits(control).pause("q", 5.0)
    for name in await control.keys("*"):
        assert 0 < await control.pttl(name) <= 130_000, name
