"""One provider as data: where it is, what it allows and how long it may take. providers.py reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from config.secret import Secret
from config.setting import setting

ProviderKind = Literal["openai", "anthropic", "gemini", "ollama", "sim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a provider allows us, over all workers together; None is no limit of ours."""

    requests_per_minute: int | None = setting(None, "Calls a minute.", minimum=1)
    tokens_per_minute: int | None = setting(None, "Input and output tokens a minute.", minimum=1)
    concurrency: int | None = setting(None, "Calls at once.", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each step of a call may take."""

    connect_s: float = setting(5.0, "Opening a connection.", minimum=0.1)
    read_s: float = setting(600.0, "A whole answer. Default for ollama: 300.", minimum=0.1)
    write_s: float = setting(10.0, "Sending the request.", minimum=0.1)
    pool_s: float = setting(5.0, "Waiting for a free connection.", minimum=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider as data. `api_key` is None where its variable is unset: only workers need the key.

    Attributes:
        path: where the kind openai asks instead of at the endpoint's own path, with {model} and {endpoint} filled in.
        key_header: the header that carries the key, where it is not `authorization`.
        headers: sent with every request; they may hold secrets, so they are in no repr.
        options: default `provider_options`, under those of each request.
        fallback: who answers when it fails for good, the first first: a provider's name, or `provider/model`.
        prewarm: models that are loaded when a worker starts; True: those the settings name for it. Of use only for
            a server of one's own, which loads models itself.
    """

    name: str
    kind: ProviderKind
    base_url: str  # without a final slash; with the version part where the kind's SDK has it there ("/v1")
    api_key_env: str | None = None
    api_key: Secret | None = None
    models: tuple[str, ...] = ("*",)  # globs, matched with case
    path: str = ""
    key_header: str = "authorization"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    fallback: tuple[str, ...] = ()
    prewarm: bool | tuple[str, ...] = False
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
