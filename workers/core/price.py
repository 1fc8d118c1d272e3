"""What an answer cost. Own prices of the settings, then ours for what the lists lack, then the genai-prices package.

The package works offline; its tables take 28 MB and a seventh of a second, so it is imported at the first model that
needs it. An unknown price is None, never 0: a total that contains one is unknown too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

from config.prices import OwnPrice
from workers.core.messages import Usage

FREE_KINDS = ("sim", "ollama")
# The user's own table, a kind that charges nothing, a provider's page where the package has a gap, the package.
Source = Literal["settings", "free", "price page", "genai-prices"]
# A tier of a provider's answer -> what selects its prices in the package. OpenAI's documentation of service tiers
# calls its fast lane both `priority` and `fast`.
_STANDARD_TIERS = ("", "default", "standard", "auto", "on_demand")
_TIER_CONTEXTS = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
}
# Where a list has no price of its own for them: OpenAI, Anthropic and Google sell batches at half the price, and
# OpenAI's flex processing costs what its batches do (the providers' price pages, 2026-11).
_HALF_PRICE_TIERS = ("batch", "flex")
_PRIORITY_TIERS = ("priority", "fast")
_BATCH_FACTOR = 0.5
_PROVIDER_IDS = {"gemini": "google"}
_MEMO_ENTRIES = 1024
_UNASKED: Literal[""] = ""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens.

    Attributes:
        cached_input_usd, cache_write_usd: input read from and written to the provider's prompt cache; None: as
            any other input.
        long: what every token of a request costs whose input has more than `long_above_tokens` tokens.
    """

    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None
    cache_write_usd: float | None = None
    long: Price | None = None
    long_above_tokens: int = 0

    def of(self, usage: Usage) -> float:
        """The cost of one answer, in US dollars."""
        if self.long is not None and usage.input_tokens > self.long_above_tokens:
            return self.long.of(usage)
        cached_usd = self.input_usd if self.cached_input_usd is None else self.cached_input_usd
        write_usd = self.input_usd if self.cache_write_usd is None else self.cache_write_usd
        fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        micro_usd = (
            fresh * self.input_usd
            + usage.cached_tokens * cached_usd
            + usage.cache_write_tokens * write_usd
            + usage.output_tokens * self.output_usd
        )
        return micro_usd / 1e6

    def times(self, factor: float) -> Price:
        """The same at another level."""
        return Price(
            self.input_usd * factor,
            self.output_usd * factor,
            None if self.cached_input_usd is None else self.cached_input_usd * factor,
            None if self.cache_write_usd is None else self.cache_write_usd * factor,
            self.long.times(factor) if self.long else None,
            self.long_above_tokens,
        )


_FREE = Price(0.0, 0.0)

# What the package leaves empty: Google's price page lists the Gemma models as free of charge, without a paid tier
# (2026-11). Kind and model, patterns allowed.
OWN_PRICES: dict[str, Price] = {"gemini/gemma-*": _FREE}


def utc_today() -> date:
    """The day on which a price is asked for: the lists know the days on which prices change."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, slots=True)
class Prices:
    """Every price known to a process.

    Attributes:
        own: the settings' prices; they win over everything, so that even a simulated run can have a price.
        today: the day, asked at each look: prices change while a worker runs.
    """

    own: tuple[OwnPrice, ...] = ()
    today: Callable[[], date] = utc_today
    _found: dict[tuple[str, str, str], OwnPrice | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def cost_usd(
        self, kind: str, model: str, usage: Usage, tier: str = "", *, provider: str = ""
    ) -> float | None:
        """What `usage` of `model` cost at a provider of this kind; None when nobody knows.

        Nobody knows either when an answer came without any count of tokens, or with counts that contradict
        each other.

        Args:
            tier: the provider's service tier, as its answer names it.
            provider: the provider's name in the settings, for own prices of that provider alone.
        """
        price = self._price(kind, model, tier, provider)
        if price is None or price == _FREE:
            return None if price is None else 0.0
        counted = usage.input_tokens or usage.output_tokens
        if not counted or usage.cached_tokens + usage.cache_write_tokens > usage.input_tokens:
            return None
        return price.of(usage)

    def per_token(self, kind: str, model: str, tier: str = "", *, provider: str = "") -> Price | None:
        """The price of a model, in the standard tier if no other is said; None when nobody knows."""
        return self._price(kind, model, tier, provider)

    def source(self, kind: str, model: str, *, provider: str = "") -> Source | None:
        """Where the price of a model comes from; None when nobody knows it."""
        if self._price(kind, model, "", provider) is None:
            return None
        if self.own and self._own(kind, model, provider) is not None:
            return "settings"
        if kind in FREE_KINDS:
            return "free"
        return "price page" if _from_page(kind, model) else "genai-prices"

    def _price(self, kind: str, model: str, tier: str, provider: str) -> Price | None:
        tier = "" if tier in _STANDARD_TIERS else tier
        own = self._own(kind, model, provider) if self.own else None
        if own is not None:
            return _in_tier(own, tier)
        if kind in FREE_KINDS:
            return _FREE
        return _known_price(kind, model, tier, self.today())

    def _own(self, kind: str, model: str, provider: str) -> OwnPrice | None:
        key = (kind, model, provider)
        found = self._found.get(key, _UNASKED)
        if isinstance(found, str):
            if len(self._found) >= _MEMO_ENTRIES:
                self._found.clear()  # names come from requests: there is no end of them
            # Threads share this: another one may clear what was just written.
            found = self._found[key] = _match(self.own, (f"{provider or kind}/{model}", model))
        return found


def load_lists(kind: str) -> None:
    """Load the price lists if this kind of provider needs them: 28 MB and a seventh of a second, once."""
    if kind not in FREE_KINDS:
        _known_price("openai", "", "", date.min)


def _match(own: Sequence[OwnPrice], names: tuple[str, ...]) -> OwnPrice | None:
    for name in names:
        for price in own:
            if price.name == name:
                return price
    for price in own:
        if any(fnmatchcase(name, price.name) for name in names):
            return price
    return None


def _in_tier(own: OwnPrice, tier: str) -> Price | None:
    price = Price(own.input_usd, own.output_usd, own.cached_input_usd, own.cache_write_usd)
    if not tier:
        return price
    factor = own.batch_factor if tier in _HALF_PRICE_TIERS else None
    if tier in _PRIORITY_TIERS:
        factor = own.priority_factor
    return None if factor is None else price.times(factor)


@lru_cache(_MEMO_ENTRIES)
def _known_price(kind: str, model: str, tier: str, day: date) -> Price | None:
    if (own := _from_page(kind, model)) is not None:
        return own
    found = _listed_model(_PROVIDER_IDS.get(kind, kind), model)
    if found is None:
        return None
    noon = datetime.combine(day, time(12), UTC)
    standard = _from_list(found.get_prices(noon), model)
    if not tier or standard is None:
        return standard
    context = _TIER_CONTEXTS.get(tier, {"service_tier": tier})
    for variant in found.price_variants or ():
        started = variant.constraint is None or variant.constraint.active(noon)
        if started and variant.when == context:
            return _from_list(found.get_prices(noon, context), model)
    return standard.times(_BATCH_FACTOR) if tier in _HALF_PRICE_TIERS else None


def _from_page(kind: str, model: str) -> Price | None:
    return next((each for name, each in OWN_PRICES.items() if fnmatchcase(f"{kind}/{model}", name)), None)


def _listed_model(provider_id: str, model: str) -> Any:
    # Imported at first use: its tables take 28 MB, which a process that only simulates never needs.
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, provider_id, None)[1]
    except LookupError:
        return None


def _from_list(listed: Any, model: str) -> Price | None:
    """The package's price as ours; None for what is not sold by the kinds of tokens that we count.

    Sound and pictures cost other prices than text, and no usage of ours tells them apart. So a model that
    answers in them has no price, nor has one that is sold by the hour or by characters (Whisper, TTS-1). Speech
    models that write hear sound and hardly any text: all their input has the price of sound.
    """
    hears = "transcribe" in model and listed.input_audio_mtok is not None
    inputs = listed.input_audio_mtok if hears else listed.input_mtok
    if inputs is None or listed.output_audio_mtok is not None or listed.output_image_mtok is not None:
        return None
    parts = (inputs, listed.output_mtok, listed.cache_read_mtok, listed.cache_write_mtok)
    starts = [part.tiers[0].start for part in parts if hasattr(part, "tiers")]
    price = _price_of(parts, long=False)
    return replace(price, long=_price_of(parts, long=True), long_above_tokens=starts[0]) if starts else price


def _price_of(parts: Sequence[Any], *, long: bool) -> Price:
    """One level of the package's prices: a plain number, or a base and one higher step for long inputs."""

    def usd(part: Any) -> float | None:
        if part is not None and hasattr(part, "tiers"):
            part = part.tiers[0].price if long else part.base
        return None if part is None else float(part)

    inputs, output, cached, written = map(usd, parts)
    return Price(inputs or 0.0, output or 0.0, cached, written)
