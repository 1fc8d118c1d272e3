"""The sentences that say why a batch is not moving (progress.py chooses them). Pure.

`show` and `watch` print each by itself: it says what is so, as somebody reads it who knows nothing but the batch, and
what to do. `{id}` stands for the batch's id; the API puts it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from workers.core.budget import BUDGET, TENANT_BUDGET

# By the reason of a shard. `when`: for how long it has been so; `ago`: when it happened.
REST = {
    "limit": "Requests of this batch wait for the rate limit of '{provider}'{when}; if your account allows more, raise "
    "the limits of providers.{provider}.",
    "tenant_requests": "Requests of this batch wait for its tenant's own limit of requests a minute "
    "(requests_per_minute){when}; nothing to do, or ask the operator of this server for a higher one.",
    "tenant_tokens": "Requests of this batch wait for its tenant's own limit of tokens a minute (tokens_per_minute)"
    "{when}; nothing to do, or ask the operator of this server for a higher one.",
    "tenant_concurrency": "As many calls of this batch's tenant are under way as it may have at once (max_concurrency)"
    "{when}; nothing to do, its other requests follow as those end.",
    "provider_paused": "'{provider}' asked for a rest and gets it{when}; nothing to do, or lower the limits of "
    "providers.{provider} if it asks often.",
    "model_paused": "A model of '{provider}' is refused too often and rests{when}; nothing to do, other models go on.",
    "concurrency": "'{provider}' takes no more calls at once{when}; nothing to do, it is tried with more as soon as "
    "it keeps up.",
    "breaker": "'{provider}' failed too often in a row and is left alone{when}; `batchwright doctor` says whether it "
    "answers. Name who else has its model in providers.{provider}.fallback, and the requests go there.",
    "retry": "Calls to '{provider}' failed and are tried again later{when}; nothing to do unless it stays away: "
    "`batchwright doctor` says whether it answers.",
    "redis": "Redis does not answer{when}, so nobody knows what the limits of '{provider}' allow; "
    "`batchwright doctor` says what is wrong with it.",
    BUDGET: "What is left under the ceiling of this batch or of its tenant's month is held for calls under way; its "
    "other requests are looked at again when those have ended{when}; nothing to do, or raise it: `batchwright resume "
    "{{id}} --max-cost-usd N` for the batch's own.",
    "lease_expired": "A worker that had requests of this batch fell silent{ago}; another one takes them over, nothing "
    "to do.",
    "drain": "A worker that had requests of this batch was stopped{ago}; another one takes them over, nothing to do.",
    "revoked": "An operator ended a task of this batch{ago}; its requests go on by themselves, "
    "`batchwright pause {{id}}` keeps them back.",
    "engine_error": "The engine failed on requests of this batch{ago}; they are tried again in ever smaller parts, and "
    "what breaks each time ends as `worker_crash`. `batchwright logs` shows the error: please report it.",
    "suspect": "Workers ended while they ran requests of this batch; those run in parts, one at a time{when}, to find "
    "what it is; nothing to do.",
    "dependency": "Requests of this batch equal others that are being answered, and will share their answers{when}; "
    "nothing to do.",
}
# The dispatcher sends a limited provider only what may start, so a slot may be free meanwhile.
_QUEUE = (
    "The next requests of this batch wait until a worker that serves '{provider}' is free ({slots} in all), or until "
    "its limits let more start."
)
BROKER = (
    "The broker does not answer, so workers hear of nothing; `batchwright doctor` says what is wrong with it."
)


def resting(reason: str, provider: str, since: datetime | None, until: datetime | None, now: datetime) -> str:
    """What shards rest for (a key of REST), since when, and when somebody looks again."""
    when, ago = _when("for {}", since, until, now), _when("{} ago", since, until, now)
    return REST[reason].format(provider=provider, when=when, ago=ago)


def queued(provider: str, slots: int) -> str:
    """That the batch waits its turn."""
    return _QUEUE.format(slots=f"{slots} slot" if slots == 1 else f"{slots} slots", provider=provider)


def lost(provider: str, requests: int, workers: int, until: datetime, now: datetime) -> str:
    """That silent workers hold requests, which others get when the leases have ended."""
    what, it = f"{requests:,} requests to '{provider}' are", "them" if requests > 1 else "it"
    if requests < 2:
        what = f"1 request to '{provider}' is" if requests else f"What is left to close at '{provider}' is"
    holder = "a worker" if workers == 1 else f"{workers} workers"
    return (
        f"{what} held by {holder} that fell silent; others go on with {it} {soon(until, now)}, nothing to do."
    )


def paused(batch: Mapping[str, Any]) -> str:
    """That the batch rests for a person, at its ceiling or because somebody paused it."""
    if batch.get("pause_reason") == BUDGET:
        limit_usd = batch["budget"]["limit_usd"]
        return (
            f"The next calls would cost more than this batch's ceiling of ${limit_usd:g}; let it go on with a "
            "higher one: `batchwright resume {id} --max-cost-usd N`."
        )
    if batch.get("pause_reason") == TENANT_BUDGET:
        rests = batch["tenant_budget"]
        month = rests["account"].rpartition(":")[2]
        return (
            f"The next calls would cost more than the ceiling of ${rests['limit_usd']:g} of this tenant for {month} "
            "(UTC); the batch goes on by itself when the month turns or an operator raises max_cost_usd_per_month."
        )
    return "This batch is paused; let it go on with POST /v1/batches/{id}/resume."


def no_worker(provider: str, workers: int) -> str:
    """That none of the living workers serves the provider."""
    if workers == 0:
        return "No worker is running; start one with `batchwright up`."
    return (
        f"No running worker serves the provider '{provider}'; start one that has its key and address "
        f"(providers.{provider}), or cancel the batch."
    )


def _when(past: str, since: datetime | None, until: datetime | None, now: datetime) -> str:
    said = [] if since is None else [past.format(span(since, now))]
    if until is not None:
        said.append(f"next look in {span(now, until)}")
    return f" ({', '.join(said)})" if said else ""


def soon(until: datetime | None, now: datetime) -> str:
    """When a lease has ended; the sweeper may wait one more where it was away itself."""
    return "soon" if until is None or until <= now else f"in about {span(now, until)}"


def span(one: datetime, other: datetime) -> str:
    """`34 s`, `5 min`, `2.5 h`; a second at least."""
    seconds = max(1, round((other - one).total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
