"""Say why a batch is not moving, and what a person can do about it. Pure.

The API's `/why` asks it with rows of Shards.by_state and what is known of workers and broker; `show` and `watch`
print the sentences, so each stands alone. Work that a living worker holds waits for nothing and is not named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from workers.core import progress_texts as texts
from workers.core.budget import BUDGET, TENANT_BUDGET
from workers.core.lanes import TENANT_LIMITS
from workers.core.pauses import NOTHING_PAUSED, Standing
from workers.core.states import BatchStatus, Ending, ShardStatus, is_terminal

_NEVER_YEAR = 9999  # the store's `next_at` of shards that must not run yet


@dataclass(frozen=True, slots=True)
class Waiting:
    """One reason why shards of a batch do not run.

    Attributes:
        kind: planning, no_worker, lost_worker, broker, paused, provider_held, tenant_held, budget, tenant_budget,
            tenant_limit, limit, provider_paused, model_paused, concurrency, breaker, retry, redis, lease_expired,
            drain, revoked, engine_error, suspect, dependency, queue or closing.
        provider: None when it is not about one provider.
        shards: how many wait for it; 0 before there are any.
        since: Unix seconds since when they rest for it; None where nothing was noted.
        until: Unix seconds when it ends by itself; None if nobody can say.
        text: one sentence, and what to do.
    """

    kind: str
    provider: str | None
    shards: int
    until: int | None
    text: str
    since: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form a reply carries."""
        names = ("kind", "provider", "shards", "since", "until", "text")
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
        broker_answers: False only where it was asked and did not.
    """

    slots: Mapping[str, int] = field(default_factory=dict)
    owners: frozenset[str] = frozenset()
    standing: Standing = NOTHING_PAUSED
    used_up: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)
    broker_answers: bool = True


def waiting_for(
    batch: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], around: Surroundings, now: datetime
) -> list[Waiting]:
    """Every reason, the one that holds most shards first; empty while all that is open runs.

    Args:
        batch: the batch document.
        rows: its open shards as Shards.by_state groups them, times aware.
        now: aware.
    """
    status = batch["status"]
    if is_terminal(status):
        return []
    if status == BatchStatus.VALIDATING:
        return [_planning(batch.get("plan") or {}, around, now)]
    ending = batch.get("ending")
    if ending is not None:
        return [_closing(str(ending), rows, around, now)]
    # The provider's slots decide before the shard's own reason: without a worker its time would come in vain.
    found = [
        _held(batch, row, around.standing, now) or _reason(batch, row, around, now)
        for row in _standing_still(rows, around.owners)
    ]
    merged: dict[tuple[str, str | None], Waiting] = {}
    for waiting in found:
        key = (waiting.kind, waiting.provider)
        merged[key] = _joined(merged[key], waiting) if key in merged else waiting
    for kind, provider in list(merged):
        # What waits for a slot behind shards that something has parked for the whole provider waits for that: more
        # slots would not help.
        behind = next((why for why in _WHOLE_PROVIDER if (why, provider) in merged), None)
        if kind == "queue" and behind is not None:
            parked, queued = merged[behind, provider], merged.pop((kind, provider))
            merged[behind, provider] = replace(parked, shards=parked.shards + queued.shards)
    return sorted(merged.values(), key=lambda waiting: -waiting.shards)


def _standing_still(rows: Sequence[Mapping[str, Any]], owners: frozenset[str]) -> list[Mapping[str, Any]]:
    """The rows without what runs: leases that a living process renews. Those of silent ones, a row a provider."""
    still = [row for row in rows if row["status"] != ShardStatus.LEASED]
    lost: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        # A container that starts again may have its old name: then only the lease shows that nobody holds it.
        if row["status"] == ShardStatus.LEASED and (row["stale"] or row["owner"] not in owners):
            lost.setdefault(row["provider"], []).append(row)
    for of_provider in lost.values():
        sums = {name: sum(row[name] for row in of_provider) for name in ("shards", "requests")}
        until = max(row["lease_until"] for row in of_provider)
        workers = len({row["owner"] for row in of_provider})
        still.append({**of_provider[0], **sums, "lease_until": until, "workers": workers})
    return still


def _planning(plan: Mapping[str, Any], around: Surroundings, now: datetime) -> Waiting:
    owner, until = plan.get("owner"), plan.get("lease_until")
    held = owner is not None and until is not None and until > now
    if not around.owners:
        text = "No worker is running to check the input file; start one with `batchwright up`."
        return Waiting("no_worker", None, 0, None, text)
    if not held and not around.broker_answers:
        return Waiting("broker", None, 0, None, texts.BROKER)
    if owner is None:
        text = "The input file will be checked as soon as a worker is free; nothing to do."
    elif held and owner in around.owners:
        text = "A worker is checking the input file; nothing to do."
    else:
        text = (
            "The worker that was checking the input file fell silent; another one begins anew "
            f"{texts.soon(until, now)}, nothing to do."
        )
        return Waiting("lost_worker", None, 0, _unix(until) if held else None, text)
    return Waiting("planning", None, 0, None, text)


def _closing(ending: str, rows: Sequence[Mapping[str, Any]], around: Surroundings, now: datetime) -> Waiting:
    shards = sum(row["shards"] for row in rows)
    if not around.owners:
        text = "No worker is running to close this batch; start one with `batchwright up`."
        return Waiting("no_worker", None, shards, None, text)
    if ending == Ending.DONE:
        text = "Every request of this batch is answered and its files are being closed; nothing to do."
        return Waiting("closing", None, shards, None, text)
    why = "was cancelled" if ending == Ending.CANCELLED else "reached the end of its completion window"
    lost = [row for row in _standing_still(rows, around.owners) if row["status"] == ShardStatus.LEASED]
    if lost:
        until = max(row["lease_until"] for row in lost)
        text = (
            f"This batch {why}, and a worker that fell silent holds requests of it; they are closed "
            f"{texts.soon(until, now)}, nothing to do."
        )
        return Waiting("lost_worker", None, shards, _unix(until) if until > now else None, text)
    text = f"This batch {why}; what runs ends first, then the rest is closed; nothing to do."
    return Waiting("closing", None, shards, None, text)


def _held(
    batch: Mapping[str, Any], row: Mapping[str, Any], standing: Standing, now: datetime
) -> Waiting | None:
    """What an operator has paused; where the batch itself is paused, too, that is said first."""
    pause = standing.over(row["provider"], batch.get("tenant", ""))
    if pause is None or batch.get("paused_at"):
        return None
    since = datetime.fromtimestamp(pause.since, UTC)
    provider = pause.name if pause.kind == "provider" else None
    what = f"provider '{pause.name}'" if provider else "tenant"
    text = (
        f"An operator paused the {what} ({texts.span(since, now)} ago); let it go on with "
        f"`batchwright resume --{pause.kind} {pause.name}`."
    )
    return Waiting(f"{pause.kind}_held", provider, row["shards"], None, text, _unix(since))


def _reason(batch: Mapping[str, Any], row: Mapping[str, Any], around: Surroundings, now: datetime) -> Waiting:
    provider, shards, leased = row["provider"], row["shards"], row["status"] == ShardStatus.LEASED
    next_at: datetime | None = row["next_at"]
    never = next_at is not None and next_at.year >= _NEVER_YEAR
    if (row["reason"] == "paused" and never) or (leased and batch.get("paused_at")):
        why = batch.get("pause_reason")
        kind = why if why in (BUDGET, TENANT_BUDGET) else "paused"
        return Waiting(kind, provider, shards, None, texts.paused(batch))
    if not around.slots.get(provider):
        return Waiting("no_worker", provider, shards, None, texts.no_worker(provider, len(around.owners)))
    if leased:
        return _lost(row, now)
    until = None if next_at is None or never or next_at <= now else next_at
    if until is None and not around.broker_answers:
        return Waiting("broker", None, shards, None, texts.BROKER)
    if never:
        text = "The requests of this batch are still being divided among workers; nothing to do."
        return Waiting("planning", provider, shards, None, text)
    used_up = around.used_up.get(batch.get("tenant", ""))
    return _resting(row, around.slots[provider], until, used_up, now)


def _resting(
    row: Mapping[str, Any],
    slots: int,
    until: datetime | None,
    used_up: tuple[str, datetime] | None,
    now: datetime,
) -> Waiting:
    provider, shards = row["provider"], row["shards"]
    reason = _RENAMED.get(row["reason"], row["reason"])
    if reason not in texts.REST or (until is None and reason in _TIMED):
        if used_up is not None:
            return _of_tenant(used_up[0], shards, None, used_up[1], now)
        return Waiting("queue", provider, shards, None, texts.queued(provider, slots))
    since: datetime | None = row.get("since")
    if reason in TENANT_LIMITS:
        return _of_tenant(reason, shards, since, until, now)
    text = texts.resting(reason, provider, since, until, now)
    return Waiting(reason, provider, shards, _unix(until), text, _unix(since))


def _of_tenant(
    reason: str, shards: int, since: datetime | None, until: datetime | None, now: datetime
) -> Waiting:
    """What holds for all of a tenant, at whatever provider; the sentence names the limit."""
    text = texts.resting(reason, "", since, until, now)
    return Waiting("tenant_limit", None, shards, _unix(until), text, _unix(since))


def _lost(row: Mapping[str, Any], now: datetime) -> Waiting:
    provider, until = row["provider"], row["lease_until"]
    text = texts.lost(provider, row["requests"], row["workers"], until, now)
    return Waiting("lost_worker", provider, row["shards"], _unix(until) if until > now else None, text)


# What a shard's `reason` is called here where it is not the same. `paused` with a time is the provider's wish;
# shards that were parked before there were breakers say `backoff`.
_RENAMED = {"paused": "provider_paused", "backoff": "retry"}
# Reasons that are over once their time has come: then the shard waits for a slot like any other.
_TIMED = (
    "limit",
    *TENANT_LIMITS,
    "provider_paused",
    "model_paused",
    "concurrency",
    "breaker",
    "retry",
    "redis",
    "revoked",
    "engine_error",
    BUDGET,
)
_WHOLE_PROVIDER = ("provider_paused", "limit", "redis")


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _joined(one: Waiting, other: Waiting) -> Waiting:
    first = one if other.until is None or (one.until is not None and one.until <= other.until) else other
    since = min((each.since for each in (one, other) if each.since is not None), default=None)
    return replace(first, shards=one.shards + other.shards, since=since)
