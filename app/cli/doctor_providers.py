"""What `doctor` says of each provider: the way there, its protocol, the key, and how many models it lists.

Nothing is paid for: app/doctor/wire.py connects, reach.py asks for the list of models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from app.cli import words
from app.cli.ollama import held
from app.cli.reach import Reached, reach, shown_url
from app.doctor.findings import Check, Finding
from app.doctor.ollama_check import named_for, of_models
from app.doctor.wire import Wire, try_wire

if TYPE_CHECKING:
    from app.embedded.state import StackState
    from config.settings import Provider, Settings

_NONE = "no provider is configured"
_NONE_FIX = "set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY or OLLAMA_HOST, or describe one in batchwright.toml"


def provider_checks(settings: Settings, state: StackState | None) -> Mapping[str, Check]:
    """A check for each provider, so that a slow one delays no other."""
    providers = list(settings.providers)
    if state is not None and state.sim_url and all(each.kind != "sim" for each in providers):
        providers.insert(0, _simulator(state.sim_url))
    if not providers:
        return {"providers": lambda: [Finding("providers", "warning", _NONE, _NONE_FIX)]}
    checks: dict[str, Check] = {_name(each): _check(each, settings) for each in providers}
    for each in providers:
        if each.kind == "ollama":
            checks[f"{each.name} models"] = partial(_models, each, _aliases(settings, each.name))
    return checks


def _models(provider: Provider, aliases: Mapping[str, str]) -> Sequence[Finding]:
    """Of an Ollama server that answers; of one that does not its own check says so."""
    found = held(provider.base_url)
    return [] if found is None else [of_models(provider.name, *found, named_for(provider), aliases)]


def _aliases(settings: Settings, place: str) -> dict[str, str]:
    """What names such as `fast` mean at this provider."""
    found = settings.catalog.aliases
    return {alias: each.model for alias, each in found.items() if each.place in (place, "ollama")}


def _check(provider: Provider, settings: Settings) -> Callable[[], Sequence[Finding]]:
    def check() -> Sequence[Finding]:
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(reach, provider)
            wire = try_wire(
                provider.base_url, ca_file=settings.http.ca_file, prior_knowledge=provider.kind == "sim"
            )
            return [finding(provider, wire, asked.result())]

    return check


def finding(provider: Provider, wire: Wire, reached: Reached) -> Finding:
    """What one provider's answers mean; the key itself is in none of it."""
    name, data = _name(provider), _data(provider, wire, reached)
    if wire.trouble:
        return Finding(name, "problem", wire.trouble, wire.fix, data)
    way = _way(wire)
    key = provider.api_key_env or "its api_key_env"
    if reached.state == "no key":
        fix = f"set {key} where the workers run" if provider.api_key_env else "name its api_key_env"
        return Finding(name, "warning", f"{way}; no key is set, and it answers nobody without one", fix, data)
    if reached.state == "key refused":
        said = "it refuses the key" if provider.api_key else "it wants a key, and none is set"
        return Finding(name, "problem", f"{way}; {said} ({reached.detail})", f"correct {key}", data)
    if reached.state == "unreachable":
        text = f"{way}; its list of models does not come ({reached.detail})"
        return Finding(name, "warning", text, "see whether it has trouble, then try again", data)
    listed = (
        f"lists {words.things(len(reached.models), 'model')}" if reached.models is not None else "answers"
    )
    with_key = "key accepted, " if provider.api_key and provider.kind != "sim" else ""
    return Finding(name, "ok", f"{way}; {with_key}{listed}", data=data)


def _way(wire: Wire) -> str:
    if wire.proxied:
        return "through a proxy"
    tls = f" over {wire.tls}" if wire.tls else " without TLS"
    return f"{wire.protocol}{tls}, round trip {wire.connect_ms:.1f} ms"


def _data(provider: Provider, wire: Wire, reached: Reached) -> dict[str, Any]:
    return {
        "kind": provider.kind,
        "base_url": shown_url(provider.base_url),
        "key": provider.api_key is not None,
        "key_env": provider.api_key_env,
        "state": reached.state,
        "lists": None if reached.models is None else len(reached.models),
        "wire": {name: value for name, value in asdict(wire).items() if name not in ("trouble", "fix")},
    }


def _name(provider: Provider) -> str:
    return f"provider {provider.name}"


def _simulator(url: str) -> Provider:
    """The stack's own; only its processes are told of it by their settings."""
    from config.settings import Provider

    return Provider(name="sim", kind="sim", base_url=url)
