"""Which configured providers are asked for a model."""

from __future__ import annotations

import pytest

from config.settings import load_settings
from workers.core.route import route
from workers.providers.registry import offers

pytestmark = pytest.mark.fast
PAID = {"OPENAI_API_KEY": "sk-x", "BATCHWRIGHT_SIMULATOR_URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o", "sim-small", "anything"])
def test_with_every_model_simulated_nobody_else_is_asked(model: str) -> None:
    settings = load_settings({**PAID, "BATCHWRIGHT_SIMULATOR_ALL_MODELS": "true"})
    found = route(model, offers(settings))
    assert found is not None and found.provider == "sim"


def test_else_the_simulator_answers_its_own_models_only() -> None:
    asked = offers(load_settings(PAID))
    by_model = {model: route(model, asked) for model in ("sim-small", "gpt-4o")}
    assert {model: found and found.provider for model, found in by_model.items()} == {
        "sim-small": "sim",
        "gpt-4o": "openai",
    }
