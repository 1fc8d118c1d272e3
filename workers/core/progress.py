"""Say why a batch is not moving, and what a person can do about it. Pure.

The API's `/why` asks it with rows of Shards.by_state and what is known of workers and broker; `show` and `watch`
print the sentences, so each stands alone. Work that a living worker holds waits for nothing and is not named here but
in progress_running.py; progress_helps.py knows which command helps against each reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from workers.core import progress_texts as texts
from workers.core.budget import BUDGET, TENANT_BUDGET
from workers.core.lanes import TENANT_LIMITS
from workers.core.pauses import Standing
from workers.core.progress_parts import Surroundings, Waiting, seconds, unix
from workers.core.states import BatchStatus, Ending, ShardStatus, is_terminal

# The store's `next_at` of shards that must not run yet, and of those that may at once.
_NEVER_YEAR, _EPOCH_YEAR = 9999, 1970


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
        return [_planning(batch, around, now)]
    ending = batch.get("ending")
    if ending is not None:
        return [_closing(batch, rows, around, now)]
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
            sums = {name: getattr(parked, name) + getattr(queued, name) for name in ("shards", "requests")}
            merged[behind, provider] = replace(parked, **sums)
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


def _planning(batch: Mapping[str, Any], around: Surroundings, now: datetime) -> Waiting:
    plan, made_at = batch.get("plan") or {}, seconds(batch.get("created_at"))
    owner, until = plan.get("owner"), plan.get("lease_until")
    held = owner is not None and until is not None and until > now
    if not around.owners:
        text = "No worker is running to check the input file; start one with `batchwright up`."
        return around.no_worker(None, 0, 0, text)
    if not held and not around.broker_answers:
        return around.broker_away(0, 0)
    if owner is None:
        text = "The input file will be checked as soon as a worker is free; nothing to do."
    elif held and owner in around.owners:
        text = "A worker is checking the input file; nothing to do."
    else:
        text = (
            "The worker that was checking the input file fell silent; another one begins anew "
            f"{texts.soon(until, now)}, nothing to do."
        )
        ends = unix(until) if held else None
        return Waiting("lost_worker", None, 0, ends, text, around.lost_at(until) or made_at)
    return Waiting("planning", None, 0, None, text, made_at)


def _closing(
    batch: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], around: Surroundings, now: datetime
) -> Waiting:
    ending = str(batch["ending"])
    shards, requests = (sum(row[name] for row in rows) for name in ("shards", "requests"))
    if not around.owners:
        text = "No worker is running to close this batch; start one with `batchwright up`."
        return around.no_worker(None, shards, requests, text)
    since = seconds(batch.get(_ENDING_AT[ending]))
    if ending == Ending.DONE:
        text = "Every request of this batch is answered and its files are being closed; nothing to do."
        return Waiting("closing", None, shards, None, text, since, requests)
    why = "was cancelled" if ending == Ending.CANCELLED else "reached the end of its completion window"
    lost = [row for row in _standing_still(rows, around.owners) if row["status"] == ShardStatus.LEASED]
    if lost:
        until = max(row["lease_until"] for row in lost)
        text = (
            f"This batch {why}, and a worker that fell silent holds requests of it; they are closed "
            f"{texts.soon(until, now)}, nothing to do."
        )
        ends = unix(until) if until > now else None
        return Waiting("lost_worker", None, shards, ends, text, around.lost_at(until), requests)
    text = f"This batch {why}; what runs ends first, then the rest is closed; nothing to do."
    return Waiting("closing", None, shards, None, text, since, requests)


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
    return Waiting(f"{pause.kind}_held", provider, row["shards"], None, text, unix(since), row["requests"])


def _reason(batch: Mapping[str, Any], row: Mapping[str, Any], around: Surroundings, now: datetime) -> Waiting:
    provider, shards, leased = row["provider"], row["shards"], row["status"] == ShardStatus.LEASED
    requests, next_at = row["requests"], row["next_at"]
    never = next_at is not None and next_at.year >= _NEVER_YEAR
    if (row["reason"] == "paused" and never) or (leased and batch.get("paused_at")):
        return _paused(batch, row)
    if not around.slots.get(provider):
        text = texts.no_worker(provider, len(around.owners))
        return around.no_worker(provider, shards, requests, text)
    if leased:
        return _lost(row, around, now)
    until = None if next_at is None or never or next_at <= now else next_at
    if until is None and not around.broker_answers:
        return around.broker_away(shards, requests)
    if never:
        text = "The requests of this batch are still being divided among workers; nothing to do."
        since = seconds(batch.get("in_progress_at"))
        return Waiting("planning", provider, shards, None, text, since, requests)
    used_up = around.used_up.get(batch.get("tenant", ""))
    return _resting(row, around.slots[provider], until, used_up, now)


def _paused(batch: Mapping[str, Any], row: Mapping[str, Any]) -> Waiting:
    why, text, since = batch.get("pause_reason"), texts.paused(batch), seconds(batch.get("paused_at"))
    kind = str(why) if why in (BUDGET, TENANT_BUDGET) else "paused"
    month = batch["tenant_budget"]["account"].rpartition(":")[2] if kind == TENANT_BUDGET else ""
    until, case = _month_after(month) if month else None, "budget_reached" if kind == BUDGET else ""
    return Waiting(kind, row["provider"], row["shards"], until, text, since, row["requests"], case)


def _resting(
    row: Mapping[str, Any],
    slots: int,
    until: datetime | None,
    used_up: tuple[str, datetime] | None,
    now: datetime,
) -> Waiting:
    provider, shards, requests = row["provider"], row["shards"], row["requests"]
    reason = _RENAMED.get(row["reason"], row["reason"])
    if reason not in texts.REST or (until is None and reason in _TIMED):
        if used_up is not None:
            return _of_tenant(used_up[0], row, None, used_up[1], now)
        # It is due since its time came; parts of other shards are due from their beginning, which says nothing.
        due: datetime | None = row["next_at"]
        since = unix(due) if due is not None and due.year > _EPOCH_YEAR else None
        return Waiting("queue", provider, shards, None, texts.queued(provider, slots), since, requests)
    rests: datetime | None = row.get("since")
    if reason in TENANT_LIMITS:
        return _of_tenant(reason, row, rests, until, now)
    text = texts.resting(reason, provider, rests, until, now)
    return Waiting(reason, provider, shards, unix(until), text, unix(rests), requests)


def _of_tenant(
    reason: str, row: Mapping[str, Any], since: datetime | None, until: datetime | None, now: datetime
) -> Waiting:
    """What holds for all of a tenant, at whatever provider; the sentence names the limit."""
    text = texts.resting(reason, "", since, until, now)
    return Waiting("tenant_limit", None, row["shards"], unix(until), text, unix(since), row["requests"])


def _lost(row: Mapping[str, Any], around: Surroundings, now: datetime) -> Waiting:
    provider, until = row["provider"], row["lease_until"]
    text = texts.lost(provider, row["requests"], row["workers"], until, now)
    ends, since = unix(until) if until > now else None, around.lost_at(until)
    return Waiting("lost_worker", provider, row["shards"], ends, text, since, row["requests"])


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
# Where a batch's document says since when it is ending.
_ENDING_AT: Mapping[str, str] = {
    Ending.DONE: "finalizing_at",
    Ending.CANCELLED: "cancelling_at",
    Ending.EXPIRED: "expires_at",
}


def _month_after(month: str) -> int:
    """When the month after this one, `2026-11`, begins in UTC."""
    year, number = map(int, month.split("-"))
    return int(datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp())


def _joined(one: Waiting, other: Waiting) -> Waiting:
    first = one if other.until is None or (one.until is not None and one.until <= other.until) else other
    since = min((each.since for each in (one, other) if each.since is not None), default=None)
    sums = {name: getattr(one, name) + getattr(other, name) for name in ("shards", "requests")}
    return replace(first, since=since, **sums)
