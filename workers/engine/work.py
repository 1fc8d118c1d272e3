"""One item on its way through a running shard, and the outcomes a call can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.core.errors import ProviderError, TransportError
from workers.core.messages import NO_USAGE, Call, Item, Reply, Usage
from workers.core.rate import estimate_tokens


@dataclass(frozen=True, slots=True)
class Held:
    """The names of a shard in our hands: what records, flights and leases carry."""

    batch_id: str
    tenant: str
    shard_id: str
    fence: int


@dataclass(slots=True, eq=False)
class Work:
    """An item with everything its call needs.

    Attributes:
        fingerprint: what makes two requests the same; empty when this one must not be shared.
        cache_key: where its answer is cached; empty when it must not be cached.
        attempt: failed attempts so far, `refusals` for rate (429) counted by themselves; `unknown`: of the
            calls, those whose outcome nobody knows.
        calls: HTTP requests made so far; `excess` of them repeated a call of unknown outcome.
        asks_again: answers that did not match the schema and were asked for again; `again` is the call that does
            so.
        spent, spent_usd: what those answers used, and failed calls that were charged (None: unknown).
        due: monotonic seconds before which it is not tried again.
        warnings: what the request lost on its way, as far as routing knows. They are this item's own: equal calls
            may come from requests with other words.
    """

    item: Item
    custom_id: str
    call: Call
    fingerprint: str = ""
    cache_key: str = ""
    attempt: int = 0
    refusals: int = 0
    unknown: int = 0
    calls: int = 0
    excess: int = 0
    asks_again: int = 0
    again: Call | None = None
    spent: Usage = NO_USAGE
    spent_usd: float | None = 0.0
    due: float = 0.0
    warnings: tuple[str, ...] = ()
    looked_up: bool = False
    owns_flight: bool = False
    _est_tokens: int | None = None

    @property
    def est_tokens(self) -> int:
        """Its estimated input and its output cap together. Counted when asked for: a cached answer needs none."""
        if self._est_tokens is None:
            self._est_tokens = estimate_tokens(self.item.length, self.call.body, self.call.endpoint)
        return self._est_tokens

    def spend(self, usage: Usage, cost_usd: float | None) -> None:
        """Keep what a call took that did not bring the item's answer."""
        self.spent += usage
        self.spent_usd = sum_usd(self.spent_usd, cost_usd)

    @property
    def history(self) -> list[float | None]:
        """What the next lease of this item must know; `excess` is settled when the shard is given back."""
        counts = [self.attempt, self.refusals, self.unknown, self.calls, self.asks_again]
        return [*counts, self.spent_usd, *self.spent.counts]

    def recall(self, history: Sequence[Any]) -> None:
        """Go on where an earlier lease stopped: with the request as it was first, but all its counts."""
        counts, rest = history[:5], history[5:]
        self.attempt, self.refusals, self.unknown, self.calls, self.asks_again = (*counts, 0)[:5]
        if rest:
            self.spent_usd, self.spent = rest[0], Usage(*rest[1:])


def sum_usd(one: float | None, other: float | None) -> float | None:
    """Both together; None when either is unknown."""
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered."""

    reply: Reply
    latency_ms: float
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider refused, or nothing came back."""

    error: ProviderError | TransportError
    latency_ms: float
    warnings: tuple[str, ...] = ()
