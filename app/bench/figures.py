"""What the laps of a bench mean: medians, ratios, what was promised. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

Kind = Literal["misses", "hits"]
OURS = "batchwright"


@dataclass(frozen=True, slots=True)
class Lap:
    """One engine, once: `cpu_s` is user and system time of the processes that answer."""

    items: int
    seconds: float
    cpu_s: float

    @property
    def items_per_s(self) -> float:
        """The rate."""
        return self.items / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU time an item took, in milliseconds."""
        return self.cpu_s * 1000 / self.items


@dataclass(frozen=True, slots=True)
class Row:
    """One engine over all rounds. `skipped` says why there is no figure, or why some are missing."""

    name: str
    laps: tuple[Lap, ...] = ()
    version: str = ""
    skipped: str | None = None

    def with_lap(self, lap: Lap) -> Row:
        """The row after one more round."""
        return replace(self, laps=(*self.laps, lap))

    def without(self, why: str) -> Row:
        """The row of an engine that takes part no more."""
        return replace(self, skipped=why)

    @property
    def items_per_s(self) -> float | None:
        """The median of the rounds; None without any."""
        return median(lap.items_per_s for lap in self.laps) if self.laps else None

    @property
    def cpu_ms(self) -> float | None:
        """The median CPU time an item took, in milliseconds."""
        return median(lap.cpu_ms for lap in self.laps) if self.laps else None


@dataclass(frozen=True, slots=True)
class Target:
    """Ours must be at least `least` times `other`."""

    kind: Kind
    other: str
    least: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How a target stands."""

    target: Target
    reached: float

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.reached >= self.target.least


@dataclass(frozen=True, slots=True)
class Growth:
    """One batch of `items`, and what it left behind.

    Attributes:
        memory: {process: {"peak_bytes", "final_bytes"}}, resident.
        control_redis_bytes, cache_redis_bytes: memory used, whole.
        mongodb_bytes_per_item: results on disk; `mongodb_data_bytes_per_item` before compression.
    """

    items: int
    items_per_s: float
    cpu_ms: float
    memory: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    control_redis_bytes: int = 0
    cache_redis_bytes: int = 0
    cache_redis_bytes_per_item: float = 0.0
    mongodb_bytes_per_item: float = 0.0
    mongodb_data_bytes_per_item: float = 0.0


def targets(transport: str) -> tuple[Target, ...]:
    """What is promised of this engine on `transport`: the raw loop of the same client is its measure."""
    return (
        Target("misses", f"raw_{transport}", 0.65),
        Target("misses", "celery_prefork", 40.0),
        Target("misses", "openai", 12.0),
        Target("misses", "litellm_router", 25.0),
        Target("misses", "arq", 12.0),
        Target("hits", "insert_many", 0.8),
        Target("hits", "litellm_cache", 40.0),
    )


def ratios(rows: Mapping[Kind, Mapping[str, Row]], transport: str) -> list[Ratio]:
    """Those targets of which both sides were measured."""
    found = []
    for target in targets(transport):
        ours, other = (rows[target.kind].get(name) for name in (OURS, target.other))
        mine, theirs = ours and ours.items_per_s, other and other.items_per_s
        if mine and theirs:
            found.append(Ratio(target, mine / theirs))
    return found


def in_turn(names: Sequence[str], round_number: int) -> list[str]:
    """The order of one round: each round another begins, so that none always follows the same one."""
    if not names:
        return []
    first = round_number % len(names)
    return [*names[first:], *names[:first]]


def lap_items(rate: float, *, seconds: float, least: int, most: int) -> int:
    """How many items keep an engine of this rate (items a second) busy for so long, to two digits."""
    wanted = max(least, min(most, int(rate * seconds)))
    digits: int = 10 ** max(0, len(str(wanted)) - 2)
    return max(least, wanted // digits * digits)
