"""Which provider and which model answer a task, by the routes and aliases of config/models.toml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from batchwright.ai.tasks import Provider, TaskType, known
from config.catalog import DEFAULT_ROUTE, PRIORITIES, Candidate, Priority
from config.catalog_file import builtin_catalog
from config.kinds import KINDS
from workers.core.choose import AUTO, DEFAULT_PRIORITY, Chosen, Wanted, choose
from workers.core.errors import UserError
from workers.core.route import Offer

CHAT = "/v1/chat/completions"

_CATALOG = builtin_catalog()
_OFFERS: Mapping[Provider, Offer] = {
    provider: Offer(provider.value, KINDS[provider.value].models, provider.value) for provider in Provider
}

OLLAMA_MODELS: Mapping[str, str] = MappingProxyType(
    {name: _CATALOG.resolve(Candidate(Provider.OLLAMA, name)).model for name in ("fast", "mini", "quality")}
)


def route_request(
    task_type: str, priority: Priority = DEFAULT_PRIORITY, *, available: Iterable[str] = tuple(Provider)
) -> Provider:
    """The provider that a task should go to: the first of its route that is among `available`, in any order.

    Raises: UserError for an unknown task type, priority or provider, or when `available` is empty.
    """
    task = known(TaskType, task_type, "task type")
    offers = [_OFFERS[known(Provider, each, "provider")] for each in available]
    chosen = choose(Wanted(CHAT, AUTO, task, _priority(priority)), offers, _CATALOG)
    if chosen is None:
        raise UserError("no provider is available", hint=f"name some of {', '.join(Provider)}")
    return Provider(chosen.provider)


def get_gemini_model(quality: bool = False, *, priority: Priority = DEFAULT_PRIORITY) -> str:
    """Gemini's fast model, or its best one when `quality` or the priority `quality` asks for it. Raises UserError."""
    best = quality or _priority(priority) == "quality"
    return _CATALOG.resolve(Candidate(Provider.GEMINI, "gemini-pro" if best else "gemini-flash")).model


def get_ollama_model_for_task(task_type: str) -> str:
    """The local model for a task: mini for genres, quality for creative work and tools, else fast. Raises UserError."""
    return _of_route(Provider.OLLAMA, known(TaskType, task_type, "task type"))


def model_at(provider: Provider, model: str | None, route: str = DEFAULT_ROUTE) -> Chosen:
    """A model by the name its provider knows: aliases are followed, a retired name is replaced with a warning.

    Args:
        route: decides when no model is named: a task type, or one of the catalogue's other routes.
    Raises: UserError when the catalogue knows no model of the provider for that route.
    """
    if model is None:
        fast_gemini = provider is Provider.GEMINI and route != "embeddings"
        return Chosen(provider, get_gemini_model() if fast_gemini else _of_route(provider, route))
    named = f"{provider}/{model.removeprefix(f'{provider}/')}"
    return choose(Wanted(CHAT, named), [_OFFERS[provider]], _CATALOG) or Chosen(provider, model)


def _of_route(provider: Provider, route: str) -> str:
    candidates = map(_CATALOG.resolve, _CATALOG.route(DEFAULT_PRIORITY, route))
    found = next((each.model for each in candidates if each.place == provider), None)
    if found is None:
        raise UserError(f"the catalogue has no {provider} model for {route}", hint="name one as `model`")
    return found


def _priority(given: str) -> Priority:
    for each in PRIORITIES:
        if each == given:
            return each
    raise UserError(f"unknown priority {str(given)[:64]!r}; known: {', '.join(PRIORITIES)}")
