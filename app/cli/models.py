"""`models`: which providers are configured and reachable, and whom each task would ask, at which price.

What is shown is what core/choose.py decides with these settings; reach.py asks the providers themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.errors import OK
from app.cli.reach import Reached, reach_all, shown_url
from config.catalog import OTHER_ROUTES, PRIORITIES, Ability, Catalog, ModelTraits, Priority
from workers.core.choose import AUTO, DEFAULT_PRIORITY, Considered, Wanted, considered
from workers.core.needs import ENDPOINT_ROUTES, needs_of
from workers.core.route import Offer

if TYPE_CHECKING:
    from config.settings import Provider, Settings
    from workers.core.price import Price

_CHAT = "/v1/chat/completions"
_NOT_FIRST = "*"
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Pick:
    """Whom one task asks at one priority; `passed_over` are the candidates before the one that is taken."""

    task: str
    priority: Priority
    taken: Considered | None
    passed_over: tuple[Considered, ...]

    @property
    def model(self) -> str:
        """The model as its provider knows it; empty when nobody is asked."""
        return self.taken.candidate.model if self.taken else ""

    @property
    def provider(self) -> str:
        """The name of the provider; empty when nobody is asked."""
        return self.taken.offer.provider if self.taken and self.taken.offer else ""


def show(*, as_json: bool) -> int:
    """Print what is configured, reachable and picked."""
    from workers.providers.registry import offers

    settings = load()
    found = list(zip(settings.providers, reach_all(settings.providers), strict=True))
    picks = list(all_picks(settings.catalog, offers(settings)))
    if as_json:
        report.print_json(as_data(settings, found, picks))
        return OK
    if not found:
        print(
            "no provider is configured: set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY or OLLAMA_HOST,"
            " or describe one in batchwright.toml ([providers.NAME])",
            file=sys.stderr,
        )
        return OK
    _print_providers(found)
    print()
    _print_picks(picks)
    print()
    _print_models(settings, found, picks)
    return OK


def all_picks(catalog: Catalog, offers: Sequence[Offer]) -> Iterator[Pick]:
    """Every task at every priority: requests without a task type first, then the task types."""
    for task in (*OTHER_ROUTES, *catalog.task_types):
        for priority in PRIORITIES:
            passed_over: list[Considered] = []
            taken = None
            for each in considered(_wanted(task, priority, catalog), offers, catalog):
                if each.offer is not None:
                    taken = each
                    break
                passed_over.append(each)
            yield Pick(task, priority, taken, tuple(passed_over))


def _wanted(task: str, priority: Priority, catalog: Catalog) -> Wanted:
    endpoint = next((url for url, route in ENDPOINT_ROUTES.items() if route == task), _CHAT)
    also: frozenset[Ability] = frozenset(("vision",)) if task == "vision" else frozenset()
    task_type = task if task in catalog.task_types else None
    return Wanted(endpoint, AUTO, task_type, priority, needs_of(endpoint, {}) | also)


def as_data(
    settings: Settings, found: Sequence[tuple[Provider, Reached]], picks: Sequence[Pick]
) -> dict[str, Any]:
    """The whole of it for programs; prices are US dollars for a million tokens, null where unknown."""
    return {
        "providers": [_provider_data(*each) for each in found],
        "default_priority": DEFAULT_PRIORITY,
        "picks": [
            {"task": pick.task, "priority": pick.priority}
            | {"provider": pick.provider or None, "model": pick.model or None}
            | {"passed_over": [{"model": str(e.candidate), "why": e.why_not} for e in pick.passed_over]}
            for pick in picks
        ],
        "models": [_model_data(each) for each in _picked(settings, found, picks)],
        "aliases": {name: str(target) for name, target in settings.catalog.aliases.items()},
    }


def _provider_data(provider: Provider, reached: Reached) -> dict[str, Any]:
    return {
        "name": provider.name,
        "kind": provider.kind,
        "base_url": shown_url(provider.base_url),
        "key": provider.api_key is not None,
        "key_env": provider.api_key_env,
        "models": list(provider.models),
        "state": reached.state,
        "detail": reached.detail or None,
        "lists": None if reached.models is None else len(reached.models),
    }


@dataclass(frozen=True, slots=True)
class _Picked:
    provider: Provider
    model: str
    listed: bool | None
    traits: ModelTraits
    price: Price | None
    price_source: str | None


def _picked(
    settings: Settings, found: Sequence[tuple[Provider, Reached]], picks: Sequence[Pick]
) -> list[_Picked]:
    """The models that some task would ask, each once, with what is known of them and their prices."""
    from workers.core.price import Prices

    prices = Prices(settings.prices)
    known = {provider.name: (provider, reached) for provider, reached in found}
    rows = []
    for name, model in dict.fromkeys((pick.provider, pick.model) for pick in picks if pick.taken):
        provider, reached = known[name]
        rows.append(
            _Picked(
                provider,
                model,
                reached.has(model),
                settings.catalog.traits(model, provider.kind),
                prices.per_token(provider.kind, model, provider=name),
                prices.source(provider.kind, model, provider=name),
            )
        )
    return rows


def _model_data(picked: _Picked) -> dict[str, Any]:
    traits, price = picked.traits, picked.price
    return {
        "provider": picked.provider.name,
        "model": picked.model,
        "context_tokens": traits.context_tokens,
        "max_output_tokens": traits.max_output_tokens,
        "abilities": sorted(traits.abilities),
        "input_usd": price.input_usd if price else None,
        "output_usd": price.output_usd if price else None,
        "price_source": picked.price_source,
        "listed": picked.listed,
    }


def _print_providers(found: Sequence[tuple[Provider, Reached]]) -> None:
    rows = []
    for provider, reached in found:
        key = "set" if provider.api_key else _NOTHING
        address = shown_url(provider.base_url).removeprefix("https://")
        rows.append((provider.name, provider.kind, address, key, _state(reached)))
    report.print_table(("provider", "kind", "address", "key", "state"), rows)
    print()
    report.print_fields([(f"{each.name} answers", ", ".join(each.models)) for each, _ in found])


def _state(reached: Reached) -> str:
    if reached.models is not None:
        return f"{reached.state}, {words.things(len(reached.models), 'model')}"
    return f"{reached.state}: {reached.detail}" if reached.detail else reached.state


def _print_picks(picks: Sequence[Pick]) -> None:
    rows = []
    for task in dict.fromkeys(pick.task for pick in picks):
        cells = [_cell(pick) for pick in picks if pick.task == task]
        rows.append(("(no task type)" if task == "default" else task, *cells))
    report.print_table(('model "auto" for', *PRIORITIES), rows)
    passed_over = {str(each.candidate): each.why_not for pick in picks for each in pick.passed_over}
    if any(pick.passed_over and pick.taken for pick in picks):
        print(f"{_NOT_FIRST} not the first choice; passed over:")
    elif passed_over:
        print("passed over:")
    for why in dict.fromkeys(passed_over.values()):
        names = ", ".join(name for name, reason in passed_over.items() if reason == why)
        report.print_fields([(f"  {why}", names)])
    print(f"without a priority: {DEFAULT_PRIORITY}")


def _cell(pick: Pick) -> str:
    if pick.taken is None:
        return _NOTHING
    return f"{pick.model} {_NOT_FIRST}" if pick.passed_over else pick.model


def _print_models(
    settings: Settings, found: Sequence[tuple[Provider, Reached]], picks: Sequence[Pick]
) -> None:
    rows, missing = [], []
    for picked in _picked(settings, found, picks):
        traits, price = picked.traits, picked.price
        dollars = (_dollars(price.input_usd), _dollars(price.output_usd)) if price else ("unknown", "unknown")
        bounds = [
            words.short(each) if each else _NOTHING
            for each in (traits.context_tokens, traits.max_output_tokens)
        ]
        rows.append((picked.model, picked.provider.name, *bounds, *dollars, _listed(picked)))
        if picked.listed is False and picked.provider.kind == "ollama":
            missing.append(picked.model)
    if not rows:
        return
    columns = ("picked model", "provider", "context", "output", "in $/M", "out $/M", "there")
    report.print_table(columns, rows, right=columns[2:6])
    if missing:
        print(f"`batchwright models pull {' '.join(missing)}` gets what is missing", file=sys.stderr)


def _listed(picked: _Picked) -> str:
    if picked.listed is None:
        return "?"
    return "yes" if picked.listed else "not pulled" if picked.provider.kind == "ollama" else "not listed"


def _dollars(usd: float) -> str:
    return f"{usd:.2f}" if usd == 0 or usd >= 0.01 else f"{usd:.3g}"
