"""Prices that a user sets: `[prices."NAME"]` in the TOML file, in US dollars for a million tokens.

    [prices."gpt-4o-mini"]        a model's name, "provider/name", or a pattern such as "gpt-*"
    input_usd = 0.15
    output_usd = 0.60
    cached_input_usd = 0.075      optional; default: input_usd
    cache_write_usd = 0.15        optional; default: input_usd
    batch_factor = 0.5            optional; what the tiers `batch` and `flex` cost of it
    priority_factor = 2.0         optional; without it the cost of the tier `priority` is unknown

workers/core/price.py looks models up in them, exact names before patterns, and before any other list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from config.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPrice:
    """One table: `name` is its key; the rest is US dollars for a million tokens, and factors on them."""

    name: str
    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None
    cache_write_usd: float | None = None
    batch_factor: float = 0.5
    priority_factor: float | None = None


_KEYS = tuple(item.name for item in fields(OwnPrice) if item.name != "name")
# Whoever forgets one of these must not be told that it costs nothing.
_NEEDED = ("input_usd", "output_usd")


def read_prices(table: Mapping[str, Any], source: str) -> tuple[OwnPrice, ...]:
    """All own prices, in the order of the file. `source` names it. Raises SettingsError."""
    return tuple(_read_price(name, entry, source) for name, entry in table.items())


def _read_price(name: str, entry: object, source: str) -> OwnPrice:
    dotted = f'prices."{name}"'
    if not isinstance(entry, dict):
        raise SettingsError(dotted, source, f"a table [{dotted}]", str(entry))
    for key, value in entry.items():
        if isinstance(value, dict):
            # gpt-4.1 without quotes is the table "1" inside the table "gpt-4".
            raise SettingsError(
                dotted, source, f'the name in quotes: [prices."{name}.{key}"]', f"{name}.{key}"
            )
        if key not in _KEYS:
            raise SettingsError(f"{dotted}.{key}", source, "one of " + ", ".join(_KEYS), key)
    for key in _NEEDED:
        if key not in entry:
            words = "US dollars for a million tokens (0 if it costs nothing)"
            raise SettingsError(f"{dotted}.{key}", source, words, "nothing")
    return OwnPrice(
        name=name, **{key: _number(f"{dotted}.{key}", value, source) for key, value in entry.items()}
    )


def _number(dotted: str, value: object, source: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or value < 0
    ):
        raise SettingsError(dotted, source, "a number, at least 0", str(value))
    return float(value)
