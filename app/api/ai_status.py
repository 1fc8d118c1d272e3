"""`GET /ai/status`: which models answer here, whom each task would ask, and what this installation can do.

Of a provider its name, its kind and what it offers; no key and no address. Whether it is reachable is what workers saw
at their last calls: nobody is called for this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from app.api.auth import Tenant
from app.api.json_reply import json_reply
from app.api.metrics import vitals_of
from app.api.services import Behind
from app.api.shapes import Shape
from app.api.spec import gives
from app.version import VERSION
from config.catalog import PRIORITIES, Ability, Catalog
from config.provider import Provider, ProviderKind
from config.settings import Settings
from workers.core.choose import AUTO, Wanted, choose
from workers.core.needs import ENDPOINT_ROUTES, needs_of
from workers.core.route import Offer
from workers.providers.registry import offers
from workers.store.worker_processes import Beat
from workers.vitals import ProviderVitals

router = APIRouter(tags=["server"])
_CHAT = "/v1/chat/completions"
_EVERYTHING = (
    "chat",
    "stream",
    "tools",
    "parallel tools",
    "schema",
    "image",
    "embedding",
    "audio",
    "prompt caching",
)
_LACKS: Mapping[str, frozenset[str]] = {
    "anthropic": frozenset({"embedding", "audio"}),
    "ollama": frozenset({"audio", "prompt caching"}),
}


class ProviderStatus(Shape):
    """A configured provider: `models` are patterns, `reachable` is null where no worker has called it yet."""

    name: str
    kind: ProviderKind
    reachable: bool | None
    answered_seconds_ago: Annotated[float, Field(ge=0)] | None
    models: list[str]
    aliases: dict[str, str]
    capabilities: list[str]
    fallback: list[str]


class TaskChoice(Shape):
    """Who answers `model: "auto"` for a task at each priority, as `provider/model`; null where nobody would."""

    speed: str | None
    quality: str | None
    cost: str | None


class Features(Shape):
    """What can be asked for here."""

    batch: bool
    chat: bool
    responses: bool
    completions: bool
    embeddings: bool
    vision: bool
    tools: bool
    structured_output: bool
    audio: bool
    streaming: bool
    cache: bool
    coalescing: bool
    fallback: bool
    webhooks: bool
    schedules: bool
    budgets: bool


class AiStatus(Shape):
    """Models and features. `workers`: processes that live and take work."""

    object: Literal["ai.status"]
    version: str
    workers: Annotated[int, Field(ge=0)]
    providers: list[ProviderStatus]
    tasks: dict[str, TaskChoice]
    features: Features


@router.get("/ai/status", name="describe_ai", responses=gives(AiStatus))
async def ai_status(_: Tenant, behind: Behind) -> Response:
    """Configured providers as workers saw them last, whom each task asks, and what is switched on."""
    beats = [beat for beat in await behind.run(behind.workers.beats) if beat.alive]
    return json_reply(status_of(behind.settings, beats))


def status_of(settings: Settings, beats: Iterable[Beat]) -> dict[str, Any]:
    """The reply, by the settings and the last beats of living processes."""
    signs = [found for found in map(vitals_of, beats) if found is not None]
    seen = {
        provider.name: [each.providers[provider.name] for each in signs if provider.name in each.providers]
        for provider in settings.providers
    }
    return {
        "object": "ai.status",
        "version": VERSION,
        "workers": sum(bool(each.providers) for each in signs),
        "providers": [_provider(each, settings.catalog, seen[each.name]) for each in settings.providers],
        "tasks": _tasks(offers(settings), settings.catalog),
        "features": _features(settings),
    }


def capabilities(kind: str) -> list[str]:
    """What a kind of provider does here; docs/providers.md names a test for each."""
    return [each for each in _EVERYTHING if each not in _LACKS.get(kind, frozenset())]


def reachable(signs: Iterable[ProviderVitals]) -> tuple[bool | None, float | None]:
    """Whether the last call of any process got an answer, and how many seconds ago one did."""
    answered = min((each.answered_s for each in signs if each.answered_s is not None), default=None)
    failed = min((each.failed_s for each in signs if each.failed_s is not None), default=None)
    if answered is None:
        return (None if failed is None else False), None
    return failed is None or answered <= failed, answered


def _provider(provider: Provider, catalog: Catalog, signs: list[ProviderVitals]) -> dict[str, Any]:
    is_reachable, answered_s = reachable(signs)
    aliases = {
        name: each.model
        for name, each in catalog.aliases.items()
        if each.place in (None, provider.kind, provider.name)
    }
    return {
        "name": provider.name,
        "kind": provider.kind,
        "reachable": is_reachable,
        "answered_seconds_ago": None if answered_s is None else round(answered_s, 1),
        "models": list(provider.models),
        "aliases": aliases,
        "capabilities": capabilities(provider.kind),
        "fallback": list(provider.fallback),
    }


def _tasks(offered: list[Offer], catalog: Catalog) -> dict[str, dict[str, str | None]]:
    vision: frozenset[Ability] = frozenset({"vision"})
    wanted = {"default": Wanted(_CHAT, AUTO), "vision": Wanted(_CHAT, AUTO, needs=vision)}
    wanted |= {name: Wanted(_CHAT, AUTO, name) for name in catalog.task_types}
    for endpoint, route in ENDPOINT_ROUTES.items():
        wanted[route] = Wanted(endpoint, AUTO, needs=needs_of(endpoint, {}))
    return {name: _choices(each, offered, catalog) for name, each in wanted.items()}


def _choices(wanted: Wanted, offered: list[Offer], catalog: Catalog) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for priority in PRIORITIES:
        asked = Wanted(wanted.endpoint, wanted.model, wanted.task_type, priority, wanted.needs)
        chosen = choose(asked, offered, catalog)
        found[priority] = None if chosen is None else f"{chosen.provider}/{chosen.model}"
    return found


def _features(settings: Settings) -> dict[str, bool]:
    can = {each for provider in settings.providers for each in capabilities(provider.kind)}
    some = bool(settings.providers)
    return {
        **dict.fromkeys(("batch", "chat", "responses", "completions"), some),
        "embeddings": "embedding" in can,
        "vision": "image" in can,
        "tools": "tools" in can,
        "structured_output": "schema" in can,
        "audio": "audio" in can,
        # Answers of batches come whole.
        "streaming": False,
        "cache": settings.cache.enabled,
        "coalescing": True,
        "fallback": settings.breaker.hand_over,
        "webhooks": True,
        "schedules": True,
        "budgets": True,
    }
