"""One event loop's connections: a transport to each provider, the cache, and the calls under way.

calls.py opens one on first use in a loop, from the settings of the process, and is the only one that knows it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Literal

from batchwright.ai.caching import CacheScope
from batchwright.ai.requests import Asked, call_for
from batchwright.ai.tasks import Prompt, Provider, TaskType
from config.settings import Provider as Configured
from config.settings import Settings, SettingsError
from workers.core.errors import UserError
from workers.core.identity import answer_key, call_fingerprint
from workers.core.messages import Reply
from workers.core.structured import mismatch
from workers.core.ttl import ttl_s
from workers.providers.registry import adapter_for, address_of, answers_as
from workers.store import redis
from workers.store.cache import Cache
from workers.store.cache_stats import CacheStats
from workers.transport.choice import rules_for, transport_for
from workers.transport.port import ClientStats, Transport

COUNTED_EVERY_S = 3.0
Source = Literal["call", "cache", "coalesced"]


@dataclass(frozen=True, slots=True)
class Got:
    """An answer, where it came from, and whether it is in the cache now."""

    reply: Reply
    source: Source
    kept: bool = False


class Request:
    """One request, made ready: where it goes, what it says, and under which name its answer is kept."""

    def __init__(
        self,
        provider: Configured,
        prompt: Prompt | list[str],
        asked: Asked,
        *,
        endpoint: str,
        scope: CacheScope,
    ) -> None:
        """Raises UserError for what nobody can be asked."""
        self.provider = provider
        self.call, self.warnings = call_for(Provider(provider.name), prompt, asked, endpoint)
        self.task_type = TaskType(asked.task_type).value if asked.task_type is not None else None
        try:
            fingerprint = call_fingerprint(
                self.call,
                secret=scope.secret,
                generation=scope.generation,
                answers_as=(scope.base_url or answers_as(provider)).rstrip("/"),
            )
        except TypeError as error:  # a value that JSON does not have, half of a surrogate pair, too deep
            raise UserError(f"the request cannot be written as JSON ({error})") from error
        self.key = answer_key(provider.name, endpoint, fingerprint)

    def ttl_s(self, settings: Settings, *, live: bool) -> int:
        """How long its answer lives."""
        return ttl_s(self.call.endpoint, self.task_type, live=live, rules=settings.cache)


class Session:
    """Belongs to the event loop it was made in."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._transports: dict[str, Transport] = {}
        self._under_way: dict[str, asyncio.Task[Got]] = {}
        self.cache = _cache_of(settings)
        self._counted_at = time.monotonic()

    def provider(self, name: Provider) -> Configured:
        """A provider of the settings. Raises UserError where they have none of that name."""
        found = next((one for one in self.settings.providers if one.name == name.value), None)
        if found is None:
            hint = f"set {name.value.upper()}_API_KEY" if name is not Provider.OLLAMA else "set OLLAMA_HOST"
            raise UserError(f"provider {name.value!r} is not configured", hint=hint)
        return found

    def transport(self, provider: Configured) -> Transport:
        """The connections to it, opened on first use and kept."""
        if provider.name not in self._transports:
            self._transports[provider.name] = _open_transport(self.settings, provider)
        return self._transports[provider.name]

    def client_stats(self) -> dict[str, ClientStats]:
        """What each transport that was used has done."""
        return {name: transport.stats() for name, transport in self._transports.items()}

    async def cache_stats(self) -> CacheStats:
        """How the cache does; `away` without one."""
        return CacheStats(away=True) if self.cache is None else await self.cache.stats()

    async def find(self, request: Request) -> Reply | None:
        """The answer that is kept."""
        if self.cache is None:
            return None
        found = await self.cache.find([request.key])
        if time.monotonic() - self._counted_at > COUNTED_EVERY_S:
            self._counted_at = time.monotonic()
            await self.cache.flush_counts()
        return found.get(request.key)

    async def keep(self, request: Request, reply: Reply, *, ttl_s: int, took_ms: float | None = None) -> bool:
        """Keep an answer, unless it is not what was asked for; True if it is there now.

        Args:
            took_ms: for an answer fetched ahead of its askers, how long it took: it is renewed before its end.
        """
        if self.cache is None or mismatch(request.call, reply.body) is not None:
            return False
        warmed_ms = {} if took_ms is None else {request.key: took_ms}
        return bool(await self.cache.keep({request.key: reply}, {request.key: ttl_s}, warmed_ms=warmed_ms))

    async def call(self, request: Request) -> Reply:
        """One call. Raises ProviderError or TransportError; nothing is tried again."""
        provider, adapter = request.provider, adapter_for(request.provider)
        key = provider.api_key.reveal() if provider.api_key else None
        built = adapter.build_request(request.call, key)
        response = await self.transport(provider).send(built.request, deadline_s=provider.timeouts.read_s)
        if response.status >= 400:
            raise adapter.parse_error(response)
        reply = adapter.parse_response(request.call, response)
        return replace(reply, warnings=built.warnings + reply.warnings) if built.warnings else reply

    async def get(self, request: Request, *, warming: bool) -> Got:
        """The kept answer, else that of one call, which is kept; equal requests under way share both.

        The work belongs to none of those who wait for it: whoever gives up leaves it to the others. Raises what `call`
        raises, to each of them.

        Args:
            warming: nobody waits: it is kept as long as a batch's answer, and renewed before its end.
        """
        task = self._under_way.get(request.key)
        if task is not None:
            got = await asyncio.shield(task)
            return replace(got, source="coalesced") if got.source == "call" else got
        task = asyncio.create_task(self._get(request, warming=warming))
        self._under_way[request.key] = task
        task.add_done_callback(lambda done: self._landed(request.key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End what is under way and close every connection; the counts go to the cache first."""
        for task in (tasks := list(self._under_way.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for transport in self._transports.values():
            await transport.close()
        self._transports.clear()
        if self.cache is not None:
            await self.cache.flush_counts()
            await self.cache.close()

    async def _get(self, request: Request, *, warming: bool) -> Got:
        found = await self.find(request)
        if found is not None:
            return Got(found, "cache", kept=True)
        started = time.monotonic()
        reply = await self.call(request)
        took_ms = (time.monotonic() - started) * 1000.0 if warming else None
        life_s = request.ttl_s(self.settings, live=not warming)
        return Got(reply, "call", kept=await self.keep(request, reply, ttl_s=life_s, took_ms=took_ms))

    def _landed(self, key: str, task: asyncio.Task[Got]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # somebody may have given up waiting: then nobody else reads it


def _open_transport(settings: Settings, provider: Configured) -> Transport:
    http = settings.http
    rules = rules_for(http, provider)
    try:
        return transport_for(address_of(provider), rules, http.transport)
    except SettingsError as error:
        raise UserError(str(error)) from error


def _cache_of(settings: Settings) -> Cache | None:
    url, rules = settings.servers.cache_redis_url, settings.cache
    if url is None or not rules.enabled:
        return None
    return Cache(
        redis.connect(url, max_connections=settings.servers.redis_max_connections),
        max_entry_bytes=rules.max_entry_bytes,
        compress_over_bytes=rules.compress_over_bytes,
        early_refresh=rules.early_refresh,
    )
