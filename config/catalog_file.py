"""Read the catalogue: models.toml, and over it the tables of the same names in the user's settings file.

    [task_types.NAME]   changes a task type, or adds one           [aliases]           adds names
    [models."PATTERN"]  changes traits, before ours are asked      [routes.PRIORITY]   replaces lists of candidates

As strict as the rest of the settings: an unknown key or a wrong type is a SettingsError that names it. Ollama's
well-known names (OLLAMA_MODEL and others) move the aliases that routes use.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from config.catalog import (
    ABILITIES,
    OTHER_ROUTES,
    PRIORITIES,
    Candidate,
    Catalog,
    Pattern,
    Priority,
    TaskType,
)
from config.errors import SettingsError
from config.names import Names

TABLES = ("task_types", "models", "routes", "aliases")
# Variable -> the alias at Ollama that it moves.
OLLAMA_ALIASES: Mapping[str, str] = {
    "OLLAMA_MODEL": "quality",
    "OLLAMA_MODEL_FAST": "fast",
    "DEFAULT_VISION_MODEL": "vision",
}

_Check = tuple[str, Callable[[object], bool]]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_count_or_zero(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_temperature(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 2


def _one_of(*choices: str) -> _Check:
    return " or ".join(choices), lambda value: value in choices


def _list_of(what: str, check: Callable[[object], bool]) -> _Check:
    return what, lambda value: isinstance(value, list) and all(map(check, value))


_TOKENS: _Check = ("a whole number of at least 1", _is_count)
_TASK_KEYS: Mapping[str, _Check] = {
    "max_tokens": _TOKENS,
    "temperature": ("a number from 0 to 2", _is_temperature),
    "streaming": _one_of("never", "always", "auto"),
    "short": _list_of('a list of names such as ["genre"]', _is_text),
}
_TRAIT_KEYS: Mapping[str, _Check] = {
    "like": ("another pattern of the table", _is_text),
    "context_tokens": _TOKENS,
    "max_output_tokens": _TOKENS,
    "default_output_tokens": _TOKENS,
    "thought_tokens": ("a whole number of at least 0", _is_count_or_zero),
    "min_cached_tokens": _TOKENS,
    "takes_sampling": ("true or false", lambda value: isinstance(value, bool)),
    "native_schema": ("true or false", lambda value: isinstance(value, bool)),
    "cap_field": _one_of("max_tokens", "max_completion_tokens"),
    "abilities": _list_of("a list of " + ", ".join(ABILITIES), lambda value: value in ABILITIES),
}
_CANDIDATES = _list_of('a list such as ["openai/gpt-luna", "ollama/fast"]', _is_text)


@cache
def builtin_catalog() -> Catalog:
    """What models.toml says by itself."""
    path = Path(__file__).with_name("models.toml")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    table.pop("ollama")
    retired = {name: _candidate(new, ours=True) for name, new in table.pop("retired").items()}
    return replace(_laid_over(Catalog(), table, path.name, ours=True), retired=tuple(retired.items()))


def read_catalog(table: Mapping[str, Any], source: str, names: Names) -> Catalog:
    """Our catalogue under the user's tables and Ollama's variables.

    Args:
        table: the whole settings file; other tables than ours are left alone.
        source: the file's name, for refusals.
    Raises: SettingsError for an unknown key, a wrong type, or an alias that leads back to itself.
    """
    ours = {name: table[name] for name in TABLES if name in table}
    catalog = _laid_over(builtin_catalog(), ours, source, ours=False) if ours else builtin_catalog()
    moved = {
        alias: Candidate("ollama", str(found.value).strip(), ours=True)
        for name, alias in OLLAMA_ALIASES.items()
        if (found := names.find((name,), with_file=False))
    }
    return replace(catalog, aliases={**catalog.aliases, **moved}) if moved else catalog


def _laid_over(base: Catalog, table: Mapping[str, Any], source: str, *, ours: bool) -> Catalog:
    for name in table:
        _table(name, table[name], source)
    task_types = _task_types(base.task_types, table.get("task_types", {}), source)
    aliases = dict(base.aliases)
    for name, target in table.get("aliases", {}).items():
        _check(f"aliases.{name}", target, ("a model such as openai/gpt-6-luna", _is_text), source)
        aliases[name] = _candidate(target, ours=ours)
    _refuse_circles(aliases, source)
    catalog = replace(base, task_types=task_types, aliases=aliases)
    patterns = _patterns(table.get("models", {}), source)
    return replace(
        catalog,
        models=(*base.models, patterns) if patterns else base.models,
        routes=_routes(catalog, table.get("routes", {}), source, ours=ours),
    )


def _task_types(known: Mapping[str, TaskType], table: Mapping[str, Any], source: str) -> dict[str, TaskType]:
    task_types = dict(known)
    for name, entry in table.items():
        _checked_keys(f"task_types.{name}", entry, _TASK_KEYS, source)
        changes: dict[str, Any] = {
            key: tuple(value) if key == "short" else value for key, value in entry.items()
        }
        full = next((each.name for each in known.values() if name in each.short), name)
        task_types[full] = replace(task_types.get(full, TaskType(name=full)), **changes)
    return task_types


def _patterns(table: Mapping[str, Any], source: str) -> tuple[Pattern, ...]:
    for glob, entry in table.items():
        _checked_keys(f"models.{glob}", entry, _TRAIT_KEYS, source)

    def traits(glob: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
        own = dict(table[glob])
        like = own.pop("like", None)
        if like is not None and (like not in table or like in (glob, *seen)):
            expected = "another pattern of this table, and no circle"
            raise SettingsError(f"models.{glob}.like", source, expected, str(like))
        if "abilities" in own:
            own["abilities"] = frozenset(own["abilities"])
        return {**(traits(like, (glob, *seen)) if like else {}), **own}

    return tuple(Pattern(glob, traits(glob)) for glob in table)


def _routes(
    catalog: Catalog, table: Mapping[str, Any], source: str, *, ours: bool
) -> dict[Priority, Mapping[str, tuple[Candidate, ...]]]:
    routes = dict(catalog.routes)
    for given, lists in table.items():
        dotted = f"routes.{given}"
        priority = next((each for each in PRIORITIES if each == given), None)
        if priority is None:
            raise SettingsError(dotted, source, " or ".join(PRIORITIES), given)
        changed = dict(routes.get(priority, {}))
        for name, candidates in _table(dotted, lists, source).items():
            task = catalog.task_type(name)
            if task is None and name not in OTHER_ROUTES:
                known = ", ".join((*OTHER_ROUTES, *catalog.task_types))
                raise SettingsError(f"{dotted}.{name}", source, f"one of {known}", name)
            _check(f"{dotted}.{name}", candidates, _CANDIDATES, source)
            changed[task.name if task else name] = tuple(_candidate(each, ours=ours) for each in candidates)
        routes[priority] = changed
    return routes


def _candidate(text: str, *, ours: bool) -> Candidate:
    place, slash, model = text.strip().partition("/")
    return Candidate(place, model, ours) if slash and place and model else Candidate(None, text.strip(), ours)


def _refuse_circles(aliases: Mapping[str, Candidate], source: str) -> None:
    catalog = Catalog(aliases=aliases)
    for name, target in aliases.items():
        end = catalog.resolve(target)
        if end.place is None and end.model in aliases:
            expected = "a name that leads to a model and not back to an alias"
            raise SettingsError(f"aliases.{name}", source, expected, target.model)


def _table(dotted: str, value: object, source: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(dotted, source, f"a table [{dotted}]", str(value))
    return value


def _checked_keys(dotted: str, entry: object, keys: Mapping[str, _Check], source: str) -> None:
    for key, value in _table(dotted, entry, source).items():
        if key not in keys:
            raise SettingsError(f"{dotted}.{key}", source, _names(keys), key)
        _check(f"{dotted}.{key}", value, keys[key], source)


def _check(dotted: str, value: object, check: _Check, source: str) -> None:
    words, fits = check
    if not fits(value):
        raise SettingsError(dotted, source, words, str(value))


def _names(keys: Iterable[str]) -> str:
    return "one of " + ", ".join(keys)
