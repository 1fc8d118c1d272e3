"""The setting `prewarm` of a provider: which models its server is to have loaded before anybody asks (providers.py)."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from config.errors import SettingsError
from config.provider import Provider

_OWN_DOMAINS = (".local", ".localhost", ".internal", ".lan", ".home.arpa")


def read_prewarm(dotted: str, value: object, source: str, provider: Provider) -> bool | tuple[str, ...]:
    """`true`, `false` or a list of models.

    Raises: SettingsError for anything else, and for a server that is not one's own: it would send a bill for it.
    """
    names = isinstance(value, list) and all(isinstance(each, str) and each.strip() for each in value)
    if not isinstance(value, bool) and not names:
        raise SettingsError(dotted, source, 'true, false or a list such as ["llama3.2"]', str(value))
    wanted = tuple(value) if isinstance(value, list) else bool(value)
    if not wanted or provider.kind == "ollama":
        return wanted
    if provider.kind != "openai" or not is_own_server(provider.base_url):
        words = "prewarm only for Ollama, or for a server of one's own that speaks OpenAI's API"
        raise SettingsError(dotted, source, words, provider.base_url)
    if wanted is True and not named_models(provider):
        words = "a list of models, since `models` names none without a wildcard"
        raise SettingsError(dotted, source, words, "true")
    return wanted


def named_models(provider: Provider) -> tuple[str, ...]:
    """Those of a provider's models that are names and no patterns."""
    return tuple(model for model in provider.models if not any(each in model for each in "*?["))


def is_own_server(url: str) -> bool:
    """Whether an address is on this machine or in a private network, as far as it tells without asking anybody."""
    host = (urlsplit(url).hostname or "").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A name without a dot is a neighbour's, as in a compose file.
        return "." not in host.rstrip(".") or host.rstrip(".").endswith(_OWN_DOMAINS)
    return address.is_private or address.is_loopback or address.is_link_local
