"""Which adapter speaks to which kind of provider."""

from __future__ import annotations

from config.settings import Provider, Settings
from workers.core.route import Offer
from workers.providers.anthropic import Anthropic
from workers.providers.base import Adapter
from workers.providers.gemini import Gemini
from workers.providers.ollama import Ollama
from workers.providers.openai import OpenAI


def adapter_for(provider: Provider) -> Adapter:
    """The adapter of a configured provider. The simulator is spoken to in OpenAI's words."""
    match provider.kind:
        case "anthropic":
            return Anthropic(provider.name, headers=provider.headers)
        case "gemini":
            return Gemini(provider.name, headers=provider.headers)
        case "ollama":
            return Ollama(provider.name, headers=provider.headers)
        case _:
            return OpenAI(
                provider.name, path=provider.path, key_header=provider.key_header, headers=provider.headers
            )


def address_of(provider: Provider) -> str:
    """Where its adapter's paths begin: some give Ollama's OpenAI-compatible address, one step too deep."""
    return provider.base_url.removesuffix("/v1") if provider.kind == "ollama" else provider.base_url


def answers_as(provider: Provider) -> str:
    """Whose answers these are, for the cache: a simulator answers the same on whatever port it was started."""
    return "sim" if provider.kind == "sim" else address_of(provider)


def offers(settings: Settings) -> list[Offer]:
    """Who answers which models, in the order of asking.

    With `simulator.all_models` nobody but the simulator is asked: what was meant to cost nothing must not be paid.
    """
    everything = settings.simulator.all_models
    asked = [one for one in settings.providers if one.kind == "sim" or not everything]
    return [Offer(one.name, ("*",) if everything else one.models, one.kind, one.fallback) for one in asked]
