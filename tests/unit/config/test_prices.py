"""Prices that a user sets, from their tables in the TOML file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config.prices import OwnPrice
from config.settings import SettingsError, load_settings


def test_prices_stand_in_the_order_of_the_file(toml_file: Callable[[str], Path]) -> None:
    config = toml_file(
        '[prices."openai/gpt-4o-mini"]\ninput_usd = 0.15\noutput_usd = 0.6\ncached_input_usd = 0.075\n'
        "cache_write_usd = 0.2\nbatch_factor = 0.4\npriority_factor = 2\n"
        '[prices."qwen*"]\ninput_usd = 0\noutput_usd = 1\n'
    )
    full = OwnPrice(
        name="openai/gpt-4o-mini",
        input_usd=0.15,
        output_usd=0.6,
        cached_input_usd=0.075,
        cache_write_usd=0.2,
        batch_factor=0.4,
        priority_factor=2.0,
    )
    short = OwnPrice(name="qwen*", input_usd=0.0, output_usd=1.0)
    assert load_settings({}, config_file=config).prices == (full, short)


def test_without_a_table_there_are_none() -> None:
    assert load_settings({}).prices == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prices = 3", "prices in"),
        ("[prices]\ngpt = 3", 'a table [prices."gpt"]'),
        ('[prices."m"]\ninput_usd = 1', 'prices."m".output_usd'),
        ('[prices."m"]\noutput_usd = 1', 'prices."m".input_usd'),
        ('[prices."m"]\ninput_usd = -1\noutput_usd = 1', "a number, at least 0"),
        ('[prices."m"]\ninput_usd = inf\noutput_usd = 1', "a number, at least 0"),
        ('[prices."m"]\ninput_usd = true\noutput_usd = 1', "a number, at least 0"),
        ('[prices."m"]\ninput_usd = "1"\noutput_usd = 1', "a number, at least 0"),
        ('[prices."m"]\ninput = 1', "one of input_usd, output_usd"),
        ("[prices.gpt-4.1]\ninput_usd = 1\noutput_usd = 1", '[prices."gpt-4.1"]'),
    ],
)
def test_a_price_that_is_none_is_refused_with_its_place(
    toml_file: Callable[[str], Path], text: str, words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, config_file=toml_file(text))
    assert words in str(caught.value)
