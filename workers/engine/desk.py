"""What every running shard of a process shares, and what a run says when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.engine.ports import EngineRules, Sink
from workers.engine.sharing import Sharing
from workers.engine.shelf import Shelf
from workers.store.limits import Limits

StopReason = Literal["drain", "ending", "paused", "lost"]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended.

    Attributes:
        park_s: seconds until the shard should be tried again; None when all is answered or we were stopped.
        attempts: what items that are not recorded yet have been through, {line: Work.history}.
        unknown: calls that were cut off under way, or that the next lease may repeat.
    """

    stopped: StopReason | None
    park_s: float | None
    park_reason: str | None
    attempts: dict[str, list[float | None]]
    unknown: int


@dataclass(frozen=True, slots=True)
class Desk:
    """What every running shard of a process shares."""

    rules: EngineRules
    shelf: Shelf
    sharing: Sharing
    limits: Limits
    sink: Sink
