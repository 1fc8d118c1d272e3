"""Our adapters against a failing simulator: every failure of the right kind, with what to do about it.

The simulator refuses in each provider's own words and spoils answers as networks and proxies do. It wants a key, so
that a wrong one is refused in earnest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from tests.contract.providers.cases import CASES, CHAT, Case, Wire, proves
from tests.support.simulator import running_simulator
from workers.core.errors import (
    Action,
    ContentBlocked,
    KeyRefused,
    ModelUnknown,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRefused,
    UnusableReply,
)
from workers.core.messages import Call

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "sk-right"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    """Calls to a simulator that wants a key."""
    with running_simulator(tmp_path_factory.mktemp("keyed"), "--seed", "7", "--api-key", KEY) as simulator:
        opened = Wire(simulator, KEY)
        yield opened
        await opened.close()


def asking(case: Case, words: str = "", model: str = "sim-small") -> Call:
    """A chat that the simulator answers as the marker's words say."""
    marker = f"[[sim:{words}]] " if words else ""
    return case.call({"messages": [{"role": "user", "content": f"{marker}Explain tides."}]}, model=model)


def is_told(error: ProviderError, kind: type[ProviderError], action: Action) -> bool:
    """Whether it is of this kind, and what goes into the error file has OpenAI's shape in one line."""
    if error.body is not None:
        assert b"\n" not in error.body
        shown = orjson.loads(error.body)
        assert set(shown["error"]) == {"message", "type", "param", "code"} and shown["error"]["message"]
    return (type(error), error.action) == (kind, action)


@proves("errors")
async def test_a_wrong_key_and_an_unknown_model_are_for_another_provider(wire: Wire, case: Case) -> None:
    wrong = await wire.failure(case, asking(case), key="sk-wrong")
    assert is_told(wrong, KeyRefused, "reroute") and wrong.body is not None and b"sk-wrong" not in wrong.body
    unknown = await wire.failure(case, asking(case, model="gpt-9"))
    assert is_told(unknown, ModelUnknown, "reroute") and unknown.status == 404
    assert (await wire.reply(case, asking(case))).usage.output_tokens > 0, "the right key is let in"


@proves("errors")
async def test_a_rate_limit_says_how_long_to_wait(wire: Wire, case: Case) -> None:
    limited = await wire.failure(case, asking(case, "status=429,retry-after=2"))
    assert is_told(limited, RateLimited, "wait") and limited.retry_after_s == 2.0
    silent = await wire.failure(case, asking(case, "status=429"))
    assert is_told(silent, RateLimited, "wait") and silent.retry_after_s is None


@proves("errors")
@pytest.mark.parametrize(
    ("words", "kind", "action"),
    [
        ("status=400", RequestRefused, "refuse"),
        ("status=500", Overloaded, "retry"),
        ("status=503,retry-after=1", Overloaded, "retry"),
        ("status=529", Overloaded, "retry"),
        ("status=502,html", Overloaded, "retry"),
        ("html", UnusableReply, "retry"),
        ("truncated", UnusableReply, "retry"),
        ("invalid-json", UnusableReply, "retry"),
        ("empty", UnusableReply, "retry"),
    ],
)
async def test_a_failure_is_of_the_right_kind(
    wire: Wire, case: Case, words: str, kind: type[ProviderError], action: Action
) -> None:
    assert is_told(await wire.failure(case, asking(case, words)), kind, action)


@proves("errors", "stream")
@pytest.mark.parametrize("words", ["truncated", "invalid-json", "empty", "html"])
async def test_a_spoiled_stream_is_no_answer(wire: Wire, case: Case, words: str) -> None:
    with pytest.raises(UnusableReply) as caught:
        await wire.stream(case, asking(case, words))
    assert caught.value.action == "retry"


@proves("errors")
async def test_what_the_provider_finds_wrong_in_a_request_is_refused_for_good(wire: Wire, case: Case) -> None:
    wrong = {name: 5 for name in case.own_shape if name in ("messages", "contents")}
    call = Call(CHAT, "sim-small", {}, provider_options=wrong)
    assert is_told(await wire.failure(case, call), RequestRefused, "refuse")


@pytest.mark.ability("gemini", "errors")
async def test_a_prompt_that_a_filter_kept_back_is_blocked_and_not_retried(wire: Wire) -> None:
    case = CASES["gemini"]
    assert is_told(await wire.failure(case, asking(case, "safety")), ContentBlocked, "refuse")
