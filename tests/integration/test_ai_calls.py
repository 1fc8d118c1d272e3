"""The awaited functions of `batchwright.ai` against a simulator and a real cache: each request is paid once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis

from batchwright import UserError, ai
from tests.support.apart import apart
from tests.support.servers import TestServers
from tests.support.simulator import Simulator
from workers.core.errors import ProviderError, TransportError

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("sim")]
ROOT = Path(__file__).parents[2]
DAY_S = 86_400


@pytest.fixture
async def sim(
    simulator: Simulator, servers: TestServers, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Simulator]:
    """The simulator in OpenAI's place, an empty cache, and no connection left afterwards."""
    url = apart(servers, "ai").cache_redis_url
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
    monkeypatch.setenv("BATCHWRIGHT_CACHE_REDIS_URL", url)
    yield simulator
    await ai.close_clients()


def calls_of(simulator: Simulator, words: str) -> int:
    return len(simulator.calls(lambda call: words in str(call)))


async def ask(prompt: Any, **more: Any) -> ai.Answer:
    return await ai.make_ai_request("openai", prompt, model="sim-small", **more)


async def test_the_second_of_two_equal_requests_is_answered_from_the_cache(sim: Simulator) -> None:
    before = len(sim.calls())
    first, second = await ask("Why?"), await ask("Why?")
    assert (first.source, second.source) == ("call", "cache")
    assert first.text and second.body == first.body and second.usage == first.usage
    assert len(sim.calls()) == before + 1
    assert await ai.get_cached_response("openai", "Why?", model="sim-small") == second
    assert await ai.get_cached_response("openai", "How?", model="sim-small") is None
    stats = await ai.get_cache_stats()
    assert (stats.today.hits, stats.today.misses, stats.today.kept) == (2, 2, 1)


async def test_equal_requests_under_way_share_one_call_even_if_the_first_to_ask_gives_up(
    sim: Simulator,
) -> None:
    before = len(sim.calls())
    impatient = asyncio.create_task(ask("All at once"))
    others = [asyncio.create_task(ask("All at once")) for _ in range(20)]
    await asyncio.sleep(0)
    impatient.cancel()
    answers = await asyncio.gather(*others)
    assert {answer.source for answer in answers} == {"coalesced"}
    assert len({answer.text for answer in answers}) == 1
    assert len(sim.calls()) == before + 1


async def test_without_the_cache_every_request_is_a_call_and_nothing_is_kept(sim: Simulator) -> None:
    before = len(sim.calls())
    answers = await asyncio.gather(*(ask("Anew", cache=False) for _ in range(3)))
    assert [answer.source for answer in answers] == ["call"] * 3
    assert len(sim.calls()) == before + 3
    assert await ai.get_cached_response("openai", "Anew", model="sim-small") is None


async def test_a_key_is_the_one_that_is_said_and_its_life_that_of_its_kind(
    sim: Simulator, servers: TestServers
) -> None:
    scope = ai.CacheScope(b"s" * 32, 2, sim.base_url)
    asked: dict[str, Any] = {"model": "sim-small", "scope": scope}
    await ai.make_ai_request("openai", "Where?", **asked)
    await ai.make_ai_request("openai", "Where?", task_type="grammar", **asked)
    await ai.make_ai_request("openai", ["one"], embedding=True, **asked | {"model": "sim-embed"})
    names = [
        ai.cache_key("openai", "Where?", **asked),
        ai.cache_key("openai", "Where?", task_type="grammar", **asked),
        ai.cache_key("openai", ["one"], embedding=True, **asked | {"model": "sim-embed"}),
    ]
    with redis.Redis.from_url(apart(servers, "ai").cache_redis_url) as client:
        lives: list[Any] = [client.ttl(name) for name in names]
    assert [round(life_s, -1) for life_s in lives] == [3_600, DAY_S, DAY_S]


async def test_an_answer_that_came_by_another_way_is_kept_and_used(sim: Simulator) -> None:
    body = {
        "choices": [{"message": {"content": "Because."}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    before = len(sim.calls())
    assert await ai.cache_response("openai", "Known?", body, model="sim-small", ttl_s=60)
    answer = await ask("Known?")
    assert (answer.text, answer.source, answer.usage.input_tokens) == ("Because.", "cache", 3)
    assert len(sim.calls()) == before
    with pytest.raises(UserError, match="JSON"):
        await ai.cache_response("openai", "Known?", {"odd": {1, 2}})


async def test_an_answer_that_does_not_match_its_schema_is_not_kept() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    odd = {"choices": [{"message": {"content": "no JSON"}, "finish_reason": "stop"}]}
    assert not await ai.cache_response("openai", "A number", odd, model="sim-small", response_format=wanted)


async def test_warming_asks_each_prompt_once_and_a_few_at_a_time(
    sim: Simulator, servers: TestServers
) -> None:
    await ask("warm 0")
    before = len(sim.calls())
    prompts = [f"warm {n % 10}" for n in range(12)]
    done = await ai.warm_cache("openai", prompts, concurrency=3, model="sim-small")
    assert (done.kept, done.known, done.not_kept, done.failed) == (9, 3, 0, {})
    assert len(sim.calls()) == before + 9
    assert (await ask("warm 7")).source == "cache"
    with redis.Redis.from_url(apart(servers, "ai").cache_redis_url) as client:
        lives: list[Any] = [client.ttl(name) for name in client.keys("ai:v2:openai:*")]
    assert sorted(round(life_s, -2) for life_s in lives) == [3_600, *[7 * DAY_S] * 9]


async def test_warming_goes_on_after_a_failure_and_says_which_prompt_it_was() -> None:
    wrong = [{"role": "nobody", "content": "x"}]
    done = await ai.warm_cache("openai", ["fine", wrong, "fine, too"], model="sim-small", concurrency=1)
    assert (done.kept, [*done.failed]) == (2, [1])
    assert isinstance(done.failed[1], ProviderError)
    with pytest.raises(UserError, match="at least 1"):
        await ai.warm_cache("openai", ["x"], concurrency=0)


async def test_without_a_cache_everything_is_called_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHWRIGHT_CACHE_REDIS_URL", "")
    assert [(await ask("Twice")).source for _ in range(2)] == ["call", "call"]
    assert (await ai.get_cache_stats()).away
    done = await ai.warm_cache("openai", ["Thrice"], model="sim-small")
    assert (done.kept, done.not_kept) == (0, 1)
    assert not await ai.cache_response("openai", "x", {"choices": []}, model="sim-small")


async def test_a_failed_call_is_raised_to_all_who_shared_it_and_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    failed = await asyncio.gather(ask("Lost"), ask("Lost"), return_exceptions=True)
    assert [isinstance(error, TransportError) for error in failed] == [True, True]
    assert await ai.get_cached_response("openai", "Lost", model="sim-small") is None


async def test_connections_are_kept_shared_and_counted_until_they_are_closed() -> None:
    assert await ai.get_client_stats() == {}
    transport = await ai.get_http_client("openai")
    await ask("Counted")
    assert await ai.get_http_client("openai") is transport
    assert (await ai.get_client_stats())["openai"].requests == 1
    await ai.close_clients()
    await ai.close_clients()
    assert await ai.get_http_client("openai") is not transport


async def test_a_provider_without_a_key_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match="'anthropic' is not configured") as caught:
        await ai.make_ai_request("anthropic", "Why?")
    assert caught.value.hint == "set ANTHROPIC_API_KEY"


@pytest.mark.parametrize("wrong", ["half of a pair: \ud800", [{"content": {1, 2}}]])
async def test_what_json_cannot_say_is_the_users_error(wrong: Any) -> None:
    with pytest.raises(UserError, match="JSON"):
        await ask(wrong)


async def test_the_pages_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "ai.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(import asyncio\n.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(program.replace("gpt-4o-mini", "sim-small"), "docs/ai.md", "exec"), names)
    await names["main"]()
    assert len(capsys.readouterr().out.splitlines()) >= 4
