"""What an answer cost; an unknown price is None and never 0."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.prices import OwnPrice
from workers.core.messages import Usage
from workers.core.price import Price, Prices, load_lists

MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
SOME = Usage(input_tokens=1_000, output_tokens=100)
TOKENS = st.integers(0, 10**6)


def own(name: str, input_usd: float = 1.0, output_usd: float = 2.0, **more: float) -> OwnPrice:
    return OwnPrice(name=name, input_usd=input_usd, output_usd=output_usd, **more)


def on(year: int, month: int, day: int) -> Prices:
    return Prices(today=lambda: date(year, month, day))


# --- the lists


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "a-model-nobody-has-heard-of"),
        ("a-kind-nobody-knows", "gpt-4o"),
        ("openai", "whisper-1"),  # by the hour
        ("openai", "tts-1"),  # by characters
        ("openai", "gpt-audio"),  # sound costs other prices than text
        ("openai", "omni-moderation-latest"),
    ],
)
def test_an_unknown_price_is_none(kind: str, model: str) -> None:
    assert Prices().cost_usd(kind, model, MILLION) is None
    assert Prices().per_token(kind, model) is None


@pytest.mark.parametrize("kind", ["sim", "ollama"])
def test_what_runs_at_home_is_free(kind: str) -> None:
    assert Prices().cost_usd(kind, "anything", MILLION) == 0.0
    assert Prices().cost_usd(kind, "anything", Usage(), "flex") == 0.0


@pytest.mark.parametrize(
    ("kind", "model", "input_usd", "output_usd"),
    [
        ("openai", "gpt-4o-mini", 0.15, 0.6),
        ("openai", "gpt-4o-mini-2024-07-18", 0.15, 0.6),
        ("openai", "text-embedding-3-small", 0.02, 0.0),
        ("openai", "text-embedding-3-large", 0.13, 0.0),
        ("openai", "gpt-4o-transcribe", 6.0, 10.0),
        ("anthropic", "claude-haiku-4-5", 1.0, 5.0),
        ("gemini", "gemini-2.5-flash", 0.3, 2.5),
        ("gemini", "gemini-embedding-001", 0.15, 0.0),
        ("gemini", "gemma-3-27b-it", 0.0, 0.0),
    ],
)
def test_a_listed_price_is_the_providers_own(
    kind: str, model: str, input_usd: float, output_usd: float
) -> None:
    price = on(2026, 11, 1).per_token(kind, model)
    assert price is not None
    assert (price.input_usd, price.output_usd) == (input_usd, output_usd)


def test_the_prompt_cache_has_prices_of_its_own() -> None:
    prices = on(2026, 11, 1)
    read = Usage(input_tokens=1_000_000, cached_tokens=900_000)
    written = Usage(input_tokens=1_000_000, cache_write_tokens=900_000)
    assert prices.cost_usd("anthropic", "claude-haiku-4-5", read) == pytest.approx(0.1 + 0.09)
    assert prices.cost_usd("anthropic", "claude-haiku-4-5", written) == pytest.approx(0.1 + 1.125)


def test_a_long_input_costs_more_for_all_of_its_tokens() -> None:
    prices = on(2026, 11, 1)
    short = prices.cost_usd("gemini", "gemini-2.5-pro", Usage(200_000, 1_000_000))
    long = prices.cost_usd("gemini", "gemini-2.5-pro", Usage(200_001, 1_000_000))
    assert short == pytest.approx(0.25 + 10.0)
    assert long == pytest.approx(0.5000025 + 15.0)


def test_a_price_that_changes_on_a_day_is_the_one_of_today() -> None:
    before = on(2026, 8, 20).cost_usd("openai", "gpt-5.6", SOME)
    after = on(2026, 8, 21).cost_usd("openai", "gpt-5.6", SOME)
    assert before is not None and after is not None and after < before


@pytest.mark.parametrize("tier", ["", "default", "standard", "auto"])
def test_the_standard_tiers_cost_the_full_price(tier: str) -> None:
    assert on(2026, 11, 1).cost_usd("openai", "gpt-4o-mini", MILLION, tier) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("kind", "model", "tier", "cost"),
    [
        ("openai", "gpt-4o-mini", "batch", 0.375),
        ("openai", "gpt-4o-mini", "priority", 1.25),
        ("openai", "gpt-5", "flex", 0.625 + 5.0),
        ("openai", "gpt-4o-mini", "flex", 0.375),  # not listed: half
        ("anthropic", "claude-haiku-4-5", "batch", 3.0),
        ("anthropic", "claude-haiku-4-5", "priority", None),
        ("openai", "gpt-4o-mini", "scale", None),
    ],
)
def test_a_tier_has_its_listed_price_or_half_of_it_or_none(
    kind: str, model: str, tier: str, cost: float | None
) -> None:
    assert on(2026, 11, 1).cost_usd(kind, model, MILLION, tier) == (
        None if cost is None else pytest.approx(cost)
    )


def test_the_lists_are_loaded_ahead_for_kinds_that_need_them() -> None:
    load_lists("ollama")
    load_lists("openai")
    assert Prices().per_token("openai", "gpt-4o-mini") is not None


def test_an_answer_without_any_count_of_tokens_has_no_price() -> None:
    assert Prices().cost_usd("openai", "gpt-4o-mini", Usage()) is None


@pytest.mark.parametrize(
    "usage",
    [Usage(1, 1, cached_tokens=5), Usage(10, 1, cached_tokens=6, cache_write_tokens=6)],
)
def test_counts_that_contradict_each_other_have_no_price(usage: Usage) -> None:
    assert Prices().cost_usd("openai", "gpt-4o", usage) is None


# --- own prices


@pytest.mark.parametrize("kind", ["sim", "ollama", "openai"])
def test_an_own_price_wins_over_lists_and_free_kinds(kind: str) -> None:
    assert Prices((own("gpt-4o-mini"),)).cost_usd(kind, "gpt-4o-mini", MILLION) == pytest.approx(3.0)


def test_exact_names_come_before_patterns_and_a_providers_before_everybodys() -> None:
    prices = Prices((own("*", 1), own("gpt-*", 2), own("gpt-x", 3), own("lab/gpt-x", 4), own("openai/z", 5)))

    def input_usd(model: str, provider: str = "") -> float:
        price = prices.per_token("openai", model, provider=provider)
        assert price is not None
        return price.input_usd

    assert input_usd("gpt-x", "lab") == 4
    assert input_usd("gpt-x") == 3
    assert input_usd("gpt-y") == 1, "of patterns the first in the file"
    assert input_usd("z") == 5, "a provider without a name is called by its kind"
    assert input_usd("z", "lab") == 1


def test_a_pattern_may_name_the_provider() -> None:
    prices = Prices((own("lab/*"),))
    assert prices.per_token("openai", "m", provider="lab") == Price(1.0, 2.0)
    assert prices.per_token("openai", "m", provider="other") is None


@pytest.mark.parametrize(
    ("tier", "factor"),
    [("standard", 1.0), ("batch", 0.4), ("flex", 0.4), ("priority", 3.0), ("fast", 3.0), ("scale", None)],
)
def test_an_own_price_has_its_own_factors_for_tiers(tier: str, factor: float | None) -> None:
    prices = Prices((own("m", batch_factor=0.4, priority_factor=3.0),))
    cost = prices.cost_usd("openai", "m", MILLION, tier)
    assert cost == (None if factor is None else pytest.approx(3.0 * factor))


def test_an_own_price_without_a_factor_for_priority_has_none_there() -> None:
    assert Prices((own("gpt-4o-mini"),)).cost_usd("openai", "gpt-4o-mini", MILLION, "priority") is None


def test_an_own_price_of_nothing_is_nothing_and_not_unknown() -> None:
    assert Prices((own("whisper-1", 0.0, 0.0),)).cost_usd("openai", "whisper-1", Usage()) == 0.0


def test_many_names_do_not_fill_the_memory() -> None:
    prices = Prices((own("m-*"),))
    for number in range(3_000):
        assert prices.cost_usd("openai", f"m-{number}", MILLION) == pytest.approx(3.0)
    assert len(prices._found) <= 1024


def test_prices_are_equal_by_what_was_set() -> None:
    used, fresh = Prices((own("m"),)), Prices((own("m"),))
    used.cost_usd("openai", "m", SOME)
    assert used == fresh


# --- arithmetic


def test_cached_input_costs_as_much_as_other_input_where_nothing_is_said() -> None:
    usage = Usage(input_tokens=1_000_000, cached_tokens=500_000, cache_write_tokens=500_000)
    assert Price(2.0, 0.0, 1.0, 3.0).of(usage) == pytest.approx(2.0)
    assert Price(2.0, 0.0).of(usage) == pytest.approx(2.0)


@given(TOKENS, TOKENS, TOKENS, TOKENS)
def test_two_answers_cost_the_sum_of_both(in_1: int, out_1: int, in_2: int, out_2: int) -> None:
    one, two, price = Usage(in_1, out_1, in_1), Usage(in_2, out_2, in_2 // 2), Price(0.3, 1.2, 0.03)
    assert price.of(one + two) == pytest.approx(price.of(one) + price.of(two))
    assert price.times(0.5).of(one) == pytest.approx(price.of(one) / 2)


@pytest.mark.parametrize(
    ("kind", "model", "source"),
    [
        ("openai", "house-model", "settings"),
        ("sim", "sim-small", "free"),
        ("gemini", "gemma-3-27b-it", "price page"),
        ("openai", "gpt-4o-mini", "genai-prices"),
        ("openai", "nobody-lists-this", None),
    ],
)
def test_a_price_says_where_it_comes_from(kind: str, model: str, source: str | None) -> None:
    prices = Prices((OwnPrice(name="house-*", input_usd=1.0, output_usd=1.0),))
    assert prices.source(kind, model) == source
