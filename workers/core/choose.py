"""Who answers a request, and what the request then is: reading our own fields, choosing, and making the call.

The planner and the pipeline ask with the same words: choosing again among the chosen provider's offer alone gives
the same model, so a shard needs to know its provider only.

    auto            the first candidate of the route (config/models.toml) that is configured and can do it
    provider/model  both are said; `kind/model` takes the first provider of that kind
    alias, plain    who lists the name, then the alias's model, then who has a pattern for it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.catalog import (
    DEFAULT_ROUTE,
    KINDS,
    PRIORITIES,
    Ability,
    Candidate,
    Catalog,
    ModelTraits,
    Priority,
    Streaming,
    TaskType,
)
from workers.core.lines import json_type
from workers.core.messages import Call, LineProblem
from workers.core.needs import ENDPOINT_ROUTES, needs_of
from workers.core.route import Offer, by_name, by_pattern

AUTO = "auto"
# Who says nothing of a priority is not sent a bill that nobody expected.
DEFAULT_PRIORITY: Priority = "cost"
STREAM_OVER_CHARACTERS = 500

_STREAMED_TASKS = ("creative", "summarization")
_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_NONE: Mapping[str, Any] = {}
# Our own fields of a request body; they go no further than here.
OWN_FIELDS = frozenset({"task_type", "priority", "provider_options"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, as far as the choice depends on it. Hashable: equal wishes are chosen for once.

    Attributes:
        task_type: the full name of a task type.
        needs: what the model must be able to do; read for `auto` only, who names a model has decided.
    """

    endpoint: str
    model: str
    task_type: str | None = None
    priority: Priority | None = None
    needs: frozenset[Ability] = frozenset()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The provider, the model's name as that provider knows it, and what there is to say about the choice."""

    provider: str
    model: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Considered:
    """One candidate of a route: who would answer, or in a few words why nobody does."""

    candidate: Candidate
    offer: Offer | None
    why_not: str = ""


def read_wanted(endpoint: str, model: str, body: Mapping[str, Any], catalog: Catalog) -> Wanted | LineProblem:
    """Read our own fields of a request body: `task_type`, `priority` and `provider_options`.

    An integer `priority` belongs to vLLM's API and is no field of ours. Returns: a LineProblem without a line for a
    value that is unknown or of the wrong type.
    """
    needs = needs_of(endpoint, body) if model == AUTO else frozenset()
    if OWN_FIELDS.isdisjoint(body):
        return Wanted(endpoint, model, needs=needs)
    task_type: str | None = None
    priority: Priority | None = None
    if (named := body.get("task_type")) is not None:
        if not isinstance(named, str):
            return _wrong_type("task_type", "a string", named)
        if (task := catalog.task_type(named)) is None:
            return _unknown("task_type", named, catalog.task_types)
        task_type = task.name
    if isinstance(ranked := body.get("priority"), str):
        priority = next((each for each in PRIORITIES if each == ranked), None)
        if priority is None:
            return _unknown("priority", ranked, PRIORITIES)
    options = body.get("provider_options")
    if options is not None and not isinstance(options, dict):
        return _wrong_type("provider_options", "an object", options)
    if options and "model" in options:
        # It would be called by one name and priced, limited and cached by another.
        text = "Name the model in 'model': a model in 'provider_options' is not taken."
        return LineProblem("invalid_value", text, "body.provider_options.model", None)
    return Wanted(endpoint, model, task_type, priority, needs)


def choose(wanted: Wanted, offers: Sequence[Offer], catalog: Catalog) -> Chosen | None:
    """The one who answers, or None when nobody does. `offers` are in the order of asking."""
    if wanted.model == AUTO:
        found = next((each for each in considered(wanted, offers, catalog) if each.offer), None)
        return Chosen(found.offer.provider, found.candidate.model) if found and found.offer else None
    return _named(wanted.model, offers, catalog)


def considered(wanted: Wanted, offers: Sequence[Offer], catalog: Catalog) -> Iterator[Considered]:
    """The candidates of the wanted route in their order, aliases followed; the first with an offer is chosen."""
    for candidate in map(
        catalog.resolve, catalog.route(wanted.priority or DEFAULT_PRIORITY, _route_of(wanted))
    ):
        takers = [offer for offer in offers if takes(offer, candidate)]
        able = (offer for offer in takers if _traits(candidate, offer, catalog).can(wanted.needs))
        offer = next(able, None)
        if offer is not None:
            yield Considered(candidate, offer)
        elif takers:
            known = _traits(candidate, takers[0], catalog).abilities
            yield Considered(candidate, None, f"cannot do {', '.join(sorted(wanted.needs - known))}")
        else:
            places = {place for offer in offers for place in (offer.kind, offer.provider)}
            why_not = "does not offer it" if candidate.place in places else "is not configured"
            yield Considered(candidate, None, f"{candidate.place or 'anybody'} {why_not}")


def call_of(
    endpoint: str,
    body: Mapping[str, Any],
    chosen: Chosen,
    kind: str,
    catalog: Catalog,
    options: Mapping[str, Any] = _NONE,
) -> Call:
    """The call that a checked request body becomes at the chosen provider.

    Args:
        kind: the provider's; together with the model's name it says what is known of the model.
        options: the provider's own default `provider_options`, under those of the request.
    Returns: a call whose body has no field of ours and holds its task type's defaults. The body is shared where
        nothing had to change, and never changed itself.
    """
    traits = catalog.traits(chosen.model, kind)
    if OWN_FIELDS.isdisjoint(body):
        return Call(endpoint, chosen.model, body, options, traits)
    named, own = body.get("task_type"), body.get("provider_options")
    ours = [name for name in ("task_type", "provider_options") if name in body]
    if isinstance(body.get("priority"), str):
        ours.append("priority")
    if not ours:
        return Call(endpoint, chosen.model, body, options, traits)
    kept = {name: value for name, value in body.items() if name not in ours}
    task = catalog.task_type(named) if isinstance(named, str) else None
    if task is not None:
        kept |= _defaults(endpoint, kept, task, traits)
    return Call(endpoint, chosen.model, kept, _over(options, own) if own else options, traits)


def should_stream(task_type: str | None, content_characters: int, streaming: Streaming) -> bool:
    """Whether an interactive request streams; `auto` decides by length and task. A batch never streams."""
    if streaming == "auto":
        return content_characters > STREAM_OVER_CHARACTERS or task_type in _STREAMED_TASKS
    return streaming == "always"


def _named(model: str, offers: Sequence[Offer], catalog: Catalog) -> Chosen | None:
    if found := by_name(model, offers):
        return settled(*found, catalog)
    alias = catalog.resolve(Candidate(None, model))
    if alias.place is not None:
        taker = next((offer for offer in offers if takes(offer, alias)), None)
        if taker is not None:
            return settled(taker, alias.model, catalog)
    elif alias.model != model:
        return _named(alias.model, offers, catalog)
    kind, _, rest = model.partition("/")
    if kind in KINDS and rest:
        said = catalog.resolve(Candidate(kind, rest, ours=True))
        taker = next((offer for offer in offers if takes(offer, said)), None)
        if taker is not None:
            return settled(taker, said.model, catalog)
    return settled(*found, catalog) if (found := by_pattern(model, offers)) else None


def settled(offer: Offer, model: str, catalog: Catalog) -> Chosen:
    """The name that a provider is asked for: aliases at that place followed, a retired name replaced."""
    if model in offer.models:
        return Chosen(offer.provider, model)
    known = catalog.resolve(Candidate(offer.provider, model)).model
    known = catalog.resolve(Candidate(offer.kind, known)).model
    new = catalog.replacement(known)
    # A pattern is no proof that the provider still has the name. Who lists it, or serves everything, may well.
    if new is None or new.place != offer.kind or known in offer.models or not offer.names(known):
        return Chosen(offer.provider, known)
    newer = catalog.resolve(new).model
    return Chosen(offer.provider, newer, (f"model: {known} is retired; {newer} answers in its place",))


def takes(offer: Offer, candidate: Candidate) -> bool:
    """Whether a provider is one that a candidate means, by its place and its name."""
    if offer.provider == candidate.place and not candidate.ours:
        return True  # the user's own word for where to find it
    if offer.kind == "sim":
        return offer.everything
    if candidate.place is None:
        return offer.names(candidate.model) or offer.everything
    if offer.kind != candidate.place:
        return False
    # A compatible server that is asked for everything has models of its own, not those of the API's maker.
    return offer.names(candidate.model) or (offer.everything and offer.kind != "openai")


def _traits(candidate: Candidate, offer: Offer, catalog: Catalog) -> ModelTraits:
    place = candidate.place or ""
    return catalog.traits(candidate.model, place if place in KINDS else offer.kind)


def _route_of(wanted: Wanted) -> str:
    if wanted.endpoint in ENDPOINT_ROUTES:
        return ENDPOINT_ROUTES[wanted.endpoint]
    if wanted.task_type is not None:
        return wanted.task_type
    return "vision" if "vision" in wanted.needs else DEFAULT_ROUTE


def _defaults(endpoint: str, body: Mapping[str, Any], task: TaskType, traits: ModelTraits) -> dict[str, Any]:
    """What the request inherits from its task type; what it says itself is left alone."""
    field = {"/v1/chat/completions": traits.cap_field, "/v1/responses": "max_output_tokens"}
    field["/v1/completions"] = "max_tokens"
    if endpoint not in field:
        return {}
    found: dict[str, Any] = {}
    if task.max_tokens is not None and all(body.get(name) is None for name in _CAPS):
        cap = task.max_tokens + traits.thought_tokens
        found[field[endpoint]] = min(cap, traits.max_output_tokens or cap)
    # Some models refuse temperature beside top_p.
    said = body.get("temperature") is not None or body.get("top_p") is not None
    if task.temperature is not None and traits.takes_sampling and not said:
        found["temperature"] = task.temperature
    return found


def _over(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """`own` over `defaults`, objects merged at every depth. A null stays: it removes what an adapter wrote."""
    if not defaults:
        return own
    merged = dict(defaults)
    for name, value in own.items():
        below = merged.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[name] = _over(below, value)
        else:
            merged[name] = value
    return merged


def _wrong_type(name: str, expected: str, value: object) -> LineProblem:
    text = f"Invalid type for '{name}': expected {expected}, but got {json_type(value)} instead."
    return LineProblem("invalid_type", text, f"body.{name}", None)


def _unknown(name: str, value: str, known: Mapping[str, object] | Sequence[str]) -> LineProblem:
    text = f"Invalid value for '{name}': {value[:64]!r}. Known values: {', '.join(known)}."
    return LineProblem("invalid_value", text, f"body.{name}", None)
