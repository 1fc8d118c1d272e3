"""Which adapter speaks to which kind of provider."""

from __future__ import annotations

from collections.abc import Iterable

from config.settings import Provider, Settings
from workers.core.errors import UserError
from workers.core.route import Offer
from workers.providers.base import Adapter
from workers.providers.openai import OpenAI

# Ollama is spoken to through the OpenAI-compatible API that it serves under /v1.
SPOKEN_KINDS = ("openai", "ollama", "sim")


def spoken(providers: Iterable[Provider]) -> tuple[Provider, ...]:
    """Those of the configured providers that this version can call."""
    return tuple(provider for provider in providers if provider.kind in SPOKEN_KINDS)


def offers(settings: Settings) -> list[Offer]:
    """Who answers which models, in the order of asking.

    With `simulator.all_models` nobody but the simulator is asked: what was meant to cost nothing must not be paid.
    """
    asked = [
        one for one in spoken(settings.providers) if one.kind == "sim" or not settings.simulator.all_models
    ]
    return [Offer(one.name, ("*",) if settings.simulator.all_models else one.models) for one in asked]


def adapter_for(name: str, kind: str) -> Adapter:
    """The adapter of a configured provider. Raises UserError for a kind that is not spoken."""
    if kind in SPOKEN_KINDS:
        return OpenAI(name)
    raise UserError(
        f"provider {name!r} is of kind {kind!r}, which this version cannot call",
        hint=f"kinds it can call: {', '.join(SPOKEN_KINDS)}",
    )
