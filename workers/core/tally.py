"""Counts over results: of a shard while it runs, of a batch as the sum of its shards.

Every count is absolute and can be made again from the results; nothing is ever incremented in the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from workers.core.messages import Result


@dataclass(slots=True)
class Tally:
    """Sums over recorded results.

    Attributes:
        calls: HTTP requests made; `excess` of them may have repeated a call whose outcome was unknown, and
            `asks_again` asked anew for an answer that did not match its schema.
        unpriced: answers whose price nobody knows: while it is above 0 the cost is unknown.
        saved_usd: what cached and coalesced answers would have cost; `saved_unpriced` of them at an unknown price.
        output_bytes, error_bytes: sizes of the lines in the output and the error file.
    """

    recorded: int = 0
    completed: int = 0
    failed: int = 0
    never_ran: int = 0
    cached: int = 0
    coalesced: int = 0
    calls: int = 0
    excess: int = 0
    asks_again: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    saved_usd: float = 0.0
    saved_unpriced: int = 0
    output_bytes: int = 0
    error_bytes: int = 0

    def add(self, result: Result, line_bytes: int) -> None:
        """Count one recorded result whose line in its file has `line_bytes` bytes."""
        self.recorded += 1
        if result.ok:
            self.completed += 1
        elif result.never_ran:
            self.never_ran += 1
        else:
            self.failed += 1
        self.cached += result.source == "cache"
        self.coalesced += result.source == "coalesced"
        self.calls += result.calls
        self.excess += result.excess
        self.asks_again += result.asks_again
        self.input_tokens += result.usage.input_tokens
        self.output_tokens += result.usage.output_tokens
        self.cached_tokens += result.usage.cached_tokens
        self.reasoning_tokens += result.usage.reasoning_tokens
        self.cache_write_tokens += result.usage.cache_write_tokens
        self.cost_usd += result.cost_usd or 0.0
        self.unpriced += result.cost_usd is None
        self.saved_usd += result.saved_usd or 0.0
        self.saved_unpriced += result.saved_usd is None
        if result.ok:
            self.output_bytes += line_bytes
        else:
            self.error_bytes += line_bytes

    def as_dict(self) -> dict[str, Any]:
        """The stored form."""
        return {name: getattr(self, name) for name in FIELD_NAMES}

    @property
    def known_cost_usd(self) -> float | None:
        """The cost, or None when any price is unknown."""
        return None if self.unpriced else round(self.cost_usd, 6)

    @property
    def known_saved_usd(self) -> float | None:
        """What was saved, or None when any price is unknown."""
        return None if self.saved_unpriced else round(self.saved_usd, 6)


@dataclass(frozen=True, slots=True)
class Sums:
    """What the shards of a batch have done so far; lines that no provider was asked for count under ''.

    `handed_over`: items given to another provider, each time they were; `repeated`: `possibly_repeated` by provider.
    """

    by_provider: Mapping[str, Tally]
    possibly_repeated: int
    handed_over: int = 0
    repeated: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> Tally:
        """All of them together."""
        return total(self.by_provider.values())

    def as_dict(self, counts: Tally) -> dict[str, Any]:
        """What a batch document keeps, around `counts`: those summed here, or made again from the results."""
        shares = {name: tally.as_dict() for name, tally in self.by_provider.items() if name}
        ours = {"possibly_repeated": self.possibly_repeated, "handed_over": self.handed_over}
        return {**counts.as_dict(), **ours, "by_provider": shares}


FIELD_NAMES = tuple(each.name for each in fields(Tally))


def tally_from(data: Mapping[str, Any] | None) -> Tally:
    """Read the stored form; what is missing is 0."""
    return Tally(**{name: (data or {}).get(name, 0) for name in FIELD_NAMES})


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of several."""
    out = Tally()
    for tally in tallies:
        for name in FIELD_NAMES:
            setattr(out, name, getattr(out, name) + getattr(tally, name))
    return out
