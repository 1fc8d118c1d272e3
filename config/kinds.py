"""Kinds of providers: what is known of each before anybody says anything, and what well-known names add to it.

OPENAI_API_KEY, OPENAI_BASE_URL -> "openai"       ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL -> "anthropic"
GEMINI_API_KEY (or GOOGLE_API_KEY), GOOGLE_GEMINI_BASE_URL (or GEMINI_BASE_URL) -> "gemini"
OLLAMA_HOST, OLLAMA_NUM_PARALLEL, OLLAMA_KEEP_ALIVE -> "ollama"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.errors import SettingsError
from config.fields import specs_of
from config.names import Named, Names
from config.provider import Limits, Provider, ProviderKind, Timeouts
from config.secret import HIDDEN, Secret
from config.setting import Rule
from config.values import allowed, read_value

URL_RULE = Rule(doc="Where the provider is.", schemes=("http", "https"))
_KEY_RULE = Rule(doc="The provider's key.", sensitive=True)
# Not gpt-oss: OpenAI gives it away and does not serve it.
_OPENAI_MODELS = (
    "gpt-[!o]*",
    "gpt-o[!s]*",
    "chatgpt-*",
    "o[0-9]*",
    "codex-*",
    "computer-use-*",
    "ft:*",
    "text-embedding-*",
    "omni-moderation-*",
    "whisper-*",
    "tts-*",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a kind of provider before anybody says anything. Of several names the first is stronger.

    Attributes:
        keyless: servers of this kind are used without a key, so an address alone names a provider.
        loads: servers of this kind load models when they are asked for, which may take a minute.
    """

    base_url: str | None
    key_envs: tuple[str, ...]
    url_envs: tuple[str, ...]
    models: tuple[str, ...]
    keyless: bool = False
    loads: bool = False
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)


KINDS: Mapping[ProviderKind, Kind] = {
    "openai": Kind(
        "https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL",), _OPENAI_MODELS, keyless=True
    ),
    "anthropic": Kind(
        "https://api.anthropic.com", ("ANTHROPIC_API_KEY",), ("ANTHROPIC_BASE_URL",), ("claude-*",)
    ),
    "gemini": Kind(
        "https://generativelanguage.googleapis.com",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        ("GOOGLE_GEMINI_BASE_URL", "GEMINI_BASE_URL"),
        ("gemini-*", "gemma-*"),
    ),
    # Local models: two at once is what a stock server runs, and a cold start may take a minute.
    "ollama": Kind(
        "http://127.0.0.1:11434",
        (),
        ("OLLAMA_HOST",),
        ("*",),
        keyless=True,
        loads=True,
        limits=Limits(concurrency=2),
        timeouts=Timeouts(read_s=300.0),
    ),
    "sim": Kind(None, (), (), ("sim-*",)),
}
ENV_KINDS: tuple[ProviderKind, ...] = ("openai", "anthropic", "gemini", "ollama")


def from_environment(kind: ProviderKind, names: Names) -> Provider | None:
    """The provider that the well-known names of a kind describe, if they do."""
    traits = KINDS[kind]
    key_env, key = find_key(traits.key_envs, names)
    base_url = find_base_url(kind, names)
    if key is None and (base_url is None or not traits.keyless):
        return None
    elsewhere = kind == "openai" and base_url is not None and "api.openai.com" not in base_url
    return Provider(
        name=kind,
        kind=kind,
        base_url=base_url or str(traits.base_url),
        api_key_env=key_env,
        api_key=key,
        # A compatible server has models of its own; its names are unknown to us.
        models=("*",) if elsewhere else traits.models,
        options=_ollama_options(names) if kind == "ollama" else {},
        limits=_ollama_limits(names) if kind == "ollama" else traits.limits,
        timeouts=traits.timeouts,
        prewarm=traits.loads,
    )


def find_key(env_names: tuple[str, ...], names: Names) -> tuple[str | None, Secret | None]:
    """The variable that holds the key and the key; without a key the variable that should."""
    for env_name in env_names:
        found = names.find((env_name,), with_file=True)
        if found is not None:
            return env_name, _read_key(found)
    return (env_names[0] if env_names else None), None


def _read_key(found: Named) -> Secret:
    try:
        return Secret(read_value(found.value, Secret, _KEY_RULE).reveal())
    except ValueError:
        raise SettingsError(found.name, found.source, allowed(Secret, _KEY_RULE), HIDDEN) from None


def find_base_url(kind: ProviderKind, names: Names) -> str | None:
    """The address that the environment gives for a kind."""
    found = names.find(KINDS[kind].url_envs, with_file=False)
    if found is None:
        return None
    text = str(found.value).strip()
    try:
        return str(read_value(ollama_url(text) if kind == "ollama" else text, str, URL_RULE))
    except ValueError as error:
        words = "an address such as 127.0.0.1:11434" if kind == "ollama" else allowed(str, URL_RULE)
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


def _ollama_options(names: Names) -> dict[str, Any]:
    found = names.find(("OLLAMA_KEEP_ALIVE",), with_file=False)
    if found is None:
        return {}
    text = str(found.value).strip()
    # Ollama takes a bare number only as a number, in seconds; as text it wants a unit.
    return {"keep_alive": int(text) if re.fullmatch(r"-?[0-9]+", text) else text}
