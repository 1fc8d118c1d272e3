"""What operators have paused beside single batches: providers and tenants. Pure values.

store/pauses.py keeps them; the dispatcher sends nothing of them off, the engine starts no call for them, and `why`
says that they stand (core/progress.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

PauseKind = Literal["provider", "tenant"]
# Why a shard that was in a worker's hands rests meanwhile.
HELD = "held"


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause: of a provider by its name or of a tenant by its id, since when (Unix seconds), by which tenant."""

    kind: PauseKind
    name: str
    since: float
    by: str


@dataclass(frozen=True, slots=True)
class Standing:
    """All pauses that stand, by the name of what rests."""

    providers: Mapping[str, Pause] = field(default_factory=dict)
    tenants: Mapping[str, Pause] = field(default_factory=dict)

    def over(self, provider: str, tenant: str) -> Pause | None:
        """What keeps a tenant's work at a provider from going on; the provider's pause comes first."""
        return self.providers.get(provider) or self.tenants.get(tenant)


NOTHING_PAUSED = Standing()


def standing(pauses: Iterable[Pause]) -> Standing:
    """The same pauses, to be looked up."""
    providers: dict[str, Pause] = {}
    tenants: dict[str, Pause] = {}
    for pause in pauses:
        (providers if pause.kind == "provider" else tenants)[pause.name] = pause
    return Standing(providers, tenants)
