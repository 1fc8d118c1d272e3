"""What an answer cost; an unknown price is None and never 0."""

from __future__ import annotations

import pytest

from workers.core.messages import Usage
from workers.core.price import Price, cost_usd

MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


def test_an_unknown_price_is_none() -> None:
    assert cost_usd("openai", "a-model-nobody-has-heard-of", MILLION) is None
    assert cost_usd("a-kind-nobody-knows", "gpt-4o", MILLION) is None


@pytest.mark.parametrize("kind", ["sim", "ollama"])
def test_what_runs_at_home_is_free(kind: str) -> None:
    assert cost_usd(kind, "anything", MILLION) == 0.0


def test_our_own_prices_fill_what_the_list_lacks() -> None:
    assert cost_usd("openai", "text-embedding-3-small", Usage(input_tokens=1_000_000)) == pytest.approx(0.02)


def test_a_listed_price_grows_with_the_tokens_and_a_cached_one_is_less() -> None:
    full = cost_usd("openai", "gpt-4o", Usage(input_tokens=10_000, output_tokens=100))
    half = cost_usd("openai", "gpt-4o", Usage(input_tokens=5_000, output_tokens=50))
    cached = cost_usd("openai", "gpt-4o", Usage(input_tokens=10_000, output_tokens=100, cached_tokens=8_000))
    assert full is not None and half is not None and cached is not None
    assert full == pytest.approx(2 * half) and 0 < cached < full


def test_cached_input_has_a_price_of_its_own_where_there_is_one() -> None:
    usage = Usage(input_tokens=1_000_000, cached_tokens=500_000)
    assert Price(2.0, 0.0, cached_input_usd=1.0).of(usage) == pytest.approx(1.5)
    assert Price(2.0, 0.0).of(usage) == pytest.approx(2.0)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini"])
def test_counts_that_contradict_each_other_have_no_price(model: str) -> None:
    assert cost_usd("openai", model, Usage(input_tokens=1, output_tokens=1, cached_tokens=5)) is None
