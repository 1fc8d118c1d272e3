"""Whose shard goes next. Pure: the dispatcher supplies what is queued and what is already out.

The tenant with the least estimated tokens out (dispatched and leased), by weight; of its batches those of the
highest priority, among these the one with the least out, then the oldest. So a small batch is not stuck behind a
large one, its owner's or another's. Where as little is out of one as of the other, who was sent off last comes last:
a slow limit has all its shards back in the queue between two choices. Nothing is remembered but what the shards say,
so nothing can be lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.core.lanes import Rates

# What is claimed within this time is worth sending now: a shard takes part of a second from the queue to its calls.
AHEAD_S = 4.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A shard that could go; ids of one batch sort by age, and so do batch ids.

    `sent_s`: when it was sent off last, in Unix seconds; 0 if it never was.
    """

    shard_id: str
    tenant: str
    batch_id: str
    est_tokens: int
    priority: int
    items: int = 1
    sent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Out:
    """A provider's shards that are dispatched or leased.

    Attributes:
        tokens: estimated, by tenant and by batch: ids of both kinds are keys.
        unstarted_items, unstarted_tokens: what of them has not been called yet, as far as the database knows.
    """

    shards: int = 0
    tokens: Mapping[str, int] = field(default_factory=dict)
    unstarted_items: int = 0
    unstarted_tokens: int = 0


def enough(waiting: Sequence[Waiting], out: Out, rates: Rates) -> list[Waiting]:
    """Of shards in their order, those that keep a limited provider busy for the next seconds; all without a limit.

    More than that would be claimed, refused by the limit and given back, again and again: at 600 requests a minute
    four processes spent 80 % of a core on it.
    """
    items, tokens = out.unstarted_items, out.unstarted_tokens
    most_items = _ahead(rates.requests_per_minute)
    most_tokens = _ahead(rates.tokens_per_minute)
    chosen = []
    for shard in waiting:
        if items >= most_items or tokens >= most_tokens:
            break
        chosen.append(shard)
        items += shard.items
        tokens += shard.est_tokens
    return chosen


def _ahead(per_minute: int | None) -> float:
    return float("inf") if per_minute is None else per_minute / 60.0 * AHEAD_S


def choose(
    waiting: Sequence[Waiting],
    tokens_out: Mapping[str, int],
    weights: Mapping[str, float],
    slots: int,
) -> list[Waiting]:
    """At most `slots` shards to dispatch, in order.

    Args:
        waiting: candidates, any order.
        tokens_out: estimated tokens of each batch's shards that are dispatched or leased, and of each tenant's:
            ids of both kinds are keys.
        weights: each tenant's share; one of weight 2 gets twice the tokens of one of weight 1.
    """
    queues: dict[str, dict[str, list[Waiting]]] = {}
    last_s: dict[str, float] = {}
    for shard in waiting:
        for name in (shard.tenant, shard.batch_id):
            last_s[name] = max(shard.sent_s, last_s.get(name, 0.0))
    for shard in sorted(waiting, key=lambda one: one.shard_id, reverse=True):
        queues.setdefault(shard.tenant, {}).setdefault(shard.batch_id, []).append(shard)
    out = {name: float(tokens) for name, tokens in tokens_out.items()}
    chosen: list[Waiting] = []
    while queues and len(chosen) < slots:
        tenant = min(
            queues,
            key=lambda name: (out.get(name, 0.0) / max(weights.get(name, 1.0), 1e-9), last_s[name], name),
        )
        batches = queues[tenant]
        batch_id = min(
            batches, key=lambda name: (-batches[name][-1].priority, out.get(name, 0.0), last_s[name], name)
        )
        shard = batches[batch_id].pop()
        chosen.append(shard)
        for name in (tenant, batch_id):
            out[name] = out.get(name, 0.0) + max(1, shard.est_tokens)
        if not batches[batch_id]:
            del batches[batch_id]
        if not batches:
            del queues[tenant]
    return chosen
