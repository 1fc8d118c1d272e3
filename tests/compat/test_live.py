"""One cheap call to every provider whose key is set: `make test-live`. Each one is paid for by whoever runs it."""

from __future__ import annotations

import json

import pytest

from app.bench.providers import _Subject, model_for
from config.kinds import ENV_KINDS, KINDS
from config.settings import load_settings

pytestmark = [pytest.mark.compat, pytest.mark.live]


@pytest.mark.parametrize("kind", ENV_KINDS)
async def test_a_provider_whose_key_is_set_answers(kind: str) -> None:
    settings = load_settings()
    provider = next((each for each in settings.providers if each.name == kind), None)
    if provider is None:
        traits = KINDS[kind]  # type: ignore[index]
        pytest.skip(f"not configured: set {' or '.join(traits.key_envs or traits.url_envs)}")
    model = model_for(provider, settings.catalog)
    if model is None:
        pytest.skip(f"no model of {provider.base_url} is known: name one in [providers.{kind}] models")
    subject = _Subject(settings, provider, model)
    await subject._cold()
    assert subject._last is not None
    _, reply = subject._last
    assert json.loads(reply.body)["choices"] and reply.usage.output_tokens > 0
