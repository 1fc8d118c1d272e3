"""Who would answer a model, and what to do when nobody would.

Used before a stack is started (the settings decide) and when a server has refused a file (its own did).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cli import ollama
from app.cli.errors import NOT_REACHED, CliError
from app.cli.ollama import Ollama
from workers.core.choose import Chosen
from workers.core.chooser import Chooser
from workers.core.route import Offer

if TYPE_CHECKING:
    from config.settings import Provider, Settings

SIMULATOR = "sim"
_SIMULATOR_MODELS = "sim-*"
_KEY_NAMES: Mapping[str, str] = {"claude": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}
_WANT_KEYS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
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
            return (Offer(SIMULATOR, ("*",), SIMULATOR),)
        configured = tuple(Offer(each.name, each.models, each.kind) for each in self.settings.providers)
        if any(offer.provider == SIMULATOR for offer in configured):
            return configured
        return (Offer(SIMULATOR, (_SIMULATOR_MODELS,), SIMULATOR), *configured)

    @property
    def chooser(self) -> Chooser:
        """Who answers a request, as the stack will decide it."""
        return Chooser(self.offers, self.settings.catalog)

    def simulates(self, chosen: Iterable[Chosen]) -> bool:
        """Whether the simulator gives any of these answers."""
        return self.all_simulated or any(each.provider == SIMULATOR for each in chosen)

    def check_reachable(self, chosen: Iterable[Chosen], look: Look = ollama.look) -> None:
        """See that each provider in use can be called at all.

        Raises: CliError for a missing key, Ollama stopped or without the model.
        """
        known = {provider.name: provider for provider in self.settings.providers}
        looked: dict[str, Ollama] = {}
        for each in chosen:
            provider = known.get(each.provider)
            if provider is None or provider.kind == "sim" or self.all_simulated:
                continue
            _check_key(provider)
            if provider.kind == "ollama":
                found = looked.setdefault(provider.base_url, look(provider.base_url))
                _check_ollama(found, each.model)


def _check_key(provider: Provider) -> None:
    if provider.api_key is None and any(place in provider.base_url for place in _WANT_KEYS):
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
