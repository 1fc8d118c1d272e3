"""Which provider answers a model name.

A name may say its provider (`anthropic/claude-x`); otherwise the first configured provider whose patterns
match takes it, exact names before patterns, in the order of the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Offer:
    """What a configured provider says it answers: model names or shell patterns."""

    provider: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The provider, and the model's name as that provider knows it."""

    provider: str
    model: str


def route(model: str, offers: Sequence[Offer]) -> Route | None:
    """The one who answers `model`, or None when nobody does."""
    prefix, slash, rest = model.partition("/")
    if slash and rest and any(offer.provider == prefix for offer in offers):
        return Route(prefix, rest)
    for offer in offers:
        if model in offer.models:
            return Route(offer.provider, model)
    for offer in offers:
        if any(fnmatchcase(model, pattern) for pattern in offer.models):
            return Route(offer.provider, model)
    return None
