"""The functions of `batchwright.ai` that do the work: ask a provider, answer from the cache, fill it, look at both.

Each is awaited. What they need (providers with their keys, the cache Redis) comes from the settings of the process,
read once in each event loop; `close_clients` ends what was opened there. Without BATCHWRIGHT_CACHE_REDIS_URL nothing
is kept and every look-up misses.

Arguments are those of `cache_key`, and two more: `cache=False` neither looks nor keeps nor shares a call.
They raise UserError for what nobody can be asked, and ProviderError or TransportError when the one call fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from batchwright.ai.caching import CacheScope
from batchwright.ai.requests import Asked
from batchwright.ai.routing import CHAT
from batchwright.ai.session import Request, Session, Source
from batchwright.ai.tasks import Prompt, Provider, known
from config.settings import SettingsError, load_settings
from workers.core.errors import BatchwrightError, UserError
from workers.core.identity import EMBEDDINGS_ENDPOINT
from workers.core.messages import Reply, Usage
from workers.store.cache_stats import CacheStats
from workers.transport.port import ClientStats, Transport

_OWN = CacheScope()
_sessions: dict[asyncio.AbstractEventLoop, Session] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request brought.

    Attributes:
        body: the answer as OpenAI's API would give it.
        source: `call`, `cache`, or `coalesced`: an equal request was under way and its call served both.
        usage: the tokens of the one call that was made for it, whoever made it.
        warnings: what the provider never saw of the request, a sentence each.
    """

    body: dict[str, Any]
    source: Source
    usage: Usage
    model: str
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str | None:
        """The words of a chat's first choice; None for an embedding, a refusal or a tool call."""
        choices = self.body.get("choices") or [{}]
        content = (choices[0].get("message") or {}).get("content")
        return content if isinstance(content, str) else None


@dataclass(frozen=True, slots=True)
class Warming:
    """What filling the cache came to: prompts by what became of them.

    Attributes:
        known: were cached already, or stand in the list twice; nothing was called for them.
        not_kept: answered, but not taken: no cache, too large, or not in the schema that was asked for.
        failed: what went wrong, by the prompt's place in the list.
    """

    kept: int
    known: int
    not_kept: int
    failed: Mapping[int, BatchwrightError]


async def make_ai_request(
    provider: str,
    prompt: Prompt | list[str],
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    embedding: bool = False,
    scope: CacheScope = _OWN,
    cache: bool = True,
    **parameters: Any,
) -> Answer:
    """Answer from the cache, else call the provider once and keep the answer; equal requests under way share a call."""
    session, asked = _session(), Asked(model, system, task_type, parameters)
    request = _request(session, provider, prompt, asked, embedding=embedding, scope=scope)
    if not cache:
        return _answer(request, await session.call(request), "call")
    got = await session.get(request, warming=False)
    return _answer(request, got.reply, got.source)


async def get_cached_response(
    provider: str,
    prompt: Prompt | list[str],
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    embedding: bool = False,
    scope: CacheScope = _OWN,
    **parameters: Any,
) -> Answer | None:
    """The answer that is kept for this request; None where there is none. Nothing is called."""
    session, asked = _session(), Asked(model, system, task_type, parameters)
    request = _request(session, provider, prompt, asked, embedding=embedding, scope=scope)
    found = await session.find(request)
    return None if found is None else _answer(request, found, "cache")


async def cache_response(  # noqa: PLR0913  keywords, one an option
    provider: str,
    prompt: Prompt | list[str],
    body: Mapping[str, Any],
    *,
    ttl_s: int | None = None,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    embedding: bool = False,
    scope: CacheScope = _OWN,
    **parameters: Any,
) -> bool:
    """Keep an answer that came by another way, so that the same request is answered by it.

    Args:
        body: the answer as OpenAI's API would give it; its `usage` is kept with it.
        ttl_s: how long; None: as long as an answer to somebody who waits.
    Returns: whether it is there now. It is not without a cache, when it is too large, or not in the schema asked for.
    """
    session, asked = _session(), Asked(model, system, task_type, parameters)
    request = _request(session, provider, prompt, asked, embedding=embedding, scope=scope)
    life_s = request.ttl_s(session.settings, live=True) if ttl_s is None else ttl_s
    return await session.keep(request, _reply_of(body, request.call.model), ttl_s=life_s)


async def warm_cache(
    provider: str,
    prompts: Sequence[Prompt | list[str]],
    *,
    concurrency: int = 8,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    embedding: bool = False,
    scope: CacheScope = _OWN,
    **parameters: Any,
) -> Warming:
    """Fill the cache with the answers to these prompts, each asked once, `concurrency` at a time.

    They live as long as a batch's answers, and are asked for anew shortly before their end by whoever needs them
    then. A prompt that fails does not stop the others; a request that nobody can be asked stops all, at once.
    """
    if concurrency < 1:
        raise UserError(f"concurrency is at least 1, got {concurrency}")
    session, asked = _session(), Asked(model, system, task_type, parameters)
    requests = [_request(session, provider, one, asked, embedding=embedding, scope=scope) for one in prompts]
    places = iter(enumerate(requests))
    came_to: list[Literal["kept", "known", "not_kept"]] = []
    failed: dict[int, BatchwrightError] = {}

    async def work() -> None:
        for place, request in places:
            try:
                came_to.append(await _warmed(session, request))
            except BatchwrightError as error:
                failed[place] = error

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(requests))):
            group.create_task(work())
    return Warming(came_to.count("kept"), came_to.count("known"), came_to.count("not_kept"), failed)


async def get_cache_stats() -> CacheStats:
    """Hits and misses today and over seven days, of every process that uses this cache, and how full it is."""
    return await _session().cache_stats()


async def get_http_client(provider: str) -> Transport:
    """The connections to a provider that this event loop keeps open and shares. They are not the caller's to close."""
    session = _session()
    return session.transport(session.provider(known(Provider, provider, "provider")))


async def get_client_stats() -> dict[str, ClientStats]:
    """What the connections to each provider have done since this event loop first used them."""
    return _session().client_stats()


async def close_clients() -> None:
    """Close every connection of this event loop; calls under way end. The next function opens them anew."""
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()


async def _warmed(session: Session, request: Request) -> Literal["kept", "known", "not_kept"]:
    got = await session.get(request, warming=True)
    if not got.kept:
        return "not_kept"
    return "kept" if got.source == "call" else "known"


def _session() -> Session:
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        for over in [each for each in _sessions if each.is_closed()]:
            del _sessions[over]  # nobody closed it while that could be done
        try:
            _sessions[loop] = Session(load_settings())
        except SettingsError as error:
            raise UserError(str(error)) from error
    return _sessions[loop]


def _request(
    session: Session,
    provider: str,
    prompt: Prompt | list[str],
    asked: Asked,
    *,
    embedding: bool,
    scope: CacheScope,
) -> Request:
    place = session.provider(known(Provider, provider, "provider"))
    endpoint = EMBEDDINGS_ENDPOINT if embedding else CHAT
    return Request(place, prompt, asked, endpoint=endpoint, scope=scope)


def _answer(request: Request, reply: Reply, source: Source) -> Answer:
    warnings = request.warnings + reply.warnings
    return Answer(orjson.loads(reply.body), source, reply.usage, reply.model, warnings)


def _reply_of(body: Mapping[str, Any], model: str) -> Reply:
    usage = body.get("usage") or {}
    counts = Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    try:
        return Reply(orjson.dumps(dict(body)), counts, str(body.get("model") or model))
    except TypeError as error:
        raise UserError(f"the answer cannot be written as JSON ({error})") from error
