"""What the question why a batch does not move is asked with, and a reason as the answer to it. Pure values.

progress.py finds the reasons, progress_running.py says what runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from workers.core import progress_texts as texts
from workers.core.pauses import NOTHING_PAUSED, Standing


@dataclass(frozen=True, slots=True)
class Waiting:
    """One reason why shards of a batch do not run.

    Attributes:
        kind: planning, no_worker, lost_worker, broker, paused, provider_held, tenant_held, budget, tenant_budget,
            tenant_limit, limit, provider_paused, model_paused, concurrency, breaker, retry, redis, lease_expired,
            drain, revoked, engine_error, suspect, dependency, queue or closing: the names of progress_helps.HELPS.
        provider: None when it is not about one provider.
        shards: how many wait for it; 0 before there are any.
        since: Unix seconds since when they rest for it; None where nothing was noted.
        until: Unix seconds when it ends by itself; None if nobody can say.
        text: one sentence, and what to do.
        requests: without a result, in those shards.
        case: the row of progress_helps.CASES where one kind has different ways out; empty for the kind's own.
    """

    kind: str
    provider: str | None
    shards: int
    until: int | None
    text: str
    since: int | None = None
    requests: int = 0
    case: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The form a reply carries."""
        names = ("kind", "provider", "shards", "requests", "since", "until", "text")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a batch needs in order to move, as it stands now.

    Attributes:
        slots: slots of living worker processes by provider.
        owners: those processes, as leases name them.
        standing: pauses of providers and tenants.
        used_up: tenants of which shards rest for a limit of their own, which keeps their others back: the reason of
            those shards, and until when.
        broker_answers: False only where it was asked and did not; `broker_away_since` is the first time of those.
        last_seen: when the last process that served a provider, and lives no more, was seen; soon forgotten.
        lease_s: how long a lease lasts from its last renewal; 0: not known.
    """

    slots: Mapping[str, int] = field(default_factory=dict)
    owners: frozenset[str] = frozenset()
    standing: Standing = NOTHING_PAUSED
    used_up: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)
    broker_answers: bool = True
    broker_away_since: float | None = None
    last_seen: Mapping[str, datetime] = field(default_factory=dict)
    lease_s: float = 0.0

    def no_worker(self, provider: str | None, shards: int, requests: int, text: str) -> Waiting:
        """That nobody lives who could do it, since the last one was seen."""
        seen = self.last_seen
        last = seen.get(provider) if provider else max(seen.values(), default=None)
        case = "no_worker_of_provider" if self.owners else ""
        return Waiting("no_worker", provider, shards, None, text, unix(last), requests, case)

    def broker_away(self, shards: int, requests: int) -> Waiting:
        """That nobody can be told."""
        since = None if self.broker_away_since is None else int(self.broker_away_since)
        return Waiting("broker", None, shards, None, texts.BROKER, since, requests)

    def lost_at(self, lease_until: datetime | None) -> int | None:
        """When the lease was renewed for the last time."""
        if lease_until is None or not self.lease_s:
            return None
        return unix(lease_until - timedelta(seconds=self.lease_s))


def unix(moment: datetime | None) -> int | None:
    """Whole Unix seconds."""
    return None if moment is None else int(moment.timestamp())


def seconds(unix_s: float | None) -> int | None:
    """The same of a time that is stored as Unix seconds."""
    return None if unix_s is None else int(unix_s)
