"""Which configured providers are asked for a model."""

from __future__ import annotations

from typing import Any

import pytest

from config.settings import Provider, Settings, load_settings
from workers.core.choose import Chosen
from workers.core.chooser import Chooser
from workers.providers.registry import adapter_for, offers

pytestmark = pytest.mark.fast
PAID = {"OPENAI_API_KEY": "sk-x", "BATCHWRIGHT_SIMULATOR_URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o", "sim-small", "anything"])
def test_with_every_model_simulated_nobody_else_is_asked(model: str) -> None:
    settings = load_settings({**PAID, "BATCHWRIGHT_SIMULATOR_ALL_MODELS": "true"})
    assert answerer(settings, model) == "sim"


def test_else_the_simulator_answers_its_own_models_only() -> None:
    settings = load_settings(PAID)
    by_model = {model: answerer(settings, model) for model in ("sim-small", "gpt-4o")}
    assert by_model == {"sim-small": "sim", "gpt-4o": "openai"}


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "ollama", "sim"])
def test_every_kind_has_an_adapter_of_the_providers_name(kind: Any) -> None:
    provider = Provider(name="mine", kind=kind, base_url="http://x.example")
    assert adapter_for(provider).name == "mine"


def answerer(settings: Settings, model: str) -> str | None:
    found = Chooser(offers(settings), settings.catalog).choose("/v1/chat/completions", model, {})
    return found.provider if isinstance(found, Chosen) else None
