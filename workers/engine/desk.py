"""What every running shard of a process shares, and what a run says when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from workers.core.choose import Chosen
from workers.core.history import History
from workers.core.messages import InputLine
from workers.core.pauses import Standing
from workers.engine.limiting import Limiting
from workers.engine.ports import EngineRules, Sink
from workers.engine.sharing import Sharing
from workers.engine.shelf import Shelf

StopReason = Literal["drain", "ending", "paused", "held", "capped", "revoked", "lost"]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended.

    Attributes:
        park_s: seconds until the shard should be tried again; None when all is answered or we were stopped.
        histories: what the items that are not recorded yet have been through, by line.
        unknown: calls that were cut off under way, or that the next lease may repeat.
    """

    stopped: StopReason | None
    park_s: float | None
    park_reason: str | None
    histories: dict[int, History]
    unknown: int


@dataclass(slots=True)
class Desk:
    """What every running shard of a process shares.

    `elsewhere` says who else could answer a request, given the providers that must not get it (again). `trial` is held
    by the one shard that may have killed workers. `paused`: providers at rest, as far as this process has heard.
    """

    rules: EngineRules
    shelf: Shelf
    sharing: Sharing
    limits: Limiting
    sink: Sink
    elsewhere: Callable[[InputLine, frozenset[str]], Chosen | None]
    trial: asyncio.Lock = field(default_factory=asyncio.Lock)
    paused: set[str] = field(default_factory=set)

    def heed(self, standing: Standing) -> None:
        """These pauses stand now."""
        self.paused.clear()
        self.paused.update(standing.providers)
