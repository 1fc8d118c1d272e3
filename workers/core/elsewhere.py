"""Who answers a request once its provider has failed it for good.

    first    who the providers that had it name as their `fallback`: the first one's list, then the others'
    then     for `auto`: the route's next candidate
             for a plain name: who else lists the very name, or has a pattern for it
             for a name with its provider (`openai/gpt-4o`): nobody, since that was said

Asked for everything (`*`) is no offer of a name here: it would be sent to servers that never heard of it, and the
item would end with their word for it. A fallback may be such a server, since the user says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from config.catalog import KINDS, Candidate, Catalog
from workers.core.choose import AUTO, Chosen, Wanted, choose, settled, takes
from workers.core.route import Offer


def choose_elsewhere(
    wanted: Wanted, offers: Sequence[Offer], catalog: Catalog, *, without: frozenset[str]
) -> Chosen | None:
    """The next one for this request; None when nobody is left.

    Args:
        wanted: with the request's needs, whatever its model: a fallback's model has to meet them.
        offers: in the order of asking.
        without: the providers that had it. It goes to none of them.
    """
    first = choose(wanted, offers, catalog)
    if first is None or first.provider not in without:
        return first  # the settings have changed: the one it is meant for now has not had it
    found = next(_fallbacks(wanted, first, offers, catalog, without), None)
    if found is None and (wanted.model == AUTO or not _says_where(wanted.model, offers)):
        found = _next(wanted, [offer for offer in offers if offer.provider not in without], catalog)
    if found is None or found.model == first.model:
        return found
    said = f"model: {first.provider}/{first.model} gave no answer; {found.provider}/{found.model} does in its place"
    return replace(found, warnings=(*found.warnings, said))


def _fallbacks(
    wanted: Wanted, first: Chosen, offers: Sequence[Offer], catalog: Catalog, without: frozenset[str]
) -> Iterator[Chosen]:
    known = {offer.provider: offer for offer in offers}
    asked = [first.provider]
    for provider in asked:  # grows: who was named and has failed names others
        for entry in known[provider].fallback:
            name, _, model = entry.partition("/")
            if name not in known:
                continue
            if name not in without:
                yield from _at(known[name], model, wanted, first, catalog)
            elif name not in asked:
                asked.append(name)


def _at(offer: Offer, model: str, wanted: Wanted, first: Chosen, catalog: Catalog) -> Iterator[Chosen]:
    """What a fallback is asked for: the model said with it, its place in the route, or the same name."""
    if model:
        chosen = settled(offer, model, catalog)
        if catalog.traits(chosen.model, offer.kind).can(wanted.needs):
            yield chosen
    elif wanted.model == AUTO:
        routed = _next(wanted, [offer], catalog)
        if routed is not None:
            yield routed
        elif offer.names(first.model):
            yield settled(offer, first.model, catalog)
    elif offer.names(first.model) or offer.everything:
        yield settled(offer, first.model, catalog)


def _next(wanted: Wanted, left: Sequence[Offer], catalog: Catalog) -> Chosen | None:
    if wanted.model == AUTO:
        return choose(wanted, left, catalog)
    meant = catalog.resolve(Candidate(None, wanted.model))
    for offer in left:
        if takes(offer, meant) if meant.place else offer.names(meant.model):
            return settled(offer, meant.model, catalog)
    return None


def _says_where(model: str, offers: Sequence[Offer]) -> bool:
    place, _, rest = model.partition("/")
    return bool(rest) and (place in KINDS or any(offer.provider == place for offer in offers))
