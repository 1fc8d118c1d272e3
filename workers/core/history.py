"""What an item has been through so far, as one value: what the next lease of it must know.

The history of an item that was retried, parked or handed over is a small document in its shard's `attempts`; of a
recorded item its result keeps the failed attempts and the waits. Documents hold only what is there to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workers.core.messages import NO_USAGE, NOT_WAITED, Attempt, Result, Usage

FIRST_KEPT = 3
LAST_KEPT = 20

Doc = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """The counts of an item that has no result yet.

    Attributes:
        attempt: failed attempts at its present provider; `refusals` for rate (429) and tries that reached nobody
            (`unreached`) are counted by themselves.
        unknown: calls whose outcome nobody knows, at any provider.
        calls: HTTP requests made.
        asks_again: answers that did not match the schema and were asked for again.
        spent_usd: what it has taken so far without bringing the answer (None: unknown); `usage` in tokens.
        attempts: its failed tries, oldest first, as `bounded`.
        waited_s: how long it has rested, by reason.
        waiting: why it rests now, and since when (Unix seconds).
    """

    attempt: int = 0
    refusals: int = 0
    unreached: int = 0
    unknown: int = 0
    calls: int = 0
    asks_again: int = 0
    spent_usd: float | None = 0.0
    usage: Usage = NO_USAGE
    attempts: tuple[Attempt, ...] = ()
    waited_s: Mapping[str, float] = field(default_factory=lambda: NOT_WAITED, hash=False)
    waiting: tuple[str, float] | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to remember."""
        return self != NO_HISTORY

    def woken(self, now: float) -> History:
        """The same after its rest, which is added to `waited_s`. `now` in Unix seconds, of any machine's clock."""
        if self.waiting is None:
            return self
        reason, since = self.waiting
        waited_s = {**self.waited_s, reason: self.waited_s.get(reason, 0.0) + max(0.0, now - since)}
        return replace(self, waited_s=waited_s, waiting=None)

    def elsewhere(self) -> History:
        """The same at another provider, which has failed nothing yet. What was paid, or may have been, stays."""
        return replace(self, attempt=0, refusals=0, unreached=0)

    def ends(self, result: Result) -> Result:
        """The result of an item that ends without being called any more, with all that it took until then."""
        return replace(
            result,
            usage=self.usage,
            calls=self.calls,
            asks_again=self.asks_again,
            cost_usd=self.spent_usd,
            attempts=self.attempts,
            waited_s=self.waited_s,
        )

    def to_doc(self) -> dict[str, Any]:
        """What a database keeps; empty for an item to which nothing has happened."""
        counts = [self.attempt, self.refusals, self.unreached, self.unknown, self.calls, self.asks_again]
        doc: dict[str, Any] = {}
        if any(counts):
            doc["counts"] = counts
        if self.spent_usd != 0.0 or self.usage != NO_USAGE:
            doc["spent"] = [self.spent_usd, *self.usage.counts]
        if self.waiting is not None:
            doc["waiting"] = list(self.waiting)
        return doc | tries_doc(self.attempts, self.waited_s)

    @classmethod
    def from_doc(cls, doc: Doc | Sequence[Any] | None) -> History:
        """The inverse of `to_doc`; reads the list that was kept before there were documents, too."""
        if not doc:
            return NO_HISTORY
        if not isinstance(doc, Mapping):
            return _from_list(doc)
        attempt, refusals, unreached, unknown, calls, asks_again = doc.get("counts", (0,) * 6)
        spent_usd, *tokens = doc.get("spent", (0.0,))
        waiting = doc.get("waiting")
        attempts, waited_s = tries_from(doc)
        return cls(
            attempt=attempt,
            refusals=refusals,
            unreached=unreached,
            unknown=unknown,
            calls=calls,
            asks_again=asks_again,
            spent_usd=spent_usd,
            usage=Usage(*tokens) if tokens else NO_USAGE,
            attempts=attempts,
            waited_s=waited_s,
            waiting=(waiting[0], waiting[1]) if waiting else None,
        )


NO_HISTORY = History()


def bounded(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """The first 3 and the last 20 of very many tries: how it began and how it ended. `calls` counts them all."""
    if len(attempts) <= FIRST_KEPT + LAST_KEPT:
        return tuple(attempts)
    return (*attempts[:FIRST_KEPT], *attempts[-LAST_KEPT:])


def tries_doc(attempts: Sequence[Attempt], waited_s: Mapping[str, float]) -> dict[str, Any]:
    """The fields `attempts` and `waited_s` of a document; none for an item that neither failed nor rested."""
    doc: dict[str, Any] = {}
    if attempts:
        doc["attempts"] = [
            [one.at, one.provider, one.code, one.status, one.then, one.wait_s, one.excess]
            for one in bounded(attempts)
        ]
    if waited_s:
        doc["waited_s"] = {reason: round(seconds, 3) for reason, seconds in waited_s.items()}
    return doc


def tries_from(doc: Doc) -> tuple[tuple[Attempt, ...], Mapping[str, float]]:
    """The inverse of `tries_doc`."""
    attempts = tuple(Attempt(*one) for one in doc.get("attempts", ()))
    return attempts, doc.get("waited_s", NOT_WAITED)


def _from_list(old: Sequence[Any]) -> History:
    counts, rest = old[:5], old[5:]
    attempt, refusals, unknown, calls, asks_again = (*counts, 0)[:5]
    return History(
        attempt,
        refusals,
        unknown=unknown,
        calls=calls,
        asks_again=asks_again,
        spent_usd=rest[0] if rest else 0.0,
        usage=Usage(*rest[1:]) if rest else NO_USAGE,
    )
