"""What `doctor` says of limits: who holds calls back, and nothing of those that only do their work."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from app.doctor import pauses_check
from app.doctor.limits_check import check_limits, findings
from config.settings import Provider
from tests.support.apart import apart
from tests.support.servers import TestServers
from workers.core.lanes import BreakerRules, LaneSeen, LaneState, LimitState, Rates, Seen
from workers.core.pauses import NOTHING_PAUSED, Pause, standing
from workers.store.limiter import Limiter
from workers.store.redis import connect

CALM = LimitState("openai", paused_s=0.0, request_wait_s=1.0, token_wait_s=0.0)
BROKEN = LaneState("gpt-x", 0, None, "open", opens_in_s=12.0, failures=10)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (replace(CALM, paused_s=30.0), "openai: the provider asked to wait for 30 s"),
        (replace(CALM, token_wait_s=9.0), "openai: tokens are used up for 9 s"),
        (replace(CALM, lanes=(BROKEN,)), "openai: gpt-x failed 10 times in a row and is tried again in 12 s"),
    ],
)
def test_what_holds_calls_back_is_named_with_its_end(state: LimitState, said: str) -> None:
    (found,) = findings([CALM, state])
    assert (found.state, found.text) == ("warning", said) and found.fix


def test_what_an_operator_has_paused_is_named_with_the_way_to_let_it_go_on() -> None:
    paused = standing([Pause("tenant", "acme", 1.0, "default"), Pause("provider", "openai", 1.0, "default")])
    provider, tenant = pauses_check.findings(paused)
    assert (provider.state, tenant.state) == ("warning", "warning")
    assert "provider openai is paused" in provider.text and "resume --provider openai" in provider.fix
    assert "resume --tenant acme" in tenant.fix
    assert [each.state for each in pauses_check.findings(NOTHING_PAUSED)] == ["ok"]


def test_limits_that_only_do_their_work_are_well() -> None:
    (found,) = findings([CALM])
    assert found.state == "ok"


async def _ask_to_wait(url: str) -> None:
    async with connect(url) as redis:
        await redis.flushdb()
        limiter = Limiter(redis, holder="w", processes=1, breaker=BreakerRules())
        seen = Seen(lanes={"m": LaneSeen(throttled=1, retry_after_s=60.0)})
        await limiter.report("acme", Rates(), seen)


def test_a_pause_that_a_worker_was_asked_for_is_seen(servers: TestServers) -> None:
    url = apart(servers, "doctor").redis_url
    asyncio.run(_ask_to_wait(url))
    (found,) = check_limits(url, [Provider(name="acme", kind="openai", base_url="http://127.0.0.1:9")])
    assert found.state == "warning" and "acme: the provider asked to wait for" in found.text
