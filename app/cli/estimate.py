"""`batchwright estimate`: what files would cost, before anything is sent or started.

The pass is the one of `run` (preflight.py), so a file that would be refused is refused here, with the same words.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import report, words
from app.cli.cache_look import CacheLook
from app.cli.preflight import Rules, check_file
from app.cli.session import is_own_stack_needed, is_simulated, named_server
from app.cli.ways_out import Routes, for_model
from config.kinds import KINDS
from config.provider import ProviderKind
from workers.core.choose import Chosen
from workers.core.chooser import Chooser
from workers.core.estimate import Estimate, Estimator, total
from workers.core.messages import LineProblem
from workers.core.price import Prices
from workers.core.route import Offer

if TYPE_CHECKING:
    from app.client.blocking import Client
    from config.settings import Settings

# Kinds whose models one can name without having set them up; Ollama's and the simulator's only their servers know.
_CLOUD_KINDS: tuple[ProviderKind, ...] = ("openai", "anthropic", "gemini")
_UNKNOWN_PROVIDER = "?"
_SIMULATED = (
    "the stack that runs here lets the simulator answer every model: what it has cached is not a real "
    "provider's and not counted as such"
)
_COLUMNS = ("model", "requests", "repeats", "cached", "input", "output", "cost", "saved")


def estimate(files: Sequence[Path], *, model: str | None, as_json: bool) -> int:
    """Do it all; gives the exit code. Raises CliError, SettingsError."""
    from config.settings import load_settings

    settings = load_settings()
    if is_own_stack_needed(settings):
        rows, cached = estimated(files, settings, model=model, client=None)
        return _shown(rows, settings, cached=cached, stack_runs=False, as_json=as_json)
    simulated = is_simulated(settings)
    with named_server(settings) as client:
        rows, cached = estimated(files, settings, model=model, client=client, simulated=simulated)
    if simulated:
        print(_SIMULATED, file=sys.stderr)
    return _shown(rows, settings, cached=cached, stack_runs=True, as_json=as_json)


def _shown(
    rows: Mapping[tuple[str, str], Estimate],
    settings: Settings,
    *,
    cached: int | None,
    stack_runs: bool,
    as_json: bool,
) -> int:
    if as_json:
        report.print_json(as_dict(rows, cached=cached))
        return 0
    print_rows(rows)
    for remark in remarks(total(rows.values()), cached=cached):
        print(remark)
    for remark in [] if stack_runs else _missing(rows, settings):
        print(remark)
    return 0


def estimated(
    files: Sequence[Path],
    settings: Settings,
    *,
    model: str | None,
    client: Client | None,
    simulated: bool = False,
) -> tuple[dict[tuple[str, str], Estimate], int | None]:
    """(provider, model) -> sums over all files, and how many answers are cached, if anybody knows.

    Raises: CliError for a file that `run` would refuse.

    Nobody needs a key to ask what something costs: a model that no configured provider answers is looked for in the
    well-known clouds.

    Args:
        client: of a stack that runs: it is asked what its cache has. It has settings of its own, so a model that
            nobody knows here is no error then.
        simulated: the simulator gives all answers of that stack, so what it has cached of another provider's model
            is no answer of that provider.
    """
    stack_runs = client is not None
    routes = Routes(settings, settings.simulator.all_models)
    clouds = [Offer(kind, KINDS[kind].models, kind) for kind in _CLOUD_KINDS]
    choosers = [Chooser(offers, settings.catalog) for offers in (routes.offers, clouds)]
    kinds = {offer.provider: offer.kind for offer in (*clouds, *routes.offers)}
    estimator = Estimator(Prices(settings.prices), kinds, settings.catalog)
    look = CacheLook(client, estimator, model=model) if client is not None else None

    def choose(endpoint: str, name: str, body: Mapping[str, Any]) -> Chosen | LineProblem | None:
        asked = (chooser.choose(endpoint, name, body) for chooser in choosers)
        chosen = next((found for found in asked if found is not None), None)
        if chosen is None and stack_runs:
            chosen = Chosen(_UNKNOWN_PROVIDER, name)
        if not isinstance(chosen, Chosen):
            return chosen
        counted = estimator.add(endpoint, body, chosen)
        is_theirs = not simulated or kinds.get(chosen.provider) == "sim"
        if look is not None and counted is not None and is_theirs:
            look.add(endpoint, body, counted)
        return chosen

    rules = Rules(
        model=model,
        choose=choose,
        way_out=for_model,
        max_line_bytes=settings.batch.max_line_bytes,
        max_requests=None if stack_runs else settings.api.max_requests,
        max_file_bytes=None if stack_runs else settings.api.max_file_bytes,
        skip_invalid=settings.batch.invalid_lines == "skip",
    )
    for path in files:
        check_file(path, rules)
    if look is not None:
        look.finish()
    rows = estimator.rows()
    return rows, total(rows.values()).cached if look is not None and look.answered else None


def as_dict(rows: Mapping[tuple[str, str], Estimate], *, cached: int | None) -> dict[str, Any]:
    """The line of `--json`. `cached`: how many answers the cache has already; None where nobody was asked."""
    models = [
        {"provider": provider, "model": model} | _rounded(row) for (provider, model), row in rows.items()
    ]
    for row in models:
        row["cached"] = None if cached is None else row["cached"]
    return _rounded(total(rows.values())) | {"cached": cached, "models": models}


def print_rows(rows: Mapping[tuple[str, str], Estimate]) -> None:
    """The table: requests, tokens and money, a line for each model and one for their sum."""
    lines = [_line(f"{provider}/{model}", row) for (provider, model), row in rows.items()]
    if len(lines) > 1:
        lines.append(_line("all", total(rows.values())))
    report.print_table(_COLUMNS, lines, right=_COLUMNS[1:])


def remarks(every: Estimate, *, cached: int | None) -> list[str]:
    """What the numbers do not say."""
    said = []
    if every.duplicates:
        number = words.things(every.duplicates, "request repeats", "requests repeat")
        said.append(f"{number} an earlier one: paid once")
    if every.cost_usd is None:
        known = f"; the others cost {words.money(every.known_cost_usd)}" if every.known_cost_usd else ""
        said.append(f'a price is unknown{known}; set it in batchwright.toml: [prices."MODEL"]')
    if every.uncapped:
        number = words.things(every.uncapped, "request names", "requests name")
        said.append(f"{number} no cap of the output (max_tokens): a usual length is taken, it may be more")
    if cached is not None:
        said.append(f"answers already cached: {words.count(cached)}")
    else:
        said.append("answers already cached: not known, no stack answers")
    if every.saved_usd:
        said.append(f"saved by repeats and the cache: {words.money(every.saved_usd)}")
    return said


def _missing(rows: Mapping[tuple[str, str], Estimate], settings: Settings) -> list[str]:
    configured = {provider.name for provider in settings.providers}
    asked = {provider for provider, _ in rows} - configured
    return [
        f"{kind} is not set up here: a run needs {KINDS[kind].key_envs[0]}"
        for kind in _CLOUD_KINDS
        if kind in asked
    ]


def _rounded(row: Estimate) -> dict[str, Any]:
    found = asdict(row)
    for name in ("cost_usd", "saved_usd", "known_cost_usd"):
        found[name] = None if found[name] is None else round(found[name], 6)
    return found


def _line(name: str, row: Estimate) -> tuple[str, ...]:
    return (
        name,
        words.count(row.requests),
        words.count(row.duplicates),
        words.count(row.cached),
        words.short(row.input_tokens),
        words.short(row.output_tokens),
        words.money(row.cost_usd),
        words.money(row.saved_usd),
    )
