"""The four adapters as the engine has them, and the simulator at the other end of the wire.

A test for all providers is marked `@proves("tools")` and gets each `Case` that offers the ability; `Wire` sends what
the adapter builds and gives what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from config.catalog import ModelTraits
from tests.support.abilities import NOT_OFFERED
from tests.support.simulator import Simulator
from workers.core.errors import ProviderError
from workers.core.messages import Call, HttpResponse, Reply
from workers.providers.anthropic import Anthropic
from workers.providers.base import Adapter
from workers.providers.gemini import Gemini
from workers.providers.ollama import Ollama
from workers.providers.openai import OpenAI
from workers.transport.httpx_transport import HttpxTransport
from workers.transport.port import TransportRules

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
TRANSCRIPTIONS, SPEECH = "/v1/audio/transcriptions", "/v1/audio/speech"
SEED = 7
TRAITS = ModelTraits(min_cached_tokens=1024, native_schema=True)


@dataclass(frozen=True)
class Case:
    """One provider.

    Attributes:
        prefix: what its base URL has after the host.
        forces_tools: whether its API can insist on a call; else the simulator is asked to make one.
        own_shape: a request wholly in its own words, to which `TIDES` is the answer.
    """

    adapter: Adapter
    own_shape: Mapping[str, Any]
    prefix: str = ""
    traits: ModelTraits = TRAITS
    forces_tools: bool = True

    def call(self, body: Mapping[str, Any], endpoint: str = CHAT, model: str = "sim-small") -> Call:
        """A call to the simulator's model."""
        return Call(endpoint, model, {"model": model, **body}, traits=self.traits)


TIDES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Explain tides to a sailor."},
]
CASES = {
    "openai": Case(OpenAI(), {"messages": TIDES}, prefix="/v1"),
    "anthropic": Case(Anthropic(), {"system": "Be brief.", "messages": TIDES[1:], "max_tokens": 600}),
    "gemini": Case(
        Gemini(),
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [{"role": "user", "parts": [{"text": TIDES[1]["content"]}]}],
        },
    ),
    "ollama": Case(
        Ollama(), {"messages": TIDES, "options": {"num_ctx": 4096}, "keep_alive": "5m"}, forces_tools=False
    ),
}


def proves(ability: str, *more: str) -> pytest.MarkDecorator:
    """Run a test for every provider that offers these abilities, as its argument `case`."""
    cases = []
    for name, case in CASES.items():
        offered = [each for each in (ability, *more) if (name, each) not in NOT_OFFERED]
        if ability in offered:
            marks = [pytest.mark.ability(name, each) for each in offered]
            cases.append(pytest.param(case, id=name, marks=marks))
    return pytest.mark.parametrize("case", cases)


class Wire:
    """Sends calls to a simulator: whole ones by the engine's own transport."""

    def __init__(self, simulator: Simulator, key: str = "sk-any") -> None:
        self.simulator = simulator
        self.key = key
        self._transports = {
            prefix: HttpxTransport(simulator.url + prefix, TransportRules(prior_knowledge=True))
            for prefix in ("", "/v1")
        }
        self._client = httpx.AsyncClient(verify=False, timeout=20)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
        for transport in self._transports.values():
            await transport.close()

    async def response(self, case: Case, call: Call, key: str | None = None) -> HttpResponse:
        """What the simulator says to a call."""
        built = case.adapter.build_request(call, key or self.key)
        return await self._transports[case.prefix].send(built.request, deadline_s=20)

    async def reply(self, case: Case, call: Call) -> Reply:
        """A call and its answer. Raises ProviderError."""
        response = await self.response(case, call)
        if response.status >= 400:
            raise case.adapter.parse_error(response)
        return case.adapter.parse_response(call, response)

    async def failure(self, case: Case, call: Call, key: str | None = None) -> ProviderError:
        """How a call fails, before its answer is read or while it is."""
        response = await self.response(case, call, key)
        if response.status >= 400:
            return case.adapter.parse_error(response)
        with pytest.raises(ProviderError) as caught:
            case.adapter.parse_response(call, response)
        return caught.value

    async def stream(self, case: Case, call: Call) -> tuple[list[dict[str, Any]], Reply]:
        """The chunks of a streamed answer, read in the pieces that the network brought, and the whole of it."""
        request = case.adapter.build_request(call, self.key, stream=True).request
        url = self.simulator.url + case.prefix + request.path
        async with self._client.stream(
            request.method, url, headers=dict(request.headers), content=request.body
        ) as response:
            assert response.status_code == 200, await response.aread()
            reader = case.adapter.parse_stream(call, response.headers)
            chunks = [chunk async for piece in response.aiter_raw() for chunk in reader.feed(piece)]
        return [orjson.loads(chunk) for chunk in chunks], reader.finish()

    def last_call(self) -> dict[str, Any]:
        """The simulator's own record of the last call."""
        return self.simulator.calls()[-1]
