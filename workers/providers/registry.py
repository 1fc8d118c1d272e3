"""Which adapter speaks to which kind of provider."""

from __future__ import annotations

from collections.abc import Iterable

from config.settings import Provider
from workers.core.errors import UserError
from workers.providers.base import Adapter
from workers.providers.openai import OpenAI

# Ollama is spoken to through the OpenAI-compatible API that it serves under /v1.
SPOKEN_KINDS = ("openai", "ollama", "sim")


def spoken(providers: Iterable[Provider]) -> tuple[Provider, ...]:
    """Those of the configured providers that this version can call."""
    return tuple(provider for provider in providers if provider.kind in SPOKEN_KINDS)


def adapter_for(name: str, kind: str) -> Adapter:
    """The adapter of a configured provider. Raises UserError for a kind that is not spoken."""
    if kind in SPOKEN_KINDS:
        return OpenAI(name)
    raise UserError(
        f"provider {name!r} is of kind {kind!r}, which this version cannot call",
        hint=f"kinds it can call: {', '.join(SPOKEN_KINDS)}",
    )
