"""Which provider answers a plain model name. core/choose.py asks, and knows of aliases, routes and `auto` besides.

A name may say its provider (`anthropic/claude-x`); otherwise the first configured provider whose patterns
match takes it, exact names before patterns, in the order of the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a configured provider says it answers: model names or shell patterns. `kind`: which API it speaks.

    `fallback`: who answers when it fails for good, the first first: a provider's name, or `provider/model`.
    """

    provider: str
    models: tuple[str, ...]
    kind: str = ""
    fallback: tuple[str, ...] = ()

    def names(self, model: str) -> bool:
        """Whether a pattern that says more than "everything" matches."""
        return any(glob != EVERYTHING and fnmatchcase(model, glob) for glob in self.models)

    @property
    def everything(self) -> bool:
        """Whether it is asked for any name at all."""
        return EVERYTHING in self.models


def by_name(model: str, offers: Sequence[Offer]) -> tuple[Offer, str] | None:
    """Who is named in `provider/model`, or lists exactly this model; and the model's name there."""
    prefix, slash, rest = model.partition("/")
    if slash and rest:
        for offer in offers:
            if offer.provider == prefix:
                return offer, rest
    return next(((offer, model) for offer in offers if model in offer.models), None)


def by_pattern(model: str, offers: Sequence[Offer]) -> tuple[Offer, str] | None:
    """The first with a pattern that matches."""
    for offer in offers:
        if any(fnmatchcase(model, glob) for glob in offer.models):
            return offer, model
    return None
