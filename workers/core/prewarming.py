"""Which models a server of one's own is to have loaded before anybody asks, and the request that loads one. Pure.

Sources: Ollama's published API document ("load a model": a request without a prompt, with `keep_alive`); llama.cpp's
server loads at its own start, and its first answer warms it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from config.catalog import Catalog
from config.prewarm import named_models
from config.provider import Provider, ProviderKind
from workers.core.messages import Call

# What proves that the server is there and costs it nothing, after the provider's base URL.
LOOKS: Mapping[ProviderKind, str] = {"ollama": "/api/version", "openai": "/models"}


def models_to_load(provider: Provider, catalog: Catalog, builtin: Catalog) -> tuple[str, ...]:
    """The models that are loaded when a worker starts; the one that is asked most comes last.

    Without a list: those that it offers of what the settings name for it, and the one that a request without a name
    gets. A server with room for one model keeps the last.

    Args:
        builtin: the catalogue without the user's own settings.
    """
    if provider.kind not in LOOKS or not provider.prewarm:
        return ()
    if isinstance(provider.prewarm, tuple):
        return tuple(dict.fromkeys(provider.prewarm))
    places = (provider.name, provider.kind)
    moved = [
        target.model
        for alias, target in catalog.aliases.items()
        if target.place in places and target != builtin.aliases.get(alias)
    ]
    first = [each for each in catalog.route("cost", "default") if each.place in places][:1]
    usual = [catalog.resolve(each).model for each in first] if provider.kind == "ollama" else []
    named = [*named_models(provider), *moved]
    in_order = dict.fromkeys([*(each for each in named if each not in usual), *usual])
    return tuple(model for model in in_order if any(fnmatchcase(model, glob) for glob in provider.models))


def load_call(kind: str, model: str, catalog: Catalog, options: Mapping[str, Any]) -> Call:
    """The request that loads a model as the provider's calls want it: with its default options, `keep_alive` among
    them, since another size of context would load it anew."""
    traits = catalog.traits(model, kind)
    if kind == "ollama":
        if "embedding" in traits.abilities:
            return Call("/v1/embeddings", model, {}, {"truncate": False, **options}, traits)
        return Call("/v1/completions", model, {}, {**options, "prompt": ""}, traits)
    body = {"messages": [{"role": "user", "content": "."}], "max_tokens": 1}
    return Call("/v1/chat/completions", model, body, options, traits)
