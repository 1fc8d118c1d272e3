"""Call the configured providers a few times each and time it; every call is real and costs money.

app/cli/bench.py asks first. The calls go the way of a worker's: adapter, transport, the same connection rules.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from app.bench.latency import Measured, Stage, Times
from app.embedded.state import Say
from config.settings import Catalog, Provider, Settings
from workers.core.choose import AUTO, Chosen, call_of
from workers.core.chooser import Chooser
from workers.core.errors import BatchwrightError
from workers.core.identity import answer_key, call_fingerprint
from workers.core.messages import Call, Reply
from workers.core.route import Offer
from workers.providers.registry import adapter_for, address_of, answers_as
from workers.store import redis
from workers.store.cache import Cache
from workers.transport.choice import rules_for, transport_for
from workers.transport.port import Transport

_CHAT = "/v1/chat/completions"
_KEPT_S = 60


async def measure(settings: Settings, count: int, cache_url: str, say: Say) -> list[Measured]:
    """Every configured provider, one after the other; what fails is counted in its row."""
    found = []
    for provider in settings.providers:
        say(f"asking {provider.name}")
        model = model_for(provider, settings.catalog)
        if model is None:
            why = "no model is known for it; name one in its `models`"
            found.append(Measured(provider.name, provider.kind, skipped=why))
        else:
            found.append(await _Subject(settings, provider, model).measure(count, cache_url))
    return found


def model_for(provider: Provider, catalog: Catalog) -> str | None:
    """The model to ask: one that the settings name, else the one that `auto` with priority speed would take."""
    if provider.kind == "sim":
        return "sim-small"
    named = [model for model in provider.models if not set(model) & set("*?[")]
    if named:
        return named[0]
    chooser = Chooser([Offer(provider.name, provider.models, provider.kind)], catalog)
    chosen = chooser.choose(_CHAT, AUTO, {"priority": "speed", "messages": []})
    return chosen.model if isinstance(chosen, Chosen) else None


class _Subject:
    """One provider and one of its models."""

    def __init__(self, settings: Settings, provider: Provider, model: str) -> None:
        self._settings, self._provider, self._model = settings, provider, model
        self._adapter = adapter_for(provider)
        self._key = provider.api_key.reveal() if provider.api_key else None
        self._last: tuple[Call, Reply] | None = None

    async def measure(self, count: int, cache_url: str) -> Measured:
        """All stages; the last warm answer is what the cache is measured with."""
        times: dict[Stage, Times] = {"cold": await _timed(count, self._cold)}
        transport = self._open()
        try:
            opened = await _timed(1, lambda: self._ask(transport))
            times["warm"] = await _timed(count, lambda: self._ask(transport))
            times["first_token"] = await _timed(count, lambda: self._first_token(transport))
            client = transport.stats().client
        finally:
            await transport.close()
        if opened.failed:
            times["warm"] = replace(times["warm"], failed=times["warm"].failed + 1, why=opened.why)
        if self._last is not None:
            times["cached"] = await self._cached(count, cache_url, *self._last)
        return Measured(self._provider.name, self._provider.kind, self._model, client, times)

    def _open(self) -> Transport:
        http = self._settings.http
        rules = rules_for(http, self._provider)
        return transport_for(address_of(self._provider), rules, http.transport)

    def _call(self, *, stream: bool = False) -> Call:
        """A short question nobody has asked before: no cache of the provider's shall answer it."""
        text = f"Reply with one word. What colour is a clear sky at noon? ({secrets.token_hex(4)})"
        body = {"model": self._model, "messages": [{"role": "user", "content": text}], "max_tokens": 32}
        if stream:
            body["stream"] = True
        chosen = Chosen(self._provider.name, self._model)
        options = self._provider.options
        return call_of(_CHAT, body, chosen, self._provider.kind, self._settings.catalog, options)

    async def _cold(self) -> float:
        began_s = time.perf_counter()
        transport = self._open()
        try:
            await self._ask(transport)
            return time.perf_counter() - began_s
        finally:
            await transport.close()

    async def _ask(self, transport: Transport) -> float:
        call = self._call()
        began_s = time.perf_counter()
        built = self._adapter.build_request(call, self._key)
        response = await transport.send(built.request, deadline_s=self._provider.timeouts.read_s)
        if response.status >= 400:
            raise self._adapter.parse_error(response)
        reply = self._adapter.parse_response(call, response)
        took_s = time.perf_counter() - began_s
        self._last = call, reply
        return took_s

    async def _first_token(self, transport: Transport) -> float:
        call = self._call(stream=True)
        began_s = time.perf_counter()
        built = self._adapter.build_request(call, self._key, stream=True)
        limit_s = self._provider.timeouts.read_s
        async with transport.stream(built.request, deadline_s=limit_s, idle_s=limit_s) as streamed:
            if streamed.status >= 400:
                raise BatchwrightError(f"status {streamed.status}")
            reader = self._adapter.parse_stream(call, streamed.headers)
            took_s: float | None = None
            async for part in streamed.parts():
                if any(_has_text(chunk) for chunk in reader.feed(part)) and took_s is None:
                    took_s = time.perf_counter() - began_s
        if took_s is None:
            raise BatchwrightError("a stream without text")
        return took_s

    async def _cached(self, count: int, cache_url: str, call: Call, reply: Reply) -> Times:
        client = redis.connect(cache_url, max_connections=2)
        cache = Cache(client, max_entry_bytes=self._settings.cache.max_entry_bytes)
        # A secret of its own: what is kept here answers nobody else.
        secret, server = secrets.token_bytes(32), answers_as(self._provider)

        async def look() -> float:
            began_s = time.perf_counter()
            print_ = call_fingerprint(call, secret=secret, generation=0, answers_as=server)
            key = answer_key(self._provider.name, _CHAT, print_)
            if not await cache.find([key]):
                raise BatchwrightError("the cache did not keep it")
            return time.perf_counter() - began_s

        try:
            print_ = call_fingerprint(call, secret=secret, generation=0, answers_as=server)
            key = answer_key(self._provider.name, _CHAT, print_)
            await cache.keep({key: reply}, {key: _KEPT_S})
            return await _timed(count, look)
        finally:
            await cache.close()


def _has_text(chunk: bytes) -> bool:
    """Whether an OpenAI-shaped chunk carries text, not only a role."""
    return b'"content":"' in chunk and b'"content":""' not in chunk


async def _timed(count: int, once: Callable[[], Awaitable[float]]) -> Times:
    took: list[float] = []
    failed, why = 0, ""
    for _ in range(count):
        try:
            took.append(await once() * 1000)
        except (BatchwrightError, TimeoutError) as error:
            failed, why = failed + 1, f"{type(error).__name__}: {error}"[:200]
    return Times(tuple(took), failed, why)
