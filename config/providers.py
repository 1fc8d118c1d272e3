"""The table of providers: `[providers.NAME]` in TOML over what well-known names in the environment give.

    OPENAI_API_KEY, OPENAI_BASE_URL -> "openai"       ANTHROPIC_API_KEY -> "anthropic"
    GEMINI_API_KEY -> "gemini"                        OLLAMA_HOST -> "ollama"
    simulator.url -> "sim"

The order of the result is the order of asking "who serves this model?": the simulator (asked for
openly), then the TOML file's in its order, then the well-known ones, Ollama last since it serves `*`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from config.errors import SettingsError
from config.fields import specs_of
from config.names import Names
from config.secret import HIDDEN, Secret
from config.tree import Limits, Provider, ProviderKind, Rule, Timeouts
from config.values import allowed, read_value

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")  # it becomes a queue name and part of keys
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL_RULE = Rule(doc="Where the provider is.", schemes=("http", "https"))
_KEY_RULE = Rule(doc="The provider's key.", sensitive=True)
_OPENAI_MODELS = (
    "gpt-*",
    "chatgpt-*",
    "o[0-9]*",
    "codex-*",
    "ft:*",
    "text-embedding-*",
    "omni-moderation-*",
    "whisper-*",
    "tts-*",
)
_Part = TypeVar("_Part", Limits, Timeouts)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is known of a kind of provider before anybody says anything."""

    base_url: str | None
    key_env: str | None
    url_env: str | None
    models: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)


KINDS: Mapping[ProviderKind, _Kind] = {
    "openai": _Kind("https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL", _OPENAI_MODELS),
    "anthropic": _Kind("https://api.anthropic.com", "ANTHROPIC_API_KEY", None, ("claude-*",)),
    "gemini": _Kind(
        "https://generativelanguage.googleapis.com", "GEMINI_API_KEY", None, ("gemini-*", "gemma-*")
    ),
    # Local models: two at once is what a stock server runs, and a cold start may take a minute.
    "ollama": _Kind(
        "http://127.0.0.1:11434", None, "OLLAMA_HOST", ("*",), Limits(concurrency=2), Timeouts(read_s=300.0)
    ),
    "sim": _Kind(None, None, None, ("sim-*",)),
}
_ENV_KINDS: tuple[ProviderKind, ...] = ("openai", "anthropic", "gemini", "ollama")
_KEYS = ("kind", "base_url", "api_key_env", "models", "limits", "timeouts")


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
        kind: found for kind in _ENV_KINDS if (found := _from_environment(kind, names))
    }
    if simulator_url is not None:
        known["sim"] = _simulator(simulator_url, answers_all=simulator_answers_all)
    configured = {name: _from_toml(name, entry, source, names, known) for name, entry in table.items()}
    ordered = {"sim": known["sim"]} if "sim" in known else {}
    return tuple((ordered | configured | {k: v for k, v in known.items() if k not in configured}).values())


def _simulator(url: str, *, answers_all: bool) -> Provider:
    # It speaks OpenAI's API, whose base URL carries the version.
    base_url = url if url.endswith("/v1") else f"{url}/v1"
    return Provider(name="sim", kind="sim", base_url=base_url, models=("*",) if answers_all else ("sim-*",))


def _from_environment(kind: ProviderKind, names: Names) -> Provider | None:
    traits = KINDS[kind]
    key = _find_key(traits.key_env, names)
    base_url = _find_base_url(kind, names)
    if key is None and base_url is None:
        return None
    elsewhere = kind == "openai" and base_url is not None and "api.openai.com" not in base_url
    return Provider(
        name=kind,
        kind=kind,
        base_url=base_url or str(traits.base_url),
        api_key_env=traits.key_env,
        api_key=key,
        # A compatible server has models of its own; its names are unknown to us.
        models=("*",) if elsewhere else traits.models,
        limits=_ollama_limits(names) if kind == "ollama" else traits.limits,
        timeouts=traits.timeouts,
    )


def _find_key(env_name: str | None, names: Names) -> Secret | None:
    found = names.find((env_name,), with_file=True) if env_name else None
    if found is None:
        return None
    try:
        return Secret(read_value(found.value, Secret, _KEY_RULE).reveal())
    except ValueError:
        raise SettingsError(found.name, found.source, allowed(Secret, _KEY_RULE), HIDDEN) from None


def _find_base_url(kind: ProviderKind, names: Names) -> str | None:
    env_name = KINDS[kind].url_env
    found = names.find((env_name,), with_file=False) if env_name else None
    if found is None:
        return None
    text = str(found.value).strip()
    try:
        return str(read_value(ollama_url(text) if kind == "ollama" else text, str, _URL_RULE))
    except ValueError as error:
        words = "an address such as 127.0.0.1:11434" if kind == "ollama" else allowed(str, _URL_RULE)
        raise SettingsError(found.name, found.source, words, text) from error


def ollama_url(host: str) -> str:
    """OLLAMA_HOST as a URL: the scheme and the port may be missing, as in Ollama's own reading of it."""
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = "http", host
    place, slash, path = rest.partition("/")
    # 0.0.0.0 tells a server to listen everywhere; a client cannot connect there on every system.
    place = re.sub(r"^0\.0\.0\.0(?=:|$)", "127.0.0.1", place)
    if not re.search(r":[0-9]+$", place):
        place += {"http": ":11434" if not separator else ":80", "https": ":443"}.get(scheme, "")
    return f"{scheme}://{place}{slash}{path}"


def _ollama_limits(names: Names) -> Limits:
    found = names.find(("OLLAMA_NUM_PARALLEL",), with_file=False)
    if found is None:
        return KINDS["ollama"].limits
    spec = next(spec for spec in specs_of("limits", Limits) if spec.field == "concurrency")
    try:
        return Limits(concurrency=read_value(found.value, spec.hint, spec.rule))
    except ValueError as error:
        raise SettingsError(
            found.name, found.source, allowed(spec.hint, spec.rule), str(found.value)
        ) from error


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
        "api_key_env": lambda where, raw: _toml_key(where, raw, source, names),
        "models": lambda where, raw: {"models": _toml_models(where, raw, source)},
        "limits": lambda where, raw: {"limits": _toml_part(base.limits, where, raw, source)},
        "timeouts": lambda where, raw: {"timeouts": _toml_part(base.timeouts, where, raw, source)},
    }
    changes: dict[str, Any] = {}
    for key in read.keys() & entry.keys():
        changes |= read[key](f"{dotted}.{key}", entry[key])
    return replace(base, **changes)


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
    return Provider(
        name=name,
        kind=kind,
        base_url=str(traits.base_url),
        # The well-known key belongs to the well-known place: it is never sent to another address unasked.
        api_key_env=None if own_place else traits.key_env,
        api_key=None if own_place else _find_key(traits.key_env, names),
        models=("*",) if own_place and kind == "openai" else traits.models,
        limits=traits.limits,
        timeouts=traits.timeouts,
    )


def _toml_url(dotted: str, value: object, source: str) -> str:
    try:
        return str(read_value(value, str, _URL_RULE))
    except ValueError as error:
        raise SettingsError(dotted, source, allowed(str, _URL_RULE), str(value)) from error


def _toml_key(dotted: str, value: object, source: str, names: Names) -> dict[str, Any]:
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        # Not repeated: who writes the key itself here instead of a name should not see it in a log.
        raise SettingsError(dotted, source, "the name of an environment variable", HIDDEN)
    return {"api_key_env": value, "api_key": _find_key(value, names)}


def _toml_models(dotted: str, value: object, source: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(item, str) and item.strip() for item in value)
    ):
        raise SettingsError(dotted, source, 'a list of model names such as ["gpt-*"]', str(value))
    return tuple(value)


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
