"""Say why a batch is not moving, and what a person can do about it. Pure.

The API's `/why` asks it with rows of Shards.by_state and the slots of living workers; `show` and `watch`
print the sentences. Work that a worker holds right now waits for nothing and is not named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from workers.core.budget import BUDGET
from workers.core.pauses import NOTHING_PAUSED, Standing
from workers.core.states import BatchStatus, Ending, ShardStatus, is_terminal

_NEVER_YEAR = 9999  # the store's `next_at` of shards that must not run yet


@dataclass(frozen=True, slots=True)
class Waiting:
    """One reason why shards of a batch do not run.

    Attributes:
        kind: planning, no_worker, paused, provider_held, tenant_held, budget, limit, provider_paused, model_paused,
            concurrency, breaker, retry, redis, lease_expired, drain, revoked, engine_error, suspect, dependency, queue
            or closing.
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


def waiting_for(
    batch: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    slots: Mapping[str, int],
    workers: int,
    now: datetime,
    standing: Standing = NOTHING_PAUSED,
) -> list[Waiting]:
    """Every reason, the one that holds most shards first; empty while all that is open runs.

    Args:
        batch: the batch document.
        rows: its open shards by provider, status and reason, with the earliest `since` and `next_at` (aware).
        slots: slots of living workers by provider.
        workers: how many worker processes live.
        now: aware.
        standing: pauses of providers and tenants.
    """
    status = batch["status"]
    if is_terminal(status):
        return []
    if status == BatchStatus.VALIDATING:
        return [_planning(workers)]
    ending = batch.get("ending")
    if ending is not None:
        return [_closing(str(ending), rows, workers)]
    # The provider's slots decide before the shard's own reason: without a worker its time would come in vain.
    found = [
        _held(batch, row, standing, now) or _reason(batch, row, slots.get(row["provider"], 0), workers, now)
        for row in rows
    ]
    merged: dict[tuple[str, str | None], Waiting] = {}
    for waiting in found:
        if waiting is not None:
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


def _planning(workers: int) -> Waiting:
    if workers == 0:
        text = "No worker is running to check the input file; start one with `batchwright up`."
        return Waiting("no_worker", None, 0, None, text)
    return Waiting("planning", None, 0, None, "A worker is checking the input file; nothing to do.")


def _closing(ending: str, rows: Sequence[Mapping[str, Any]], workers: int) -> Waiting:
    shards = sum(row["shards"] for row in rows)
    if workers == 0:
        text = "No worker is running to close the batch; start one with `batchwright up`."
        return Waiting("no_worker", None, shards, None, text)
    if ending == Ending.DONE:
        text = "Every request is answered and the files are being closed; nothing to do."
    else:
        why = "was cancelled" if ending == Ending.CANCELLED else "reached the end of its completion window"
        text = f"The batch {why}; what runs ends first, then the rest is closed; nothing to do."
    return Waiting("closing", None, shards, None, text)


def _held(
    batch: Mapping[str, Any], row: Mapping[str, Any], standing: Standing, now: datetime
) -> Waiting | None:
    """What an operator has paused; where the batch itself is paused, too, that is said first."""
    pause = standing.over(row["provider"], batch.get("tenant", ""))
    if pause is None or row["status"] == ShardStatus.LEASED or batch.get("paused_at"):
        return None
    since = datetime.fromtimestamp(pause.since, UTC)
    provider = pause.name if pause.kind == "provider" else None
    what = f"provider '{pause.name}'" if provider else "tenant"
    text = (
        f"An operator paused the {what}{_when(since, None, now)}; let it go on with "
        f"`batchwright resume --{pause.kind} {pause.name}`."
    )
    return Waiting(f"{pause.kind}_held", provider, row["shards"], None, text, _unix(since))


def _reason(
    batch: Mapping[str, Any], row: Mapping[str, Any], slots: int, workers: int, now: datetime
) -> Waiting | None:
    if row["status"] == ShardStatus.LEASED:
        return None
    provider, shards = row["provider"], row["shards"]
    next_at: datetime | None = row["next_at"]
    never = next_at is not None and next_at.year >= _NEVER_YEAR
    until = None if next_at is None or never or next_at <= now else next_at
    if row["reason"] == "paused" and never:
        at_ceiling = batch.get("pause_reason") == BUDGET
        return Waiting(BUDGET if at_ceiling else "paused", provider, shards, None, _paused(batch))
    if slots == 0:
        return Waiting("no_worker", provider, shards, None, _no_worker(provider, workers))
    if never:
        text = "The batch's shards are still being written; nothing to do."
        return Waiting("planning", provider, shards, None, text)
    reason = _RENAMED.get(row["reason"], row["reason"])
    if reason not in _TEXTS or (until is None and reason in _TIMED):
        text = _QUEUE.format(slots=slots, provider=provider)
        return Waiting("queue", provider, shards, None, text)
    since: datetime | None = row.get("since")
    text = _TEXTS[reason].format(provider=provider, when=_when(since, until, now))
    return Waiting(reason, provider, shards, _unix(until), text, _unix(since))


def _paused(batch: Mapping[str, Any]) -> str:
    if batch.get("pause_reason") == BUDGET:
        limit_usd = batch["budget"]["limit_usd"]
        return (
            f"The next calls would cost more than the batch's ceiling of ${limit_usd:g}; let it go on with a "
            "higher one: `batchwright resume {id} --max-cost-usd N`."
        )
    return "The batch is paused; let it go on with POST /v1/batches/{id}/resume."


# What a shard's `reason` is called here where it is not the same. `paused` with a time is the provider's wish;
# shards that were parked before there were breakers say `backoff`.
_RENAMED = {"paused": "provider_paused", "backoff": "retry"}
# Reasons that are over once their time has come: then the shard waits for a slot like any other.
_TIMED = (
    "limit",
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
_TEXTS = {
    "limit": "The rate limit of '{provider}' lets the next calls through later{when}; "
    "if your account allows more, raise the limits of providers.{provider}.",
    "provider_paused": "'{provider}' asked for a rest and gets it{when}; nothing to do, or lower the limits of "
    "providers.{provider} if it asks often.",
    "model_paused": "A model of '{provider}' is refused too often and rests{when}; nothing to do, other models go on.",
    "concurrency": "'{provider}' takes no more calls at once{when}; nothing to do, it is tried with more as soon as "
    "it keeps up.",
    "breaker": "'{provider}' failed too often in a row and is left alone{when}; `batchwright doctor` says whether it "
    "answers. Name who else has its model in providers.{provider}.fallback, and the items go there.",
    "retry": "'{provider}' failed and is tried again later{when}; nothing to do unless it stays away: "
    "`batchwright doctor` says whether it answers.",
    "redis": "Redis does not answer, so nobody knows what the limits of '{provider}' allow{when}; "
    "`batchwright doctor` says what is wrong with it.",
    BUDGET: "What is left of the batch's ceiling is held for calls under way; the rest is looked at again when they "
    "have ended{when}; nothing to do, or raise it: `batchwright resume {{id}} --max-cost-usd N`.",
    "lease_expired": "Their worker stopped answering{when}; another one takes them over, nothing to do.",
    "drain": "Their worker was stopped{when}; another one takes them over, nothing to do.",
    "revoked": "An operator ended their task{when}; they go on by themselves, `batchwright pause` keeps them back.",
    "engine_error": "The engine failed on them{when}; they are tried again in ever smaller parts, and what breaks each "
    "time ends as `worker_crash`. `batchwright logs` shows the error: please report it.",
    "suspect": "Workers ended while they ran; such shards run one at a time{when}, to find what it is; nothing to do.",
    "dependency": "Equal requests are being answered elsewhere and will be shared{when}; nothing to do.",
}
# The dispatcher sends a limited provider only what may start, so a slot may be free meanwhile.
_QUEUE = (
    "The next requests wait for one of the {slots} worker slots that serve '{provider}', or until its limits let "
    "more start."
)


def _no_worker(provider: str, workers: int) -> str:
    if workers == 0:
        return "No worker is running; start one with `batchwright up`."
    return (
        f"No running worker serves the provider '{provider}'; start one that has its key and address "
        f"(providers.{provider}), or cancel the batch."
    )


def _when(since: datetime | None, until: datetime | None, now: datetime) -> str:
    said = [] if since is None else [f"for {_span(since, now)}"]
    if until is not None:
        said.append(f"next look in {_span(now, until)}")
    return f" ({', '.join(said)})" if said else ""


def _span(one: datetime, other: datetime) -> str:
    seconds = max(1, round((other - one).total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _joined(one: Waiting, other: Waiting) -> Waiting:
    first = one if other.until is None or (one.until is not None and one.until <= other.until) else other
    since = min((each.since for each in (one, other) if each.since is not None), default=None)
    return replace(first, shards=one.shards + other.shards, since=since)
