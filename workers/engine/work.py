"""One item on its way through a running shard, and the outcomes a call can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.core.errors import ProviderError, TransportError
from workers.core.messages import Call, Item, Reply


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
        due: monotonic seconds before which it is not tried again.
    """

    item: Item
    custom_id: str
    call: Call
    est_tokens: int
    fingerprint: str = ""
    cache_key: str = ""
    attempt: int = 0
    refusals: int = 0
    unknown: int = 0
    calls: int = 0
    excess: int = 0
    due: float = 0.0
    looked_up: bool = False
    owns_flight: bool = False

    @property
    def history(self) -> list[int]:
        """What the next lease of this item must know; `excess` is settled when the shard is given back."""
        return [self.attempt, self.refusals, self.unknown, self.calls]

    def recall(self, history: Sequence[int]) -> None:
        """Go on where an earlier lease stopped."""
        self.attempt, self.refusals, self.unknown, self.calls = history


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered."""

    reply: Reply
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider refused, or nothing came back."""

    error: ProviderError | TransportError
    latency_ms: float
