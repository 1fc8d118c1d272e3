"""Which provider answers a model name."""

from __future__ import annotations

import pytest

from workers.core.route import Offer, by_name, by_pattern

OFFERS = [
    Offer("sim", ("sim-*",)),
    Offer("openai", ("gpt-*", "o[0-9]*")),
    Offer("mine", ("gpt-special", "org/model")),
    Offer("ollama", ("*",)),
]


@pytest.mark.parametrize(
    ("model", "provider", "known_as"),
    [
        ("sim-small", "sim", "sim-small"),
        ("gpt-5", "openai", "gpt-5"),
        ("o3-mini", "openai", "o3-mini"),
        ("gpt-special", "mine", "gpt-special"),  # an exact name before a pattern that comes first
        ("mine/gpt-5", "mine", "gpt-5"),  # the name says its provider
        ("org/model", "mine", "org/model"),  # a slash that is no provider
        ("llama3", "ollama", "llama3"),
        ("sim/", "ollama", "sim/"),
        ("GPT-5", "ollama", "GPT-5"),
    ],
)
def test_a_model_goes_to_the_first_that_offers_it(model: str, provider: str, known_as: str) -> None:
    found = by_name(model, OFFERS) or by_pattern(model, OFFERS)
    assert found is not None and (found[0].provider, found[1]) == (provider, known_as)


def test_a_model_that_nobody_offers_has_no_route() -> None:
    for offers in (OFFERS[:3], []):
        assert by_name("llama3", offers) is None and by_pattern("llama3", offers) is None
