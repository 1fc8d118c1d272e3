"""Whose shard goes next. Pure: the dispatcher supplies what is queued and what is already out.

The tenant with the least estimated tokens out (dispatched and leased), by weight, then priority, then age.
Nothing is remembered between two choices, so nothing can be lost.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A shard that could go; `order` is its age: smaller is older."""

    shard_id: str
    tenant: str
    est_tokens: int
    priority: int
    order: str


def choose(
    waiting: Sequence[Waiting],
    tokens_out: Mapping[str, int],
    weights: Mapping[str, float],
    slots: int,
) -> list[str]:
    """The ids of at most `slots` shards to dispatch, in order.

    Args:
        waiting: candidates, any order.
        tokens_out: estimated tokens of each tenant's shards that are dispatched or leased.
        weights: each tenant's share; one of weight 2 gets twice the tokens of one of weight 1.
    """
    queues: dict[str, list[Waiting]] = {}
    for shard in sorted(waiting, key=lambda w: (-w.priority, w.order), reverse=True):
        queues.setdefault(shard.tenant, []).append(shard)
    out = {tenant: float(tokens_out.get(tenant, 0)) for tenant in queues}
    heap = [_rank(tenant, queue[-1], out, weights) for tenant, queue in queues.items()]
    heapq.heapify(heap)
    chosen: list[str] = []
    while heap and len(chosen) < slots:
        *_, tenant = heapq.heappop(heap)
        shard = queues[tenant].pop()
        chosen.append(shard.shard_id)
        out[tenant] += max(1, shard.est_tokens)
        if queues[tenant]:
            heapq.heappush(heap, _rank(tenant, queues[tenant][-1], out, weights))
    return chosen


def _rank(
    tenant: str, head: Waiting, out: Mapping[str, float], weights: Mapping[str, float]
) -> tuple[float, int, str, str]:
    share = out[tenant] / max(weights.get(tenant, 1.0), 1e-9)
    return share, -head.priority, head.order, tenant
