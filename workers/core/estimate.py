"""What a file of requests will cost, before anything is sent: sums by provider and model. Pure.

Equal requests are paid once, so tokens and money are those of the first of them; what the others would have cost
is what they save. Output is counted by the caps that requests name: where all do, the real output is not larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from config.catalog import Catalog
from workers.core.choose import Chosen, call_of
from workers.core.hashindex import HashIndex
from workers.core.identity import canonical, hash64
from workers.core.messages import Call, Usage
from workers.core.price import Price, Prices
from workers.core.rate import BYTES_PER_TOKEN
from workers.core.tokens import (
    DEFAULT_OUTPUT_TOKENS,
    estimate_input_tokens,
    estimate_output_tokens,
    output_cap,
)

_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def expected_usage(call: Call, request_bytes: int = 0, *, uncapped: int = DEFAULT_OUTPUT_TOKENS) -> Usage:
    """The tokens that a call is taken to need, by which money is promised and held before it starts.

    Output by its cap; without one `uncapped` tokens for each choice, and half of the room for thoughts where the
    model thinks. Input by `request_bytes` for a body of unknown shape.
    """
    input_tokens = estimate_input_tokens(call.body)
    if call.provider_options:
        input_tokens += estimate_input_tokens({"provider_options": call.provider_options})
    usual = uncapped + call.traits.thought_tokens // 2
    output_tokens = estimate_output_tokens(_parameters(call), call.endpoint, usual)
    return Usage(input_tokens or request_bytes // BYTES_PER_TOKEN, output_tokens)


def _parameters(call: Call) -> Mapping[str, Any]:
    """The body with what `provider_options` say of caps and choices, each in its provider's own words."""
    if not call.provider_options:
        return call.body
    said = {**call.body, **call.provider_options}
    gemini, ollama = said.get("generationConfig"), said.get("options")
    if isinstance(gemini, Mapping):
        _say_instead(said, _CAPS, gemini.get("maxOutputTokens"))
        _say_instead(said, ("n",), gemini.get("candidateCount"))
    if isinstance(ollama, Mapping):
        _say_instead(said, _CAPS, ollama.get("num_predict"))
    return said


def _say_instead(said: dict[str, Any], names: tuple[str, ...], value: object) -> None:
    if value is not None:
        for name in names:
            said.pop(name, None)
        said[names[0]] = value


@dataclass(frozen=True, slots=True)
class Estimate:
    """Sums over requests, those of one model or of all.

    Attributes:
        duplicates: of the requests, those that ask the same as an earlier one.
        cached: of the others, those whose answer the cache has already, as far as somebody has looked.
        input_tokens, output_tokens: of the requests that will be called.
        uncapped: of those, the ones that name no cap of their output: a usual length is taken for them.
        cost_usd, saved_usd: what the calls cost and what duplicates and cached answers would have; None where a
            price that matters is unknown.
        known_cost_usd: the part of the cost whose prices are known.
    """

    requests: int = 0
    duplicates: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncapped: int = 0
    cost_usd: float | None = 0.0
    saved_usd: float | None = 0.0
    known_cost_usd: float = 0.0


@dataclass(slots=True)
class _Sums:
    price: Price | None
    requests: int = 0
    duplicates: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncapped: int = 0
    cost_usd: float = 0.0
    saved_usd: float = 0.0

    def frozen(self) -> Estimate:
        known = self.price is not None
        # What was added and taken away again leaves a trace in the last digits.
        cost_usd = max(0.0, round(self.cost_usd, 9))
        return Estimate(
            requests=self.requests,
            duplicates=self.duplicates,
            cached=self.cached,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            uncapped=self.uncapped,
            cost_usd=cost_usd if known else None,
            saved_usd=self.saved_usd if known or not (self.duplicates or self.cached) else None,
            known_cost_usd=cost_usd,
        )


@dataclass(frozen=True, slots=True)
class Counted:
    """One request as it stands in the sums of its row."""

    row: tuple[str, str]
    usage: Usage
    cost_usd: float
    uncapped: bool


@dataclass(slots=True)
class Estimator:
    """Adds requests up, one by one; memory is a few bytes for each.

    Attributes:
        kinds: the kind of each provider that may be chosen; a name that is missing is a provider nobody knows.
    """

    prices: Prices
    kinds: Mapping[str, str]
    catalog: Catalog
    _sums: dict[tuple[str, str], _Sums] = field(default_factory=dict, init=False)
    _seen: HashIndex = field(default_factory=HashIndex, init=False)

    def add(self, endpoint: str, body: Mapping[str, Any], chosen: Chosen) -> Counted | None:
        """Count one request. `body` as the file has it, its own fields for us included.

        Gives what to tell `known` should its answer be cached; None for a duplicate, which is never called.
        """
        kind = self.kinds.get(chosen.provider, "")
        sums = self._sums_of(chosen, kind)
        asked = canonical(
            [
                endpoint,
                chosen.provider,
                chosen.model,
                {key: value for key, value in body.items() if key != "model"},
            ]
        )
        call = call_of(endpoint, body, chosen, kind, self.catalog)
        usage = expected_usage(call, len(asked))
        cost_usd = sums.price.of(usage) if sums.price else 0.0
        sums.requests += 1
        if self._seen.first(hash64(asked), 1):
            sums.duplicates += 1
            sums.saved_usd += cost_usd
            return None
        uncapped = usage.output_tokens > 0 and output_cap(_parameters(call)) is None
        sums.input_tokens += usage.input_tokens
        sums.output_tokens += usage.output_tokens
        sums.uncapped += uncapped
        sums.cost_usd += cost_usd
        return Counted((chosen.provider, chosen.model), usage, cost_usd, uncapped)

    def known(self, counted: Counted) -> None:
        """The answer of a request that was counted is cached: nobody is called for it."""
        sums = self._sums[counted.row]
        sums.cached += 1
        sums.input_tokens -= counted.usage.input_tokens
        sums.output_tokens -= counted.usage.output_tokens
        sums.uncapped -= counted.uncapped
        sums.cost_usd -= counted.cost_usd
        sums.saved_usd += counted.cost_usd

    def rows(self) -> dict[tuple[str, str], Estimate]:
        """(provider, model) -> its sums, in the order in which they came."""
        return {key: sums.frozen() for key, sums in self._sums.items()}

    def _sums_of(self, chosen: Chosen, kind: str) -> _Sums:
        key = (chosen.provider, chosen.model)
        if key not in self._sums:
            self._sums[key] = _Sums(self.prices.per_token(kind, chosen.model, provider=chosen.provider))
        return self._sums[key]


def total(rows: Iterable[Estimate]) -> Estimate:
    """All models together; a cost is unknown if one of its parts is."""
    rows = list(rows)
    return Estimate(
        requests=sum(row.requests for row in rows),
        duplicates=sum(row.duplicates for row in rows),
        cached=sum(row.cached for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        uncapped=sum(row.uncapped for row in rows),
        cost_usd=_sum(row.cost_usd for row in rows),
        saved_usd=_sum(row.saved_usd for row in rows),
        known_cost_usd=sum(row.known_cost_usd for row in rows),
    )


def _sum(parts: Iterable[float | None]) -> float | None:
    sum_usd = 0.0
    for part in parts:
        if part is None:
            return None
        sum_usd += part
    return sum_usd
