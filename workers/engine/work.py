"""One item on its way through a running shard, and the outcomes a call can have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.core.errors import ProviderError, TransportError
from workers.core.history import History, bounded
from workers.core.messages import NO_USAGE, NOT_WAITED, Attempt, Call, InputLine, Item, Reply, Usage
from workers.core.rate import estimate_tokens
from workers.core.retry import Counter
from workers.store.flights import Ticket


@dataclass(frozen=True, slots=True)
class Held:
    """The names of a shard in our hands: what records, flights and leases carry.

    `tried`: the providers that must not get its items again, its own included.
    """

    batch_id: str
    tenant: str
    shard_id: str
    fence: int
    tried: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class Work:
    """An item with everything its call needs.

    Attributes:
        asked: the request as it stands in the file.
        fingerprint: what makes two requests the same; empty when this one must not be shared.
        cache_key: where its answer is cached; empty when it must not be cached. `ttl_s`: for how long.
        warms: nobody waits for the answer: it is kept as a warmed one. A cached answer will do only if it lives
            until `lives_until_s` (Unix seconds; 0: any will do).
        attempt: failed attempts so far, `refusals` for rate (429) and tries that reached nobody (`unreached`)
            counted by themselves; `unknown`: of the calls, those whose outcome nobody knows.
        calls: HTTP requests made so far; `excess` of them repeated a call of unknown outcome.
        asks_again: answers that did not match the schema and were asked for again; `again` is the call that does
            so.
        spent, spent_usd: what those answers used, and failed calls that were charged (None: unknown).
        ticket: its name at its flight, once it has asked for it.
        granted_at: monotonic seconds when its last call was granted by the limits.
        why: the reason of its present or last rest; `due`: monotonic seconds before which it is not tried again.
        warnings: what the request lost on its way, as far as routing knows. They are this item's own: equal calls
            may come from requests with other words.
    """

    item: Item
    asked: InputLine
    call: Call
    fingerprint: str = ""
    cache_key: str = ""
    ttl_s: int = 0
    warms: bool = False
    lives_until_s: float = 0.0
    attempt: int = 0
    refusals: int = 0
    unreached: int = 0
    unknown: int = 0
    calls: int = 0
    excess: int = 0
    asks_again: int = 0
    again: Call | None = None
    spent: Usage = NO_USAGE
    spent_usd: float | None = 0.0
    attempts: tuple[Attempt, ...] = ()
    waited_s: Mapping[str, float] = field(default_factory=lambda: NOT_WAITED)
    granted_at: float = 0.0
    why: str = ""
    due: float = 0.0
    warnings: tuple[str, ...] = ()
    looked_up: bool = False
    owns_flight: bool = False
    ticket: Ticket | None = None
    _rested_at: float | None = None
    _est_tokens: int | None = None

    @property
    def custom_id(self) -> str:
        """The caller's name of the request."""
        return self.asked.custom_id

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

    def count(self, what: Counter) -> int:
        """One more failure of this sort; gives how many there are now."""
        setattr(self, what, counted := getattr(self, what) + 1)
        return int(counted)

    def note(self, attempt: Attempt) -> None:
        """Keep a failed try for the record."""
        self.attempts = bounded((*self.attempts, attempt))

    def rest(self, why: str, *, now: float, wait_s: float) -> None:
        """Not before `wait_s` from `now` (monotonic seconds)."""
        self.why, self.due, self._rested_at = why, now + wait_s, now

    def wake(self, now: float) -> None:
        """The rest is over; how long it was stays with the item."""
        if self._rested_at is not None:
            rested_s = max(0.0, now - self._rested_at)
            self.waited_s = {**self.waited_s, self.why: self.waited_s.get(self.why, 0.0) + rested_s}
            self._rested_at = None

    def history(self, *, parked_for: str | None = None) -> History:
        """What the next lease of this item must know; `excess` is settled when the shard is given back.

        Args:
            parked_for: why the whole shard rests, if it does.
        """
        now, now_s = time.monotonic(), time.time()
        since = self._rested_at if self._rested_at is not None else now
        why = self.why if self._rested_at is not None else parked_for
        return History(
            attempt=self.attempt,
            refusals=self.refusals,
            unreached=self.unreached,
            unknown=self.unknown,
            calls=self.calls,
            asks_again=self.asks_again,
            spent_usd=self.spent_usd,
            usage=self.spent,
            attempts=self.attempts,
            waited_s=self.waited_s,
            waiting=(why, now_s - (now - since)) if why else None,
        )

    def recall(self, history: History) -> None:
        """Go on where an earlier lease stopped: with the request as it was first, but all its counts."""
        self.attempt, self.refusals, self.unreached = history.attempt, history.refusals, history.unreached
        self.unknown, self.calls, self.asks_again = history.unknown, history.calls, history.asks_again
        self.spent, self.spent_usd = history.usage, history.spent_usd
        self.attempts, self.waited_s = history.attempts, history.woken(time.time()).waited_s


def sum_usd(one: float | None, other: float | None) -> float | None:
    """Both together; None when either is unknown."""
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered; `headers` (lower-case names) may say what its limits leave."""

    reply: Reply
    latency_ms: float
    cost_usd: float | None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider refused, or nothing came back."""

    error: ProviderError | TransportError
    latency_ms: float
    warnings: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def retry_after_s(self) -> float | None:
        """The wait that the provider asked for, in seconds."""
        return self.error.retry_after_s if isinstance(self.error, ProviderError) else None

    @property
    def unknown(self) -> bool:
        """Whether the call may have happened though nobody knows."""
        return isinstance(self.error, TransportError) and self.error.bytes_sent
