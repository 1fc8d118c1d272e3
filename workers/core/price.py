"""What an answer cost. Prices come from the genai-prices package (offline data); ours for what it lacks.

An unknown price is None, never 0: a total that contains one is unknown too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from workers.core.messages import Usage


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens."""

    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None

    def of(self, usage: Usage) -> float:
        """The cost of one answer."""
        cached_rate = self.input_usd if self.cached_input_usd is None else self.cached_input_usd
        fresh = usage.input_tokens - usage.cached_tokens
        micro_usd = (
            fresh * self.input_usd + usage.cached_tokens * cached_rate + usage.output_tokens * self.output_usd
        )
        return micro_usd / 1e6


# text-embedding-3-* stand on OpenAI's price list (2026-11) but not in the package.
OWN_PRICES: dict[str, Price] = {
    "text-embedding-3-small": Price(0.02, 0.0),
    "text-embedding-3-large": Price(0.13, 0.0),
}
FREE_KINDS = ("sim", "ollama")


def cost_usd(kind: str, model: str, usage: Usage) -> float | None:
    """What `usage` of `model` cost at a provider of this kind; None when nobody knows."""
    if kind in FREE_KINDS:
        return 0.0
    if own := OWN_PRICES.get(model):
        return own.of(usage)
    return _listed_cost_usd(kind, model, usage)


def load_lists(kind: str) -> None:
    """Load the price lists if this kind of provider needs them: 70 MB and a third of a second, once."""
    if kind not in FREE_KINDS:
        _is_listed("openai", "")


def _listed_cost_usd(kind: str, model: str, usage: Usage) -> float | None:
    # Imported at first use: its tables take 70 MB, which a process that only simulates never needs.
    from genai_prices import Usage as ListedUsage
    from genai_prices import calc_price

    if not _is_listed(kind, model):
        return None
    counted = ListedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens or None,
    )
    try:
        return float(calc_price(counted, model, provider_id=_PROVIDER_IDS.get(kind, kind)).total_price)
    except ValueError:  # counts that contradict each other (more cached tokens than there were)
        return None


_PROVIDER_IDS = {"gemini": "google"}


@lru_cache(1024)
def _is_listed(kind: str, model: str) -> bool:
    from genai_prices import Usage as ListedUsage
    from genai_prices import calc_price

    try:
        calc_price(
            ListedUsage(input_tokens=1, output_tokens=1), model, provider_id=_PROVIDER_IDS.get(kind, kind)
        )
    except LookupError:
        return False
    return True
