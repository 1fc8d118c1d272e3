"""Who would answer a model, and what to do when nobody would.

Used before a stack is started (the settings decide) and when a server has refused a file (its own did).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cli import ollama
from app.cli.errors import NOT_REACHED, CliError
from app.cli.ollama import Ollama
from workers.core.errors import UserError
from workers.core.route import Offer, route

if TYPE_CHECKING:
    from config.settings import Provider, Settings

SIMULATOR = "sim"
_SIMULATOR_MODELS = "sim-*"
_KEY_NAMES: Mapping[str, str] = {"claude": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}
Look = Callable[[str], Ollama]


@dataclass(frozen=True, slots=True)
class Routes:
    """Which provider of a settings tree answers a model, the simulator counted in: a stack can start it."""

    settings: Settings
    all_simulated: bool

    @property
    def offers(self) -> tuple[Offer, ...]:
        """In the order of asking. With `--sim` nobody else is asked: nothing may be paid by mistake."""
        if self.all_simulated:
            return (Offer(SIMULATOR, ("*",)),)
        configured = tuple(Offer(each.name, each.models) for each in self.settings.providers)
        if any(offer.provider == SIMULATOR for offer in configured):
            return configured
        return (Offer(SIMULATOR, (_SIMULATOR_MODELS,)), *configured)

    def provider_of(self, model: str) -> str | None:
        """The name of the provider that answers a model, or None."""
        found = route(model, self.offers)
        return found.provider if found else None

    def simulates(self, models: Mapping[str, int]) -> bool:
        """Whether the simulator answers any of these models."""
        return self.all_simulated or any(self.provider_of(model) == SIMULATOR for model in models)

    def check_reachable(self, models: Mapping[str, int], look: Look = ollama.look) -> None:
        """See that each provider in use can be called at all.

        Raises: CliError for a kind this version does not speak, a missing key, Ollama stopped or without the
            model.
        """
        from workers.providers.registry import adapter_for

        known = {provider.name: provider for provider in self.settings.providers}
        for model in models:
            found = route(model, self.offers)
            provider = known.get(found.provider) if found else None
            if found is None or provider is None or provider.kind == "sim":
                continue
            try:
                adapter_for(provider.name, provider.kind)
            except UserError as error:
                raise CliError(f"nobody can answer {model!r}: {error.message}", hint=error.hint) from error
            _check_key(provider)
            if provider.kind == "ollama":
                _check_ollama(look(provider.base_url), found.model)


def _check_key(provider: Provider) -> None:
    if provider.api_key is None and "api.openai.com" in provider.base_url:
        name = provider.api_key_env or "api_key_env"
        hint = f"set {name}" if provider.api_key_env else f"name its variable in [providers.{provider.name}]"
        raise CliError(f"provider {provider.name!r} has no key: {name} is not set", hint=hint)


def _check_ollama(found: Ollama, model: str) -> None:
    wrong = ollama.trouble(found, model)
    if wrong is not None:
        message, hint = wrong
        raise CliError(message, hint=hint, exit_code=NOT_REACHED)


def for_model(model: str, *, look: Look = ollama.look) -> str:
    """What to do about a model that nobody answers, in one line."""
    if model.startswith(_SIMULATOR_MODELS.rstrip("*")):
        return "it is the simulator's: start the stack with it, `batchwright up --sim`"
    return "; or ".join(
        (
            f"set {key_name(model)}",
            "describe a provider in batchwright.toml ([providers.NAME])",
            "take the simulator: --sim",
            _local(look(ollama.DEFAULT_URL), model),
        )
    )


def key_name(model: str) -> str:
    """The variable whose key would serve a model, as far as its name tells."""
    return next((key for start, key in _KEY_NAMES.items() if start in model.lower()), "OPENAI_API_KEY")


def _local(found: Ollama, model: str) -> str:
    if found.has(model):
        return "Ollama has it: set OLLAMA_HOST=127.0.0.1:11434"
    if found.running:
        return "Ollama is running: set OLLAMA_HOST=127.0.0.1:11434 and use --model with one of its models"
    if found.installed:
        return "Ollama is installed but not running: start it with `ollama serve` and set OLLAMA_HOST"
    return "run a local model with Ollama (ollama.com)"
