"""What the engine needs from the rest, as protocols and plain bundles. runtime.py fills them in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from workers.core.messages import Result
from workers.core.retry import RetryRules
from workers.engine.slots import CallSlots
from workers.engine.work import Held
from workers.providers.base import Adapter
from workers.store.limits import Rates
from workers.transport.port import Transport


@dataclass(frozen=True, slots=True)
class Link:
    """One configured provider, ready to be called: translation, connections, key, limits.

    `answers_as` says whose answers these are, for the cache: the base URL, or `sim` for a simulator, which
    answers the same on whatever port it was started.
    """

    name: str
    kind: str
    answers_as: str
    adapter: Adapter
    transport: Transport
    api_key: Callable[[], str | None]
    rates: Rates
    slots: CallSlots
    deadline_s: float


@dataclass(frozen=True, slots=True)
class EngineRules:
    """The settings the engine goes by; lengths in seconds."""

    lease_s: float
    call_margin_s: float
    drain_grace_s: float
    ttl_answers_s: int
    ttl_embeddings_s: int
    retry: RetryRules


class Sink(Protocol):
    """Where a shard's run puts its results; it calls back once they are recorded."""

    def add(
        self, run: RecordTarget, result: Result, *, on_recorded: Callable[[], None] | None = None
    ) -> None:
        """Take one result."""
        ...

    def has_room(self) -> bool:
        """Whether new calls may start."""
        ...


class RecordTarget(Protocol):
    """Who made a result: the names a record carries, and the tally it counts in."""

    @property
    def held(self) -> Held:
        """The shard's names."""
        ...

    def on_recorded(self, result: Result, line_bytes: int) -> None:
        """The result is in the database."""
        ...
