"""What the engine needs from the rest, as protocols and plain bundles. runtime.py fills them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from config.settings import Cache as CacheRules
from workers.core.chooser import Chooser
from workers.core.lanes import Rates
from workers.core.messages import Result, Usage
from workers.core.price import Prices
from workers.core.retry import RetryRules
from workers.engine.slots import CallSlots
from workers.engine.work import Held
from workers.providers.base import Adapter
from workers.transport.port import Transport


@dataclass(slots=True, eq=False)
class Link:
    """One configured provider, ready to be called: translation, connections, key, limits, prices.

    Key, limits, models, prices and options may be others from one await to the next (reloading.py): nobody keeps them.

    `answers_as` says whose answers these are, for the cache: the base URL, or `sim` for a simulator, which
    answers the same on whatever port it was started. `chooser` knows this provider's offer alone, `options` are
    laid under every request's own, `cache` says how long answers live.
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
    chooser: Chooser
    prices: Prices
    options: Mapping[str, Any]
    cache: CacheRules

    def cost_usd(self, model: str, usage: Usage, tier: str = "") -> float | None:
        """What an answer of one of its models cost; None when nobody knows."""
        return self.prices.cost_usd(self.kind, model, usage, tier, provider=self.name)


@dataclass(frozen=True, slots=True)
class EngineRules:
    """The settings the engine goes by; lengths in seconds."""

    lease_s: float
    call_margin_s: float
    drain_grace_s: float
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

    def hurry(self) -> None:
        """Write what is here now: its shard has nothing else to do."""
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
