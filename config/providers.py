"""The table of providers: `[providers.NAME]` in TOML over what well-known names in the environment give (kinds.py).

The order of the result is the order of asking "who serves this model?": the simulator (asked for
openly), then the TOML file's in its order, then the well-known ones, Ollama last since it serves `*`.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from config.errors import SettingsError
from config.fields import specs_of
from config.kinds import ENV_KINDS, KINDS, URL_RULE, find_base_url, find_key, from_environment
from config.names import Names
from config.prewarm import read_prewarm
from config.provider import Limits, Provider, Timeouts
from config.secret import HIDDEN
from config.values import allowed, read_value

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")  # it becomes a queue name and part of keys
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 5.6.2: token
_HEADER_VALUE = re.compile(r"[\t -~]+")
_KEYS = (
    "kind",
    "base_url",
    "api_key_env",
    "path",
    "key_header",
    "headers",
    "options",
    "models",
    "fallback",
    "prewarm",
    "limits",
    "timeouts",
)
_Part = TypeVar("_Part", Limits, Timeouts)


def read_providers(
    table: Mapping[str, Any],
    source: str,
    names: Names,
    simulator_url: str | None,
    *,
    simulator_answers_all: bool,
) -> tuple[Provider, ...]:
    """All providers, in the order in which they are asked for a model. `source` names the TOML file."""
    known: dict[str, Provider] = {
        kind: found for kind in ENV_KINDS if (found := from_environment(kind, names))
    }
    if simulator_url is not None:
        known["sim"] = _simulator(simulator_url, answers_all=simulator_answers_all)
    configured = {name: _from_toml(name, entry, source, names, known) for name, entry in table.items()}
    for name, provider in configured.items():
        _check_fallback(f"providers.{name}.fallback", provider, source, configured)
    ordered = {"sim": known["sim"]} if "sim" in known else {}
    return tuple((ordered | configured | {k: v for k, v in known.items() if k not in configured}).values())


def _simulator(url: str, *, answers_all: bool) -> Provider:
    # It speaks OpenAI's API, whose base URL carries the version.
    base_url = url if url.endswith("/v1") else f"{url}/v1"
    return Provider(name="sim", kind="sim", base_url=base_url, models=("*",) if answers_all else ("sim-*",))


def _from_toml(
    name: str, entry: object, source: str, names: Names, known: Mapping[str, Provider]
) -> Provider:
    dotted = f"providers.{name}"
    if not _NAME.fullmatch(name):
        words = "a name of small letters, digits, - and _ that starts with a letter"
        raise SettingsError(dotted, source, words, name)
    if not isinstance(entry, dict):
        raise SettingsError(dotted, source, f"a table [{dotted}]", str(entry))
    if "api_key" in entry:
        raise SettingsError(f"{dotted}.api_key", source, "api_key_env with the name of a variable", HIDDEN)
    for key in entry:
        if key not in _KEYS:
            raise SettingsError(f"{dotted}.{key}", source, "one of " + ", ".join(_KEYS), key)
    base = _start_from(dotted, name, entry, source, names, known)
    read: Mapping[str, Callable[[str, object], dict[str, Any]]] = {
        "base_url": lambda where, raw: {"base_url": _toml_url(where, raw, source)},
        "path": lambda where, raw: {"path": _toml_path(base.kind, where, raw, source)},
        "api_key_env": lambda where, raw: _toml_key(where, raw, source, names),
        "key_header": lambda where, raw: {"key_header": _header_name(where, raw, source)},
        "headers": lambda where, raw: {"headers": _toml_headers(where, raw, source)},
        "options": lambda where, raw: {"options": _toml_options(where, raw, source)},
        "models": lambda where, raw: {"models": _toml_models(where, raw, source)},
        "fallback": lambda where, raw: {"fallback": _toml_fallback(where, raw, source)},
        "limits": lambda where, raw: {"limits": _toml_part(base.limits, where, raw, source)},
        "timeouts": lambda where, raw: {"timeouts": _toml_part(base.timeouts, where, raw, source)},
    }
    changes: dict[str, Any] = {}
    for key in read.keys() & entry.keys():
        changes |= read[key](f"{dotted}.{key}", entry[key])
    provider = replace(base, **changes)
    if "prewarm" not in entry:
        return provider
    return replace(provider, prewarm=read_prewarm(f"{dotted}.prewarm", entry["prewarm"], source, provider))


def _start_from(
    dotted: str, name: str, entry: Mapping[str, Any], source: str, names: Names, known: Mapping[str, Provider]
) -> Provider:
    """What the table changes: the well-known provider of that name, or the defaults of its kind."""
    kind = entry.get("kind", name)
    if kind not in KINDS:
        words = "kind = " + " or ".join(f'"{each}"' for each in KINDS)
        raise SettingsError(f"{dotted}.kind", source, words, str(entry.get("kind", "no kind")))
    if name in known and known[name].kind == kind:
        return known[name]
    traits = KINDS[kind]
    if traits.base_url is None and "base_url" not in entry:
        raise SettingsError(f"{dotted}.base_url", source, "the simulator's URL", "nothing")
    own_place = "base_url" in entry
    # The well-known key belongs to the well-known place: it is never sent to another address unasked.
    key_env, key = (None, None) if own_place else find_key(traits.key_envs, names)
    known_place = find_base_url(kind, names) if name == kind else None
    return Provider(
        name=name,
        kind=kind,
        base_url=known_place or str(traits.base_url),
        api_key_env=key_env,
        api_key=key,
        models=("*",) if own_place and kind == "openai" else traits.models,
        limits=traits.limits,
        timeouts=traits.timeouts,
        prewarm=traits.loads,
    )


def _toml_url(dotted: str, value: object, source: str) -> str:
    try:
        return str(read_value(value, str, URL_RULE))
    except ValueError as error:
        raise SettingsError(dotted, source, allowed(str, URL_RULE), str(value)) from error


def _toml_path(kind: str, dotted: str, value: object, source: str) -> str:
    words = "a path with {model} or {endpoint} in it, such as /deployments/{model}{endpoint}"
    if kind != "openai":
        raise SettingsError(dotted, source, "no path, which only the kind openai has", str(value))
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(str(value)) if field is not None}
    except ValueError as error:
        raise SettingsError(dotted, source, words, str(value)) from error
    usable = isinstance(value, str) and value.startswith("/") and not re.search(r"\s", value)
    if not usable or not fields or not fields <= {"model", "endpoint"}:
        raise SettingsError(dotted, source, words, str(value))
    return str(value)


def _header_name(dotted: str, value: object, source: str) -> str:
    if not isinstance(value, str) or not _HEADER_NAME.fullmatch(value):
        raise SettingsError(dotted, source, "the name of a header such as api-key", HIDDEN)
    return value.lower()


def _toml_headers(dotted: str, table: object, source: str) -> dict[str, str]:
    if not isinstance(table, dict):
        raise SettingsError(dotted, source, f"a table [{dotted}]", HIDDEN)
    for name, value in table.items():
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise SettingsError(f"{dotted}.{name}", source, "text that can stand in a header", HIDDEN)
    return {_header_name(f"{dotted}.{name}", name, source): value for name, value in table.items()}


def _toml_options(dotted: str, table: object, source: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise SettingsError(dotted, source, f"a table [{dotted}]", str(table))
    if not _is_json(table):
        words = "what JSON can hold: text, numbers, true, false, lists and tables"
        raise SettingsError(dotted, source, words, str(table))
    return table


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, (str, int))


def _toml_key(dotted: str, value: object, source: str, names: Names) -> dict[str, Any]:
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        # Not repeated: who writes the key itself here instead of a name should not see it in a log.
        raise SettingsError(dotted, source, "the name of an environment variable", HIDDEN)
    return {"api_key_env": value, "api_key": find_key((value,), names)[1]}


def _toml_models(dotted: str, value: object, source: str) -> tuple[str, ...]:
    return _names_in(dotted, value, source, 'a list of model names such as ["gpt-*"]')


def _toml_fallback(dotted: str, value: object, source: str) -> tuple[str, ...]:
    return _names_in(dotted, value, source, 'a list such as ["azure", "gemini/gemini-flash"]')


def _names_in(dotted: str, value: object, source: str, words: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(item, str) and item.strip() for item in value)
    ):
        raise SettingsError(dotted, source, words, str(value))
    return tuple(value)


def _check_fallback(dotted: str, provider: Provider, source: str, configured: Mapping[str, Provider]) -> None:
    """Every entry names another provider.

    A well-known one need not be there: only workers have every key, and the settings are read by others, too.
    """
    names = [name for name in dict.fromkeys([*configured, *KINDS]) if name != provider.name]
    for entry in provider.fallback:
        name, slash, model = entry.partition("/")
        if name == provider.name:
            raise SettingsError(dotted, source, "other providers than itself", entry)
        if name not in names or (slash and not model):
            raise SettingsError(dotted, source, f"PROVIDER or PROVIDER/MODEL of {', '.join(names)}", entry)


def _toml_part(start: _Part, dotted: str, table: object, source: str) -> _Part:
    if not isinstance(table, dict):
        raise SettingsError(dotted, source, f"a table [{dotted}]", str(table))
    known = {spec.field: spec for spec in specs_of(dotted, type(start))}
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise SettingsError(f"{dotted}.{key}", source, "one of " + ", ".join(known), key)
        spec = known[key]
        try:
            changes[key] = read_value(value, spec.hint, spec.rule)
        except ValueError as error:
            raise SettingsError(
                f"{dotted}.{key}", source, allowed(spec.hint, spec.rule), str(value)
            ) from error
    return replace(start, **changes)
